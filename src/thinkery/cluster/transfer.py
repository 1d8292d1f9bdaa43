"""New weights for the rollout workers, a bucket at a time.

A bucket goes into the object store once and from there to every node; while the workers copy it, the next one is on
its way, and no more than these two are held. Left out: what is in a bucket (``weights.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import ray

from thinkery.cluster.crew import Worker
from thinkery.cluster.load import Load
from thinkery.cluster.remote import WorkerLost, settled
from thinkery.cluster.weights import Bucket, buckets_of
from thinkery.models.loading import Policy


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
