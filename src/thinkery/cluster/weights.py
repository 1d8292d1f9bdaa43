"""New weights for the rollout workers: a model cut into buckets, sent bucket by bucket, and a model filled from them.

Left out: who asks for them (``sampling.py``).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import ray
import torch
from torch import Tensor, nn

from thinkery.cluster.remote import Load, WorkerLost, settled
from thinkery.cluster.worker_pool import Worker
from thinkery.models.loading import Policy


@dataclass(frozen=True)
class Bucket:
    """Named tensors of one model. ``arrays`` are NumPy's, which knows no bfloat16: that travels as int16."""

    names: tuple[str, ...]
    dtypes: tuple[str, ...]
    arrays: tuple[Any, ...]

    @classmethod
    def of(cls, tensors: Iterable[tuple[str, Tensor]]) -> Bucket:
        """From tensors on any device."""
        named = [(name, tensor.detach().cpu().contiguous()) for name, tensor in tensors]
        return cls(
            tuple(name for name, _ in named),
            tuple(str(tensor.dtype).removeprefix("torch.") for _, tensor in named),
            tuple((t.view(torch.int16) if t.dtype is torch.bfloat16 else t).numpy() for _, t in named),
        )

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """The tensors, on the CPU. They share the bucket's memory: read only."""
        for name, dtype, array in zip(self.names, self.dtypes, self.arrays, strict=True):
            with warnings.catch_warnings():  # that shared memory is read only
                warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
                tensor = torch.from_numpy(array)
            yield name, tensor.view(torch.bfloat16) if dtype == "bfloat16" else tensor


def buckets_of(model: nn.Module, bucket_bytes: int) -> Iterator[list[tuple[str, Tensor]]]:
    """A model's parameters in buckets of about that size; a larger tensor is one by itself, tied ones come once."""
    bucket: list[tuple[str, Tensor]] = []
    size = 0
    for name, parameter in model.named_parameters():
        more = parameter.numel() * parameter.element_size()
        if bucket and size + more > bucket_bytes:
            yield bucket
            bucket, size = [], 0
        bucket.append((name, parameter.detach()))
        size += more
    if bucket:
        yield bucket


def fill(parameters: dict[str, nn.Parameter], tensors: Iterable[tuple[str, Tensor]]) -> None:
    """Copies tensors into a model's parameters, by name, in place. Raises ``KeyError`` for a name that it lacks."""
    with torch.no_grad():
        for name, tensor in tensors:
            parameters[name].copy_(tensor)


class Source(Protocol):
    """Where the present weights of a policy are."""

    def buckets(self, bucket_bytes: int) -> Iterator[Any]:
        """References to the buckets of all weights."""
        ...


class DriverSource:
    """The weights of a policy in this process."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    def buckets(self, bucket_bytes: int) -> Iterator[Any]:
        """See ``Source``."""
        for tensors in buckets_of(self._policy.model, bucket_bytes):
            yield ray.put(Bucket.of(tensors))


class Transfer:
    """Brings workers to a version of a policy. ``lost`` is told of workers that don't get there."""

    def __init__(
        self,
        lost: Callable[[Worker, str], None],
        *,
        bucket_bytes: int,
        load_timeout_s: float,
        bucket_timeout_s: float,
    ) -> None:
        self._lost = lost
        self._bucket_bytes, self._load_timeout_s, self._bucket_timeout_s = (
            bucket_bytes,
            load_timeout_s,
            bucket_timeout_s,
        )

    def bring(self, workers: Sequence[Worker], load: Load, version: int, source: Source | None) -> list[Worker]:
        """Those of the workers that have the version now.

        A worker without the policy loads it from its place, which is version 0; without a ``source`` every version is
        what is there: nothing has been learnt.
        """
        fresh = [worker for worker in workers if worker.state.get("policy") != load.number]
        alive = self._all(workers, fresh, "load", self._load_timeout_s, load)
        for worker in alive:
            if worker in fresh:
                worker.state |= {"policy": load.number, "version": 0}
        behind = [worker for worker in alive if worker.state["version"] != version]
        if behind and source is not None:
            alive = self._fill(alive, behind, source)
        behind = [worker for worker in alive if worker.state["version"] != version]
        alive = self._all(alive, behind, "become", self._bucket_timeout_s, version)
        for worker in alive:
            worker.state["version"] = version
        return alive

    def _fill(self, alive: Sequence[Worker], behind: Sequence[Worker], source: Source) -> list[Worker]:
        """All buckets to those that are behind."""
        gone: set[str] = set()
        before: list[tuple[Worker, Any]] = []
        for bucket in source.buckets(self._bucket_bytes):
            sent = [(worker, worker.actor.take.remote(bucket)) for worker in behind if worker.name not in gone]
            gone |= self._wait(before)
            before = sent
        gone |= self._wait(before)
        return [worker for worker in alive if worker.name not in gone]

    def _all(
        self, alive: Sequence[Worker], asked: Sequence[Worker], method: str, timeout_s: float, argument: object
    ) -> list[Worker]:
        calls = [(worker, getattr(worker.actor, method).remote(argument)) for worker in asked]
        gone = self._wait(calls, timeout_s)
        return [worker for worker in alive if worker.name not in gone]

    def _wait(self, calls: Sequence[tuple[Worker, Any]], timeout_s: float | None = None) -> set[str]:
        """Waits for calls; the names of the workers that are lost with them."""
        gone: set[str] = set()
        for worker, ref in calls:
            try:
                settled(ref, timeout_s or self._bucket_timeout_s, worker.name)
            except WorkerLost as lost:
                gone.add(worker.name)
                self._lost(worker, str(lost))
        return gone
