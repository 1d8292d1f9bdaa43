"""The workers of one kind: placed, started, and replaced when they are lost.

Nobody waits for a replacement as long as another worker can do its work: it starts in the lost one's place and joins
when it is ready; where its place is gone with its node, the crew is smaller. Left out: what workers do.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.placement_group import PlacementGroup
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from thinkery.cluster.remote import WorkerLost, is_ready, settled
from thinkery.types import UserError


@dataclass
class Worker:
    """An actor with its name; ``hello`` is its first answer, which says that it is there."""

    name: str
    actor: Any
    hello: Any
    seat: int
    awaited: bool = False  # whether work waits for it: for the first of a seat, not for a replacement
    pid: int = 0  # these two are known once it has answered
    node: str = ""
    state: dict[str, Any] = field(default_factory=dict)  # what its crew's user keeps about it


@dataclass(frozen=True)
class Seat:
    """A worker's place: a bundle of a placement group, and what it takes of it."""

    group: PlacementGroup
    bundle: int
    cpus: float
    gpus: float

    def options(self) -> dict[str, Any]:
        """How Ray is told to start an actor here."""
        return {
            "num_cpus": self.cpus,
            "num_gpus": self.gpus,
            "scheduling_strategy": PlacementGroupSchedulingStrategy(self.group, self.bundle),
            "max_restarts": 0,  # a new process would have lost its policy: it is replaced where that is known
        }


class Losses:
    """How many workers were lost, by kind; says so, and gives up when it is too many."""

    def __init__(self, most: int, note: Callable[[str], None]) -> None:
        self._most, self._note = most, note
        self.counts: dict[str, int] = {}

    def add(self, kind: str, name: str, why: str, then: str) -> None:
        """Counts a loss. Raises ``UserError`` if there were more than allowed."""
        self.counts[kind] = self.counts.get(kind, 0) + 1
        if sum(self.counts.values()) > self._most:
            raise UserError(
                f"{name}: {why}; {sum(self.counts.values())} workers were lost, more than cluster.max_restarts = "
                f"{self._most}: look into workers/{name}.log of the run folder"
            )
        self._note(f"{name}: {why}; {then}")


class Crew:
    """``start(kind, number, name, seat)`` makes an actor with a method ``hello``, which gives its process's id."""

    def __init__(
        self,
        kind: str,
        seats: Sequence[Seat],
        start: Callable[[str, int, str, Seat], Any],
        losses: Losses,
        start_timeout_s: float,
    ) -> None:
        self.kind, self._seats, self._start, self._losses = kind, seats, start, losses
        self._start_timeout_s = start_timeout_s
        self._starting: list[Worker] = []
        self._ready: list[Worker] = []
        for seat in range(len(seats)):
            self._open(seat, awaited=True)

    def ready(self) -> list[Worker]:
        """The workers that can work, by their seats; replacements that have come up are among them.

        The first time all are waited for, later none as long as there is one. Raises ``UserError`` if none comes up.
        """
        deadline = time.monotonic() + self._start_timeout_s
        self._welcome(0.0)
        while self._starting and (not self._ready or any(worker.awaited for worker in self._starting)):
            left = deadline - time.monotonic()
            if left <= 0:
                break
            self._welcome(left)
        for worker in self._starting:
            worker.awaited = False  # not again: it may join when it can
        if not self._ready:
            free = ray.available_resources()
            raise UserError(
                f"no {self.kind} worker came up within cluster.start_timeout_s = {self._start_timeout_s:g} s; free are "
                f"{free.get('CPU', 0):g} CPUs and {free.get('GPU', 0):g} GPUs"
            )
        return sorted(self._ready, key=lambda worker: worker.seat)

    def all_ready(self) -> list[Worker]:
        """All workers, waited for. Raises ``UserError`` if one doesn't come up in time."""
        deadline = time.monotonic() + self._start_timeout_s
        while self._starting:
            before = len(self._starting)
            self._welcome(max(0.0, deadline - time.monotonic()))
            if len(self._starting) == before:
                missing = ", ".join(worker.name for worker in self._starting)
                raise UserError(
                    f"{missing} did not come up within cluster.start_timeout_s = {self._start_timeout_s:g} s"
                )
        return self.ready()

    def lost(self, worker: Worker, why: str) -> None:
        """A worker is gone; another starts in its place. Raises ``UserError`` if too many were."""
        if worker not in self._ready:
            return  # somebody else has noticed
        self._ready.remove(worker)
        kill(worker)
        self._losses.add(self.kind, worker.name, why, "its work is done again")
        self._open(worker.seat)

    def present(self) -> list[Worker]:
        """The workers that are there at this moment."""
        return list(self._ready)

    def restart(self, why: str) -> None:
        """Ends all workers and starts new ones: where they only work together one can't be replaced alone.

        Raises ``UserError`` if too many were lost.
        """
        self._losses.add(self.kind, f"{self.kind}-0", why, "all of them start again")
        for worker in [*self._ready, *self._starting]:
            kill(worker)
        self._ready, self._starting = [], []
        for seat in range(len(self._seats)):
            self._open(seat, awaited=True)

    def close(self) -> None:
        """Ends all workers."""
        for worker in [*self._ready, *self._starting]:
            kill(worker)
        self._ready, self._starting = [], []

    def _open(self, number: int, *, awaited: bool = False) -> None:
        name = f"{self.kind}-{number}"
        actor = self._start(self.kind, number, name, self._seats[number])
        self._starting.append(Worker(name, actor, actor.hello.remote(), number, awaited))

    def _welcome(self, timeout_s: float) -> None:
        """Takes in those that have come up, waiting at most so long for the first."""
        if timeout_s and self._starting:
            ray.wait([worker.hello for worker in self._starting], num_returns=1, timeout=timeout_s)
        for worker in list(self._starting):
            if not is_ready(worker.hello):
                continue
            self._starting.remove(worker)
            try:
                worker.pid, worker.node = settled(worker.hello, self._start_timeout_s, worker.name)
                self._ready.append(worker)
            except WorkerLost as lost:  # it died while it started
                self._losses.add(self.kind, worker.name, str(lost), "another is started")
                self._open(worker.seat, awaited=worker.awaited)


def kill(worker: Worker) -> None:
    """Ends a worker's process, if it is still there."""
    with contextlib.suppress(RayError, ConnectionError):
        ray.kill(worker.actor)
