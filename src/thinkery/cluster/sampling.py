"""The driver's side of sampling: shares completions out to the rollout workers and hands them on as they finish.

A call's problems are dealt to the workers like cards, before any starts, so what a worker samples does not depend on
who is faster; with one torch thread a worker the numbers are those of one process with as many CPU workers, bit for
bit. What a lost worker had not delivered is dealt to the others: the same completions by the same random numbers, up to
rounding, since they keep other company. Left out: how a worker samples, where the weights come from (``weights.py``).
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray

from thinkery.cluster.remote import Load, WorkerLost, is_ready, settled
from thinkery.cluster.rollout_worker import Portion, SamplingRequest
from thinkery.cluster.worker_pool import Worker, WorkerPool
from thinkery.recipe import RolloutSpec
from thinkery.rollout.base import PartialCompletion, fresh
from thinkery.types import Completion, Problem, Sampling

_POLL_S = 5.0  # a worker that has made nothing answers after so long at most, with its beat
_FETCH_S = 60.0  # for an answer that is there to arrive
_keys = itertools.count()

Ready = Callable[[], tuple[Load, list[Worker]]]


@dataclass
class WorkerTally:
    """What the workers did since it was last read, by name: seconds at work, seconds without, tokens."""

    busy: dict[str, float] = field(default_factory=dict)
    waited: dict[str, float] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, portion: Portion) -> None:
        """A request that is over."""
        self.busy[name] = self.busy.get(name, 0.0) + portion.seconds
        self.waited[name] = self.waited.get(name, 0.0) + portion.waited
        self.tokens[name] = self.tokens.get(name, 0) + portion.tokens

    def clear(self) -> None:
        """Begins anew."""
        self.busy, self.waited, self.tokens = {}, {}, {}


@dataclass
class _Job:
    """A request that a worker has. ``missing`` are its completions that have not been delivered."""

    worker: Worker
    key: str
    done: Any  # the reference of its end
    missing: dict[tuple[str, int], PartialCompletion]
    beat: int = -1
    asked: float = field(default_factory=time.monotonic)  # when it was last asked for a portion
    idle: float | None = None  # since when its answers have been that it did nothing


class ClusterRollout:
    """Samples from a policy on the workers of a pool; implements ``ResumableRollout``.

    A call's work starts when it is made, and goes on whether or not its iterator is read. ``ready`` brings workers to
    the policy's present version and gives them.
    """

    def __init__(
        self,
        pool: WorkerPool,
        ready: Ready,
        tally: WorkerTally,
        *,
        max_slots: int,
        spec: RolloutSpec | None,
        timeout_s: float,
    ) -> None:
        self._pool, self._ready, self._tally = pool, ready, tally
        self._max_slots, self._spec, self._timeout_s = max_slots, spec, timeout_s
        self._poll_s = min(_POLL_S, timeout_s / 4)
        self._flow: _Flow | None = None

    def generate(
        self, problems: Sequence[Problem], sampling: Sampling, *, seed: int, step: int, stage: str
    ) -> Iterator[Completion]:
        """``num_generations`` completions of every problem, as they finish. See ``NativeRollout.generate``."""
        return self.resume(problems, fresh(problems, sampling.num_generations, step), sampling, seed=seed, stage=stage)

    def resume(
        self,
        problems: Sequence[Problem],
        partials: Sequence[PartialCompletion],
        sampling: Sampling,
        *,
        seed: int,
        stage: str,
    ) -> Iterator[Completion]:
        """See ``ResumableRollout``."""
        self._flow = _Flow(self, problems, sampling, seed, stage)
        self._flow.deal(partials)
        return self._flow.completions()

    def interrupt(self) -> None:
        """Ends the call in flight; the workers stop at their next bursts."""
        if self._flow is not None:
            self._flow.interrupt()

    def abandon(self) -> None:
        """Ends the call in flight; nobody will read what it made."""
        if self._flow is not None:
            self._flow.interrupt(forget=True)
            self._flow = None

    @property
    def unfinished(self) -> Sequence[PartialCompletion]:
        """What the last call did not finish."""
        return self._flow.unfinished if self._flow is not None else ()


class _Flow:
    """One call: its requests to the workers, until every completion has come or been interrupted."""

    def __init__(
        self, owner: ClusterRollout, problems: Sequence[Problem], sampling: Sampling, seed: int, stage: str
    ) -> None:
        self._owner, self._sampling, self._seed, self._stage = owner, sampling, seed, stage
        self._problems = {problem.id: problem for problem in problems}
        self._jobs: dict[Any, _Job] = {}  # by the reference of the portion that is waited for
        self._is_interrupted = False
        self.unfinished: list[PartialCompletion] = []

    def deal(self, partials: Sequence[PartialCompletion]) -> None:
        """Gives every worker its share, problem by problem."""
        if not partials:
            return
        load, workers = self._owner._ready()
        own: dict[str, list[PartialCompletion]] = {}
        for partial in partials:
            own.setdefault(partial.problem_id, []).append(partial)
        order = [name for name in self._problems if name in own]
        for number, worker in enumerate(workers):
            names = order[number :: len(workers)]
            share = tuple(partial for name in names for partial in own[name])
            if share:
                self._send(worker, load, tuple(self._problems[name] for name in names), share)

    def interrupt(self, *, forget: bool = False) -> None:
        """Tells the workers to stop."""
        self._is_interrupted = True
        for job in self._jobs.values():
            job.worker.actor.interrupt.remote(job.key, forget)

    def completions(self) -> Iterator[Completion]:
        """All of them, as they come in."""
        while self._jobs:
            ready, _ = ray.wait(list(self._jobs), num_returns=1, timeout=self._owner._poll_s)
            for ref in ready:
                yield from self._arrived(ref, self._jobs.pop(ref))
            if not ready:
                self._look_for_the_silent()

    def _send(
        self, worker: Worker, load: Load, problems: tuple[Problem, ...], partials: tuple[PartialCompletion, ...]
    ) -> None:
        owner, key = self._owner, f"{self._stage}#{next(_keys)}"
        request = SamplingRequest(
            key,
            problems,
            partials,
            self._sampling,
            self._seed,
            self._stage,
            owner._max_slots,
            owner._spec,
            load.number,
            worker.state["version"],
        )
        done = worker.actor.sample.remote(request)
        self._ask(_Job(worker, key, done, {(partial.problem_id, partial.index): partial for partial in partials}))

    def _ask(self, job: _Job) -> None:
        job.asked = time.monotonic()
        self._jobs[job.worker.actor.next.remote(job.key, self._owner._poll_s)] = job

    def _arrived(self, ref: Any, job: _Job) -> Iterator[Completion]:
        try:
            portion: Portion = settled(ref, _FETCH_S, job.worker.name)
            if not portion.over and not portion.completions and is_ready(job.done):
                settled(job.done, _FETCH_S, job.worker.name)  # a defect that came before its last portion is said here
        except WorkerLost as lost:
            self._again(job, str(lost))
            return
        if portion.error is not None:
            raise portion.error
        for completion in portion.completions:
            del job.missing[completion.problem_id, completion.index]
        if portion.over:
            self.unfinished += portion.unfinished
            self._owner._tally.add(job.worker.name, portion)
        elif portion.completions or portion.beat != job.beat:
            job.beat, job.idle = portion.beat, None
            self._ask(job)
        elif job.idle is not None and time.monotonic() - job.idle > self._owner._timeout_s:
            self._again(job, f"no sign of work for {self._owner._timeout_s:g} s")
        else:  # counted from when this was read: the driver may have been busy with an update
            job.idle = job.idle or time.monotonic()
            self._ask(job)
        yield from portion.completions

    def _look_for_the_silent(self) -> None:
        """A process that is stopped, or a node that is cut off, does not even answer that it has nothing."""
        longest = self._owner._timeout_s + 2 * self._owner._poll_s
        for ref, job in list(self._jobs.items()):
            if time.monotonic() - job.asked > longest:
                del self._jobs[ref]
                self._again(job, f"no answer for {longest:g} s")

    def _again(self, job: _Job, why: str) -> None:
        """A worker is lost: the others get what it had not delivered."""
        self._owner._pool.lost(job.worker, why)
        missing = list(job.missing.values())
        if self._is_interrupted:
            self.unfinished += missing
        else:
            self.deal(missing)
