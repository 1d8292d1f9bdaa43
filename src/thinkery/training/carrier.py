"""What carries a policy's model while it learns: this process, or the ranks of a cluster.

Learners hold the algorithm and everything that is decided: which samples, in which order, with which weights. A
carrier holds the model, its gradient and its optimizer's state, wherever they are, and runs the microbatches. Every
rank of a cluster runs the same learner on the same samples, so what a learner decides is the same everywhere; what a
carrier returns is, too. Left out: the ranks (``cluster/sharded.py``), value and reward models, which have no carrier.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from torch import Tensor
from transformers import PreTrainedModel

from thinkery.files import atomic_folder, write_json_atomic
from thinkery.lanes import Lanes, lanes_on
from thinkery.models.loading import Policy, restore_weights, save_policy, save_weights
from thinkery.training.optimizer import Kind, Optimizers, build_optimizer
from thinkery.training.packing import Microbatch, Tokens, plan_microbatches, sizes_of
from thinkery.training.replicas import Replicas, frozen
from thinkery.training.sharded_files import has_shards, read_shards
from thinkery.training.steps import clip_gradient, load_state, packed_logprobs, save_state
from thinkery.types import UserError

REFERENCE = "reference.safetensors"

_R = TypeVar("_R")
Counters = Mapping[str, Any]


class Carrier(Protocol):
    """The model of a policy, wherever it is. Results are the same on all ranks, in the order of the plans."""

    def plan(self, samples: Sequence[Tokens], indices: Sequence[int], budget: int) -> list[list[int]]:
        """Cuts ``indices`` into microbatches of at most ``budget`` cells of padded attention rows."""
        ...

    def logprobs(
        self, model: PreTrainedModel, microbatch: Microbatch, temperature: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        """Log-probability and entropy of each completion token [N] (``steps.packed_logprobs``)."""
        ...

    def accumulate(
        self,
        work: Callable[[PreTrainedModel, list[int]], _R],
        samples: Sequence[Tokens],
        plans: Sequence[list[int]],
    ) -> list[_R]:
        """``work(model, plan)`` for every plan, which adds to that model's gradient; the policy's model gets the sum.

        Results are plain values, or tensors on the CPU: they may come from another process. A ``UserError`` of
        ``work`` is raised, the first one on every rank, and only when the gradient of its plan has been taken.
        """
        ...

    def frozen(
        self,
        work: Callable[[list[int]], _R],
        model: PreTrainedModel,
        samples: Sequence[Tokens],
        plans: Sequence[list[int]],
    ) -> list[_R]:
        """``work(plan)``, which forwards ``model``, for every plan, without gradient."""
        ...

    def clip_gradient(self, max_grad_norm: float, step: int, advice: str) -> float:
        """Clips the gradient and returns its norm before that (``steps.clip_gradient``)."""
        ...

    def optimizer(self, kind: Kind, learning_rate: float, weight_decay: float) -> Optimizers:
        """What steps the policy's model."""
        ...

    def copy(self) -> PreTrainedModel:
        """The policy's model as it is now, without gradient, to be kept."""
        ...

    def save(
        self, folder: Path, name: str, counters: Counters, optimizer: Optimizers, reference: PreTrainedModel | None
    ) -> Callable[[], None] | None:
        """Writes all of this to ``folder``, ``counters`` under ``name``; the folder is replaced as a whole.

        If it returns something, it has only taken a copy: the folder is there once that has been called.
        """
        ...

    def load(self, folder: Path, optimizer: Optimizers, reference: PreTrainedModel | None) -> None:
        """Restores what ``save`` wrote but for the counters, in place. ``UserError`` if it is another model's."""
        ...

    def export(self, folder: Path) -> None:
        """Writes the policy as a Hugging Face checkpoint (``models.loading.save_policy``)."""
        ...


class LocalCarrier:
    """The policy's model in this process, with a lane for each core where that pays."""

    def __init__(self, policy: Policy, lanes: int | None = None) -> None:
        """``lanes`` None: as many as pay on the policy's device."""
        self._policy = policy
        self._replicas = Replicas(policy.model, Lanes(lanes or lanes_on(policy.device)))

    def plan(self, samples: Sequence[Tokens], indices: Sequence[int], budget: int) -> list[list[int]]:
        """As many microbatches as memory asks for, or as keep all lanes busy."""
        return plan_microbatches(samples, indices, budget, self._replicas.lanes.count)

    def logprobs(
        self, model: PreTrainedModel, microbatch: Microbatch, temperature: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        """Log-probability and entropy of each completion token [N]."""
        return packed_logprobs(self._policy, model, microbatch, temperature)

    def accumulate(
        self,
        work: Callable[[PreTrainedModel, list[int]], _R],
        samples: Sequence[Tokens],
        plans: Sequence[list[int]],
    ) -> list[_R]:
        """``work`` on every plan, in lanes."""
        return self._replicas.accumulate(work, plans, sizes_of(samples, plans))

    def frozen(
        self,
        work: Callable[[list[int]], _R],
        model: PreTrainedModel,
        samples: Sequence[Tokens],
        plans: Sequence[list[int]],
    ) -> list[_R]:
        """``work`` on every plan, in lanes and without gradient."""
        return frozen(self._replicas.lanes, work, plans, sizes_of(samples, plans))

    def clip_gradient(self, max_grad_norm: float, step: int, advice: str) -> float:
        """Clips the gradient and returns its norm before that."""
        return clip_gradient(self._policy.model, max_grad_norm, step, advice)

    def optimizer(self, kind: Kind, learning_rate: float, weight_decay: float) -> Optimizers:
        """torch's own."""
        return build_optimizer(self._policy.model, kind, learning_rate, weight_decay=weight_decay)

    def copy(self) -> PreTrainedModel:
        """A deep copy."""
        return copy.deepcopy(self._policy.model).requires_grad_(False)

    def save(
        self, folder: Path, name: str, counters: Counters, optimizer: Optimizers, reference: PreTrainedModel | None
    ) -> None:
        """Writes everything before it returns."""
        with atomic_folder(folder) as new:
            save_state(new, self._policy.model, optimizer)
            if reference is not None:
                save_weights(reference, new / REFERENCE)
            write_json_atomic(new / name, dict(counters))

    def load(self, folder: Path, optimizer: Optimizers, reference: PreTrainedModel | None) -> None:
        """Restores what this class or the ranks of a cluster wrote."""
        if has_shards(folder):
            read_shards(folder, self._policy.model, optimizer, reference)
            return
        if reference is not None:
            if not (folder / REFERENCE).exists():
                raise UserError(f"{folder} was saved without a reference: its run had beta 0")
            restore_weights(reference, folder / REFERENCE)
        load_state(folder, self._policy.model, optimizer)

    def export(self, folder: Path) -> None:
        """Writes the policy as a Hugging Face checkpoint, with tokenizer and template."""
        save_policy(self._policy, folder)
