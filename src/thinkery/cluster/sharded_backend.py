"""The backend of a model that is cut up over ranks: what a learner needs, done by all of them together.

Every rank runs the same learner on the same samples. Here the work is shared out: microbatches of equal size, equally
many for each rank, since the ranks wait for one another in every layer; a rank that has none left forwards a token that
counts for nothing. What a rank has seen is told to all, so every rank returns the same metrics and raises the same
errors. Gradients are summed after the last microbatch.

Every method is collective: all ranks call it, with the same arguments, in the same order. Left out: who starts the
ranks, and what happens when one is lost (``join_ranks`` sets the deadline after which the others notice).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar, cast

import torch
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from transformers import PreTrainedModel

from thinkery.cluster.sharded_model import Sharding, cut_up, empty_like, forward, materialized, spread, whole
from thinkery.cluster.sharded_optimizer import Ranks, ShardedMuon, join_ranks, local
from thinkery.cluster.sharded_state import ShardedFiles, read_whole
from thinkery.models.loading import Policy, save_policy
from thinkery.training.backend import Counters, ModelBackend
from thinkery.training.forward import not_finite_gradient
from thinkery.training.optimizer import Optimizers, build_optimizer
from thinkery.training.packing import Microbatch, Tokens, pack, sizes_of, split_equal
from thinkery.training.sharded_files import has_shards, read_shards, state_tensors
from thinkery.types import OptimizerKind, UserError

__all__ = ["Sharding", "Shards", "join_ranks"]

_R = TypeVar("_R")


class Shards(ModelBackend):
    """A policy's model cut up over all ranks of the default process group."""

    def __init__(
        self, policy: Policy, device: torch.device, sharding: Sharding | None = None, *, timeout_s: float = 600.0
    ) -> None:
        """Cuts ``policy.model`` up in place, onto ``device`` of each rank, which becomes ``policy.device``.

        Rank 0's weights count: the others may bring a model on the meta device. ``timeout_s`` is how long ranks wait
        for what another one tells them; for tensors they wait as long as ``join_ranks`` said. Raises ``UserError`` if
        the model can't be cut up.
        """
        self._ranks = Ranks(device, timeout_s)
        self._policy, self._sharding = policy, sharding or Sharding()
        if self._sharding.offload and device.type == "cpu":
            raise UserError("offload keeps a GPU's weights in CPU memory; on a CPU leave it off")
        self._files = ShardedFiles(self._ranks)
        model = policy.model
        policy.device = device
        # Kept alive until they have been sent: cutting the model up leaves each rank its part alone.
        weights = {name: parameter.detach() for name, parameter in model.named_parameters()}
        buffers = dict(model.named_buffers())
        if next(model.parameters()).is_meta:
            materialized(model)
        cut_up(model, policy, self._ranks, self._sharding)
        spread(model, weights, buffers, self._ranks)

    def split(self, samples: Sequence[Tokens], indices: Sequence[int], budget: int) -> list[list[int]]:
        """Equally many microbatches for each rank, all alike in size."""
        return split_equal(samples, indices, budget, self._ranks.count)

    def logprobs(
        self, model: PreTrainedModel, microbatch: Microbatch, temperature: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        """Log-probability and entropy of each completion token [N] of this rank's microbatch."""
        return forward(model, microbatch, temperature)

    def accumulate(
        self,
        work: Callable[[PreTrainedModel, list[int]], _R],
        samples: Sequence[Tokens],
        subsets: Sequence[list[int]],
    ) -> list[_R]:
        """``work`` on this rank's microbatches; the results of all ranks' microbatches."""
        model = self._policy.model
        shards = cast(FSDPModule, model)
        rounds = self._rounds(samples, subsets)

        def run(number: int, subset: int | None) -> _R | None:
            last = number == len(rounds) - 1
            shards.set_requires_gradient_sync(last or self._sharding.reduce_every_microbatch)
            if subset is not None:
                return work(model, subsets[subset])
            (forward(model, self._nothing(), 1.0)[0] * 0.0).sum().backward()
            return None

        return self._together(run, rounds, len(subsets))

    def frozen(
        self,
        work: Callable[[list[int]], _R],
        model: PreTrainedModel,
        samples: Sequence[Tokens],
        subsets: Sequence[list[int]],
    ) -> list[_R]:
        """``work`` on this rank's microbatches without gradient; the results of all ranks' microbatches."""

        def run(_: int, subset: int | None) -> _R | None:
            if subset is not None:
                return work(subsets[subset])
            forward(model, self._nothing(), 1.0)
            return None

        try:
            with torch.no_grad():
                return self._together(run, self._rounds(samples, subsets), len(subsets))
        finally:
            # What is outside the layers stays gathered for a backward, which doesn't come.
            cast(FSDPModule, model).reshard()

    def clip_gradient(self, max_grad_norm: float, step: int, advice: str) -> float:
        """Clips the gradient, whose parts are the ranks', and returns its norm before that."""
        named = [(name, p.grad) for name, p in self._policy.model.named_parameters() if p.grad is not None]
        parts = [local(grad) for _, grad in named]
        squares = torch.stack([part.norm().to(self._ranks.device, torch.float64) for part in parts]).square()
        norm = self._ranks.reduced(squares.sum(), "sum").sqrt().item()
        if not math.isfinite(norm):
            wrong = [not bool(torch.isfinite(part).all()) for part in parts]
            anywhere = [any(of_ranks) for of_ranks in zip(*self._ranks.gather(wrong), strict=True)]
            bad = [name for (name, _), one in zip(named, anywhere, strict=True) if one]
            raise not_finite_gradient(norm, bad, step, advice)
        factor = max_grad_norm / (norm + 1e-6)  # as torch.nn.utils.clip_grad_norm_
        if factor < 1.0:
            torch._foreach_mul_(parts, factor)
        return norm

    def optimizer(self, kind: OptimizerKind, learning_rate: float, weight_decay: float) -> Optimizers:
        """torch's AdamW on each rank's parts; Muon on matrices brought together."""
        muon = partial(ShardedMuon, ranks=self._ranks)
        return build_optimizer(self._policy.model, kind, learning_rate, weight_decay=weight_decay, muon=muon)

    def copy(self) -> PreTrainedModel:
        """A second model, cut up in the same way."""
        twin = empty_like(self._policy.model)
        cut_up(twin, self._policy, self._ranks, self._sharding)
        for parameter, own in zip(twin.parameters(), self._policy.model.parameters(), strict=True):
            local(parameter.detach()).copy_(local(own.detach()))
        for buffer, own_buffer in zip(twin.buffers(), self._policy.model.buffers(), strict=True):
            buffer.copy_(own_buffer)
        return twin.requires_grad_(False)

    def save(
        self, folder: Path, name: str, counters: Counters, optimizer: Optimizers, reference: PreTrainedModel | None
    ) -> Callable[[], None]:
        """Takes a copy and begins to write it; ``folder`` is there as a whole when the result has been called."""
        return self._files.save(folder, state_tensors(self._policy.model, optimizer, reference), name, counters)

    def load(self, folder: Path, optimizer: Optimizers, reference: PreTrainedModel | None) -> None:
        """Restores what any number of ranks or one process wrote, in place."""
        self._files.finish()
        model = self._policy.model

        def read() -> None:
            if has_shards(folder):
                read_shards(folder, model, optimizer, reference)
            else:
                read_whole(folder, model, optimizer, reference, self._ranks)

        self._ranks.agree(read)

    def export(self, folder: Path) -> None:
        """Gathers the weights in rank 0's CPU memory, which writes them as a Hugging Face checkpoint."""
        state: dict[str, Tensor] = {}
        for name, parameter in self._policy.model.named_parameters():
            gathered = whole(parameter, self._ranks, parameter.dtype)
            if self._ranks.rank == 0:
                state[name] = gathered.cpu()
        self._ranks.lead(lambda: save_policy(self._policy, folder, state=state))

    def weights(self, bucket_bytes: int, dtype: torch.dtype) -> Iterator[list[tuple[str, Tensor]]]:
        """All weights in ``dtype`` under their Hugging Face names, in buckets of at most about ``bucket_bytes``.

        Rank 0 gets them; the others get as many empty buckets, and must take them. A tensor larger than a bucket is
        one by itself; of tied weights there is one.
        """
        bucket: list[tuple[str, Tensor]] = []
        held = 0
        for name, parameter in self._policy.model.named_parameters():
            size = parameter.numel() * dtype.itemsize
            if held and held + size > bucket_bytes:
                yield bucket
                bucket, held = [], 0
            gathered = whole(parameter, self._ranks, dtype)
            held += size
            if self._ranks.rank == 0:
                bucket.append((name, gathered))
        yield bucket

    def _rounds(self, samples: Sequence[Tokens], subsets: Sequence[list[int]]) -> list[int | None]:
        """This rank's microbatch in each round; in a round the ranks have microbatches of about one size."""
        sizes = sizes_of(samples, subsets)
        order = sorted(range(len(subsets)), key=lambda subset: -sizes[subset])
        ranks, rank = self._ranks.count, self._ranks.rank
        firsts = range(rank, math.ceil(len(subsets) / ranks) * ranks, ranks)
        return [order[number] if number < len(order) else None for number in firsts]

    def _together(
        self, run: Callable[[int, int | None], _R | None], rounds: Sequence[int | None], count: int
    ) -> list[_R]:
        """Runs all rounds of this rank; returns the results of all microbatches, or raises the first ``UserError``.

        An error of one microbatch doesn't end the rounds: the other ranks would wait.
        """
        outcomes: dict[int, _R | UserError] = {}
        for number, subset in enumerate(rounds):
            try:
                result = run(number, subset)
            except UserError as error:
                assert subset is not None
                outcomes[subset] = error
            else:
                if subset is not None:
                    outcomes[subset] = cast(_R, result)
        everyone: dict[int, _R | UserError] = {}
        for of_rank in self._ranks.gather(outcomes):
            everyone |= of_rank
        ordered = [everyone[subset] for subset in range(count)]
        for outcome in ordered:
            if isinstance(outcome, UserError):
                raise outcome
        return cast(list[_R], ordered)

    def _nothing(self) -> Microbatch:
        """A microbatch of one token, for a rank that has no work and must not keep the others waiting."""
        return pack([_Nothing()], [0], self._ranks.device)


@dataclass(frozen=True)
class _Nothing:
    """A sample that nobody learns from."""

    prompt_ids: Sequence[int] = (0,)
    token_ids: Sequence[int] = (0,)
