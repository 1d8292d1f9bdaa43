"""The model backend: where a policy's model, its gradient and its optimizer live while it learns.

``LocalBackend`` is this process: on a CPU every worker thread has a replica with the same weights and a gradient of its
own. ``cluster/sharded_backend.py`` is FSDP2 over a cluster's ranks. Left out: losses, and which samples are learnt
from.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from thinkery.files import atomic_folder, write_json_atomic
from thinkery.machine.cpu_workers import CpuWorkers, workers_on
from thinkery.models.loading import Policy, restore_weights, save_policy, save_weights
from thinkery.training.forward import clip_gradient, counter_based_generator, load_state, packed_logprobs, save_state
from thinkery.training.optimizer import Optimizers, build_optimizer
from thinkery.training.packing import Microbatch, Tokens, sizes_of, split_microbatches
from thinkery.training.sharded_files import has_shards, read_shards
from thinkery.types import OptimizerKind, UserError

_M = TypeVar("_M", bound=nn.Module)
_T = TypeVar("_T")
_R = TypeVar("_R")


class Replicas(Generic[_M]):
    """A model, and for each further worker a copy that shares its weights and buffers."""

    def __init__(self, model: _M, workers: CpuWorkers) -> None:
        self.workers = workers
        self._models = [model, *(_sharing_weights(model) for _ in range(1, workers.count))]

    def accumulate(self, work: Callable[[_M, _T], _R], items: Sequence[_T], sizes: Sequence[int]) -> list[_R]:
        """``work(model, item)`` for every item, which adds to that model's gradient; the first model gets the sum.

        Results in the order of the items. ``sizes`` say how much work each item is. Raises what ``work`` raised.
        """
        try:
            results = self.workers.map(lambda worker, item: work(self._models[worker], item), items, sizes)
            for replica in self._models[1:]:
                for whole, part in zip(self._models[0].parameters(), replica.parameters(), strict=True):
                    if part.grad is not None:
                        whole.grad = part.grad if whole.grad is None else whole.grad.add_(part.grad)
        finally:
            for replica in self._models[1:]:
                replica.zero_grad(set_to_none=True)
        return results


def _sharing_weights(model: _M) -> _M:
    """A copy of the modules around the same memory. What updates the weights must do so in place."""
    shared: dict[int, object] = {id(buffer): buffer for buffer in model.buffers()}
    for parameter in model.parameters():
        shared[id(parameter)] = nn.Parameter(parameter.detach(), requires_grad=parameter.requires_grad)
    return copy.deepcopy(model, shared)


def frozen(workers: CpuWorkers, work: Callable[[_T], _R], items: Sequence[_T], sizes: Sequence[int]) -> list[_R]:
    """``work(item)`` for every item, in all workers and without gradient; results in the order of the items."""

    def run(_: int, item: _T) -> _R:
        with torch.no_grad():  # which threads don't inherit
            return work(item)

    return workers.map(run, items, sizes)


def random_parts(samples: Sequence[Tokens], count: int, *, seed: int, step: int, epoch: int) -> list[list[int]]:
    """The samples' indices in ``count`` random parts, as equal in prompts as can be; each in the samples' order.

    Samples of one prompt go to the same part: they share its forward. Fewer prompts than ``count`` give fewer parts.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, sample in enumerate(samples):
        groups.setdefault(tuple(sample.prompt_ids), []).append(index)
    by_prompt = list(groups.values())
    order = torch.randperm(len(by_prompt), generator=counter_based_generator(seed, step, epoch, "minibatches"))
    parts = [part.tolist() for part in order.tensor_split(count)]
    return [sorted(index for prompt in part for index in by_prompt[prompt]) for part in parts if part]


REFERENCE = "reference.safetensors"

Counters = Mapping[str, Any]


class ModelBackend(Protocol):
    """The model of a policy, wherever it is. Results are the same on all ranks, in the order of the subsets."""

    def split(self, samples: Sequence[Tokens], indices: Sequence[int], budget: int) -> list[list[int]]:
        """Splits ``indices`` into microbatches of at most ``budget`` cells of padded attention rows."""
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
        subsets: Sequence[list[int]],
    ) -> list[_R]:
        """``work(model, subset)`` for every microbatch adds to that model's gradient; the policy's model gets the sum.

        Results are plain values, or tensors on the CPU: they may come from another process. A ``UserError`` of
        ``work`` is raised, the first one on every rank, and only when the gradient of its microbatch has been taken.
        """
        ...

    def frozen(
        self,
        work: Callable[[list[int]], _R],
        model: PreTrainedModel,
        samples: Sequence[Tokens],
        subsets: Sequence[list[int]],
    ) -> list[_R]:
        """``work(subset)``, which forwards ``model``, for every microbatch, without gradient."""
        ...

    def clip_gradient(self, max_grad_norm: float, step: int, advice: str) -> float:
        """Clips the gradient and returns its norm before that (``steps.clip_gradient``)."""
        ...

    def optimizer(self, kind: OptimizerKind, learning_rate: float, weight_decay: float) -> Optimizers:
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


class LocalBackend:
    """The policy's model in this process, with a worker for each core where that pays."""

    def __init__(self, policy: Policy, workers: int | None = None) -> None:
        """``workers`` None: as many as pay on the policy's device."""
        self._policy = policy
        self._replicas = Replicas(policy.model, CpuWorkers(workers or workers_on(policy.device)))

    def split(self, samples: Sequence[Tokens], indices: Sequence[int], budget: int) -> list[list[int]]:
        """As many microbatches as memory asks for, or as keep all workers busy."""
        return split_microbatches(samples, indices, budget, self._replicas.workers.count)

    def logprobs(
        self, model: PreTrainedModel, microbatch: Microbatch, temperature: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        """Log-probability and entropy of each completion token [N]."""
        return packed_logprobs(self._policy, model, microbatch, temperature)

    def accumulate(
        self,
        work: Callable[[PreTrainedModel, list[int]], _R],
        samples: Sequence[Tokens],
        subsets: Sequence[list[int]],
    ) -> list[_R]:
        """``work`` on every microbatch, in all workers."""
        return self._replicas.accumulate(work, subsets, sizes_of(samples, subsets))

    def frozen(
        self,
        work: Callable[[list[int]], _R],
        model: PreTrainedModel,
        samples: Sequence[Tokens],
        subsets: Sequence[list[int]],
    ) -> list[_R]:
        """``work`` on every microbatch, in all workers and without gradient."""
        return frozen(self._replicas.workers, work, subsets, sizes_of(samples, subsets))

    def clip_gradient(self, max_grad_norm: float, step: int, advice: str) -> float:
        """Clips the gradient and returns its norm before that."""
        return clip_gradient(self._policy.model, max_grad_norm, step, advice)

    def optimizer(self, kind: OptimizerKind, learning_rate: float, weight_decay: float) -> Optimizers:
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
