"""A cluster that learns by reinforcement, simulated event by event: rollout, grading and update, and how they overlap.

Three ways to share the GPUs out:

- ``colocated``: all of them sample, then all of them learn (DeepSeek-R1);
- ``split``: some sample and the others learn, in turns, so that every sample is on-policy;
- ``asynchronous``: the same without turns. Sampling goes on while others learn; a completion may be started while no
  more than 1 + ``staleness`` rollouts' worth of them are started and not learnt from (AReaL, arXiv 2505.24298,
  equation 3). One that is learnt from in its turn is at most ``staleness`` rollouts old then; a long one misses its
  turn, and is counted.

Events are endings of completions, verdicts and updates. Between two endings a replica's rows decode together at the
pace that their number and cache allow. Lengths, and how long a verdict takes, are drawn; everything else is computed.
Left out: failures, dynamic sampling, the prompts' forward (below one per cent), weights changing within a completion
(those in flight go on with the newest).
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from thinkery.plan.decoding import StepSeconds
from thinkery.plan.lengths import LengthSpread

Way = Literal["colocated", "split", "asynchronous"]
WAYS: tuple[Way, ...] = ("colocated", "split", "asynchronous")


@dataclass(frozen=True)
class Workload:
    """What is simulated: ``rollouts`` batches of ``completions``, each learnt from in ``updates`` equal parts."""

    completions: int
    updates: int
    rollouts: int
    lengths: LengthSpread
    prompt: int
    verdict_s: float  # mean seconds of a verdict on one grading process; drawn from an exponential distribution

    def __post_init__(self) -> None:
        if self.completions % self.updates or self.rollouts < 1:
            raise ValueError(f"{self.completions} completions do not make {self.updates} equal updates")


@dataclass(frozen=True)
class Resources:
    """What it runs on. ``update_s`` are the seconds of an update on completions of these lengths."""

    replicas: int
    slots: int  # rows at a time on a replica
    step_seconds: StepSeconds  # of one replica
    update_s: Callable[[Sequence[int]], float]
    hand_over_s: float  # weights from learner to rollout
    graders: int  # processes


@dataclass
class Result:
    """What came of it. ``busy_*`` are seconds in which each side worked, of ``seconds``; ``stale`` counts completions
    by how many whole rollouts' worth of updates lay between the weights they started from and those that learnt."""

    seconds: float = 0.0
    completions: int = 0
    tokens: int = 0
    busy_rollout: float = 0.0  # mean over replicas
    busy_update: float = 0.0
    learnt_at: list[float] = field(default_factory=list)  # when each rollout's worth was learnt from
    stale: dict[int, int] = field(default_factory=dict)

    @property
    def rollout_s(self) -> float:
        """Seconds a rollout's worth of completions, from the second on and without the last: the pipeline is full."""
        marks = self.learnt_at if len(self.learnt_at) < 4 else self.learnt_at[1:-1]
        return (marks[-1] - marks[0]) / (len(marks) - 1) if len(marks) > 1 else self.seconds


def simulate(work: Workload, resources: Resources, way: Way, *, staleness: int = 1, seed: int = 0) -> Result:
    """Runs the workload to its end. ``staleness`` is the asynchronous bound, in rollouts; the others have 0."""
    return _Simulation(work, resources, way, staleness if way == "asynchronous" else 0, seed).run()


@dataclass
class _Replica:
    """Rows that decode together; its clock stands at the last ending that it has seen."""

    rows: list[tuple[int, int, int]] = field(default_factory=list)  # step of the ending, completion, step of the start
    steps: int = 0
    seconds: float = 0.0
    started_at: int = 0
    busy: float = 0.0
    turn: int = 0  # events of earlier turns are void: the rows have changed since


class _Simulation:
    def __init__(self, work: Workload, resources: Resources, way: Way, staleness: int, seed: int) -> None:
        self.work, self.resources, self.way, self.staleness = work, resources, way, staleness
        self.numbers = random.Random(seed)
        self.total = work.completions * work.rollouts
        self.lengths = [work.lengths.draw(self.numbers) for _ in range(self.total)]
        self.version: list[int] = [0] * self.total  # updates done when it was started
        self.replicas = [_Replica() for _ in range(resources.replicas)]
        self.emptiest = [(0, index) for index in range(resources.replicas)]  # (rows, replica); some are out of date
        self.events: list[tuple[float, int, str, int, int]] = []
        self.counter = 0
        self.grader_free = [0.0] * resources.graders
        self.started = 0
        self.graded: list[int] = []  # a heap: those that started first are learnt from first
        self.learnt = self.updates = 0
        self.learning = False
        self.result = Result()
        self.now = 0.0

    def run(self) -> Result:
        """Until everything is learnt from."""
        self._start_rows()
        while self.learnt < self.total:
            self.now, _, kind, index, turn = heapq.heappop(self.events)
            if kind == "ending":
                self._ending(self.replicas[index], index, turn)
            elif kind == "verdict":
                heapq.heappush(self.graded, index)
                self._learn()
            else:
                self._learnt(index)
        result = self.result
        result.seconds, result.completions, result.tokens = self.now, self.total, sum(self.lengths)
        result.busy_rollout = sum(replica.busy for replica in self.replicas) / len(self.replicas)
        return result

    def _allowed(self) -> int:
        """How many completions may have been started by now."""
        done = self.updates // self.work.updates if self.way != "asynchronous" else self.updates / self.work.updates
        return min(self.total, int((done + 1 + self.staleness) * self.work.completions))

    def _start_rows(self) -> None:
        """New rows on the emptiest replicas, as many as are allowed and have a slot."""
        changed: set[int] = set()
        while self.started < self._allowed() and self.emptiest:
            rows, index = self.emptiest[0]
            replica = self.replicas[index]
            if rows != len(replica.rows):
                heapq.heappop(self.emptiest)
                continue
            if rows == self.resources.slots:
                break
            if index not in changed:
                self._advance(replica)
                changed.add(index)
            number = self.started
            heapq.heappush(replica.rows, (replica.steps + self.lengths[number], number, replica.steps))
            replica.started_at += replica.steps
            self.version[number] = self.updates
            self.started += 1
            heapq.heapreplace(self.emptiest, (rows + 1, index))
        for index in changed:
            self._schedule(self.replicas[index], index)

    def _advance(self, replica: _Replica) -> None:
        """Brings a replica's rows to the last step that has ended by now; what has run of the next one is kept."""
        if not replica.rows:
            replica.seconds = self.now
            return
        ahead = replica.rows[0][0] - replica.steps
        each = self._seconds(replica, ahead) / ahead
        steps = min(ahead - 1, int((self.now - replica.seconds) / each))
        replica.steps += steps
        replica.seconds += steps * each
        replica.busy += steps * each

    def _seconds(self, replica: _Replica, steps: int) -> float:
        rows = len(replica.rows)
        cached = rows * (self.work.prompt + replica.steps + steps / 2) - replica.started_at
        return steps * self.resources.step_seconds(rows, cached)

    def _schedule(self, replica: _Replica, index: int) -> None:
        replica.turn += 1
        if replica.rows:
            ahead = replica.rows[0][0] - replica.steps
            self._push(replica.seconds + self._seconds(replica, ahead), "ending", index, replica.turn)

    def _ending(self, replica: _Replica, index: int, turn: int) -> None:
        if turn != replica.turn:
            return
        replica.busy += self.now - replica.seconds
        replica.seconds, replica.steps = self.now, replica.rows[0][0]
        while replica.rows and replica.rows[0][0] == replica.steps:
            _, number, start = heapq.heappop(replica.rows)
            replica.started_at -= start
            free = heapq.heappop(self.grader_free)
            done = max(free, self.now) + self.numbers.expovariate(1.0) * self.work.verdict_s
            heapq.heappush(self.grader_free, done)
            self._push(done, "verdict", number, 0)
        heapq.heappush(self.emptiest, (len(replica.rows), index))
        self._schedule(replica, index)
        self._start_rows()

    def _learn(self) -> None:
        """An update, if its completions are there. On-policy a rollout's parts are random, so it must have ended."""
        part = self.work.completions // self.work.updates
        first = self.updates % self.work.updates == 0
        wanted = self.work.completions if first and self.way != "asynchronous" else part
        if self.learning or len(self.graded) < wanted:
            return
        chosen = [heapq.heappop(self.graded) for _ in range(part)]
        seconds = self.resources.update_s([self.lengths[number] for number in chosen])
        last = (self.updates + 1) % self.work.updates == 0
        seconds += self.resources.hand_over_s if last or self.way == "asynchronous" else 0.0
        for number in chosen:
            behind = (self.updates - self.version[number]) // self.work.updates
            self.result.stale[behind] = self.result.stale.get(behind, 0) + 1
        self.learning = True
        self.result.busy_update += seconds
        self._push(self.now + seconds, "learnt", len(chosen), 0)

    def _learnt(self, number: int) -> None:
        self.learning = False
        self.learnt += number
        self.updates += 1
        if self.updates % self.work.updates == 0:
            self.result.learnt_at.append(self.now)
        self._start_rows()
        self._learn()

    def _push(self, time: float, kind: str, index: int, turn: int) -> None:
        self.counter += 1
        heapq.heappush(self.events, (time, self.counter, kind, index, turn))
