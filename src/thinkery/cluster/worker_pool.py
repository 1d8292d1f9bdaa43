"""The workers of one kind: placed in Ray's placement groups, started, and replaced when they are lost.

Left out: what workers do (``ranks.py``, ``rollout_worker.py``, ``reward_worker.py``).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from thinkery.cluster.connect import total
from thinkery.cluster.remote import WorkerLost, is_ready, settled
from thinkery.recipe import ClusterSpec
from thinkery.types import UserError

_PATIENCE_S = 5.0  # before anybody is told that there is no room yet
LEARNER, ROLLOUT, REWARD, REWARD_MODEL = "learner", "rollout", "reward", "reward-model"


@dataclass(frozen=True)
class _Need:
    """What the workers of a kind take, each."""

    count: int
    cpus: float
    gpus: float


class Placement:
    """The slots of all workers. Learners are packed, since they talk to one another; the others are spread."""

    def __init__(self, spec: ClusterSpec, note: Callable[[str], None]) -> None:
        """Waits for room, and says so. Raises ``UserError`` if the cluster has none in time."""
        needs = _needs(spec)
        self._groups: list[PlacementGroup] = []
        self.slots: dict[str, list[Slot]] = {}
        together = (LEARNER, ROLLOUT) if spec.colocate else (LEARNER,)
        self._reserve(needs, together, "PACK")
        for kind in (ROLLOUT, REWARD, REWARD_MODEL):
            if kind not in together:
                self._reserve(needs, (kind,), "SPREAD")
        deadline = time.monotonic() + spec.start_timeout_s
        if not self._placed(min(_PATIENCE_S, spec.start_timeout_s)):
            wanted = _wanted(needs)
            note(f"waiting for room: {wanted}")
            if not self._placed(deadline - time.monotonic()):
                self.close()
                raise UserError(
                    f"cluster: no room within start_timeout_s = {spec.start_timeout_s:g} s: {wanted}; ask for fewer "
                    "workers, or give each less (cpus, learner_gpus, rollout_gpus)"
                )

    def close(self) -> None:
        """Gives the places back, and ends whatever is in them."""
        for group in self._groups:
            remove_placement_group(group)
        self._groups = []

    def _placed(self, timeout_s: float) -> bool:
        """Whether all groups have their places, waited for so long in all."""
        deadline = time.monotonic() + timeout_s
        return all(group.wait(max(0.0, deadline - time.monotonic())) for group in self._groups)

    def _reserve(self, needs: dict[str, _Need], kinds: tuple[str, ...], strategy: str) -> None:
        """A group of bundles, each for one worker of each of the kinds."""
        count = max(needs[kind].count for kind in kinds)
        self.slots |= {kind: [] for kind in kinds}
        if not count:
            return
        wanted = {"CPU": sum(needs[k].cpus for k in kinds), "GPU": sum(needs[k].gpus for k in kinds)}
        group = placement_group([{name: value for name, value in wanted.items() if value}] * count, strategy=strategy)
        self._groups.append(group)
        for kind in kinds:
            need = needs[kind]
            self.slots[kind] = [Slot(group, bundle, need.cpus, need.gpus) for bundle in range(need.count)]


def _needs(spec: ClusterSpec) -> dict[str, _Need]:
    counts = {LEARNER: spec.learners, ROLLOUT: spec.rollouts, REWARD: spec.rewards, REWARD_MODEL: spec.reward_models}
    # Rounded down to what Ray can count, so that the shares fit.
    share = spec.cpus or min(1.0, int(100 * total("CPU") / max(1, sum(counts.values()))) / 100)
    own = (0.5 if spec.colocate else 1.0) if total("GPU") else 0.0
    gpus = {LEARNER: spec.learner_gpus, ROLLOUT: spec.rollout_gpus, REWARD: 0.0, REWARD_MODEL: spec.reward_model_gpus}
    default = {LEARNER: own, ROLLOUT: own, REWARD: 0.0, REWARD_MODEL: 1.0 if total("GPU") else 0.0}
    return {
        kind: _Need(count, share, default[kind] if (given := gpus[kind]) is None else given)
        for kind, count in counts.items()
    }


def _wanted(needs: dict[str, _Need]) -> str:
    cpus, gpus = (sum(need.count * getattr(need, name) for need in needs.values()) for name in ("cpus", "gpus"))
    nodes = sum(node["Alive"] for node in ray.nodes())
    return (
        f"the workers need {cpus:g} CPUs and {gpus:g} GPUs in all, and {nodes} nodes have {total('CPU'):g} CPUs and "
        f"{total('GPU'):g} GPUs"
    )


@dataclass
class Worker:
    """An actor with its name; ``hello`` is its first answer, which says that it is there."""

    name: str
    actor: Any
    hello: Any
    slot: int
    awaited: bool = False  # whether work waits for it: for the first in a slot, not for a replacement
    pid: int = 0  # these two are known once it has answered
    node: str = ""
    state: dict[str, Any] = field(default_factory=dict)  # what its pool's user keeps about it


@dataclass(frozen=True)
class Slot:
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


class FailureBudget:
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


class WorkerPool:
    """``start(kind, number, name, seat)`` makes an actor with a method ``hello``, which gives its process's id."""

    def __init__(
        self,
        kind: str,
        slots: Sequence[Slot],
        start: Callable[[str, int, str, Slot], Any],
        failures: FailureBudget,
        start_timeout_s: float,
    ) -> None:
        self.kind, self._slots, self._start, self._failures = kind, slots, start, failures
        self._start_timeout_s = start_timeout_s
        self._starting: list[Worker] = []
        self._ready: list[Worker] = []
        for slot in range(len(slots)):
            self._open(slot, awaited=True)

    def ready(self) -> list[Worker]:
        """The workers that can work, by their slots; replacements that have come up are among them.

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
        return sorted(self._ready, key=lambda worker: worker.slot)

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
        self._failures.add(self.kind, worker.name, why, "its work is done again")
        self._open(worker.slot)

    def present(self) -> list[Worker]:
        """The workers that are there at this moment."""
        return list(self._ready)

    def restart(self, why: str) -> None:
        """Ends all workers and starts new ones: where they only work together one can't be replaced alone.

        Raises ``UserError`` if too many were lost.
        """
        self._failures.add(self.kind, f"{self.kind}-0", why, "all of them start again")
        for worker in [*self._ready, *self._starting]:
            kill(worker)
        self._ready, self._starting = [], []
        for slot in range(len(self._slots)):
            self._open(slot, awaited=True)

    def close(self) -> None:
        """Ends all workers."""
        for worker in [*self._ready, *self._starting]:
            kill(worker)
        self._ready, self._starting = [], []

    def _open(self, number: int, *, awaited: bool = False) -> None:
        name = f"{self.kind}-{number}"
        actor = self._start(self.kind, number, name, self._slots[number])
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
                self._failures.add(self.kind, worker.name, str(lost), "another is started")
                self._open(worker.slot, awaited=worker.awaited)


def kill(worker: Worker) -> None:
    """Ends a worker's process, if it is still there."""
    with contextlib.suppress(RayError, ConnectionError):
        ray.kill(worker.actor)
