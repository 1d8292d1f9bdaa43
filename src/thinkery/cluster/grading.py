"""The driver's side of grading: completions go to the reward workers as they finish, group by group to the same one.

Whole groups are graded together, so rewards that compare a group's completions see all of them; a reward that compares
a step's groups sees those of its worker. What was with a lost worker is handed to another, and graded again. With
workers for reward models, those get the rows with their verdicts when the rules are done. Reference answers and
rewrites are judged in the driver's process. Left out: the grading itself (``rewards``).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from thinkery.cluster.remote import WorkerLost, settled
from thinkery.cluster.reward_worker import Answer, Graded
from thinkery.cluster.worker_pool import Worker, WorkerPool
from thinkery.recipe import MODEL_REWARDS
from thinkery.rewards.grader import Grader, GraderSpec
from thinkery.types import Completion, Group, Problem, Verdict

_TOGETHER = 8  # completions that travel together
_GRACE_S = 120.0  # beyond the deadlines that the worker keeps itself

Handed = tuple[Problem, Completion]


class ClusterGrader(Grader):
    """A ``Grader`` whose work is done by the workers of a pool; ``models``, if any, hold the reward models alone."""

    def __init__(self, number: int, spec: GraderSpec, pool: WorkerPool, models: WorkerPool | None) -> None:
        super().__init__(spec)
        self._number = number  # tells apart the graders of a run
        scored = {name: one for name, one in spec.rewards.items() if models is not None and name in MODEL_REWARDS}
        ruled = {name: one for name, one in spec.rewards.items() if name not in scored}
        self._rules, self._models = replace(spec, rewards=ruled), replace(spec, rewards=scored)
        self._pool, self._model_pool = pool, models if scored else None
        self._handed: dict[str, dict[int, Handed]] = {}  # by problem and index, until their group is collected
        self._place: dict[str, Worker] = {}  # which worker has a problem
        self._unsent: dict[str, list[Handed]] = {}  # by worker
        self._sent: list[tuple[Worker, Any]] = []  # calls that answer nothing, unless something is wrong
        self._turn = 0
        self._deadline_s = spec.verification.step_deadline_s + spec.reward_timeout_s + _GRACE_S

    def submit(self, problem: Problem, completion: Completion) -> None:
        """See ``Grader.submit``."""
        own = self._handed.setdefault(problem.id, {})
        if completion.problem_id != problem.id or completion.index in own:
            raise ValueError(f"completion {completion.index} of {completion.problem_id} submitted wrongly, or twice")
        own[completion.index] = problem, completion
        self._send(problem.id, [(problem, completion)])

    def collect(self, problems: Sequence[Problem], num_generations: int, *, step: int | None = None) -> list[Group]:
        """See ``Grader.collect``."""
        errors: dict[str, int] = {}
        ends: list[str] = []

        def ask(worker: Worker, some: Sequence[Problem]) -> Any:
            return worker.actor.collect.remote(self._number, some, num_generations, step)

        def take(some: Sequence[Problem], answer: Answer) -> dict[str, Graded]:
            for name, count in answer[1].items():
                errors[name] = errors.get(name, 0) + count
            ends.extend(answer[2])
            return {problem.id: one for problem, one in zip(some, answer[0], strict=True)}

        graded: dict[str, Graded] = self._asked(problems, num_generations, ask, take)
        if self._model_pool is not None:
            graded = self._scored(problems, graded, step, errors)
        groups = [self._group(problem, graded[problem.id]) for problem in problems]
        self.errors, self.process_ends = errors, ends
        for problem in problems:
            del self._handed[problem.id]
        return groups

    def verdicts(self, problems: Sequence[Problem], num_generations: int) -> list[tuple[Verdict, ...]]:
        """See ``Grader.verdicts``."""

        def ask(worker: Worker, some: Sequence[Problem]) -> Any:
            return worker.actor.verdicts.remote(self._number, some, num_generations)

        def take(some: Sequence[Problem], answer: list[tuple[Verdict, ...]]) -> dict[str, tuple[Verdict, ...]]:
            return {problem.id: one for problem, one in zip(some, answer, strict=True)}

        found: dict[str, tuple[Verdict, ...]] = self._asked(problems, num_generations, ask, take)
        for problem in problems:
            del self._handed[problem.id]
        return [found[problem.id] for problem in problems]

    def close(self) -> None:
        """Ends the graders of this process and of the workers; what they were still at is dropped."""
        super().close()
        for pool in (self._pool, self._model_pool):
            for worker in pool.present() if pool is not None else ():
                worker.actor.close.remote(self._number)
                worker.state.pop(f"grader {self._number}", None)

    def _asked(
        self,
        problems: Sequence[Problem],
        num_generations: int,
        ask: Callable[[Worker, Sequence[Problem]], Any],
        take: Callable[[Sequence[Problem], Any], dict[str, Any]],
    ) -> dict[str, Any]:
        """What the workers say of the problems, by id; asked again of another where one is lost."""
        self._require(problems, num_generations)
        by_id = {problem.id: problem for problem in problems}
        found: dict[str, Any] = {}
        while missing := [name for name in by_id if name not in found]:
            shares: dict[str, tuple[Worker, list[Problem]]] = {}
            for name in missing:
                worker = self._place[name]
                shares.setdefault(worker.name, (worker, []))[1].append(by_id[name])
            self._flush()
            calls = [(worker, some, ask(worker, some)) for worker, some in shares.values()]
            sent, self._sent = self._sent, []
            for worker, ref in sent:
                with contextlib.suppress(WorkerLost):  # which shows below
                    settled(ref, self._deadline_s, worker.name)
            for worker, some, ref in calls:
                try:
                    found |= take(some, settled(ref, self._deadline_s, worker.name))
                except WorkerLost as lost:
                    self._lost(worker, str(lost))
        for name in by_id:
            del self._place[name]
        return found

    def _require(self, problems: Sequence[Problem], num_generations: int) -> None:
        wanted = [(problem.id, index) for problem in problems for index in range(num_generations)]
        missing = [(name, index) for name, index in wanted if index not in self._handed.get(name, {})]
        if missing:
            raise ValueError(f"{len(missing)} completions were never submitted, the first is {missing[0]}")

    def _send(self, name: str, some: Sequence[Handed]) -> None:
        """Puts completions of one problem on their way to its worker."""
        if name not in self._place:
            workers = self._pool.ready()
            self._place[name] = workers[self._turn % len(workers)]
            self._turn += 1
        unsent = self._unsent.setdefault(self._place[name].name, [])
        unsent += some
        if len(unsent) >= _TOGETHER:
            self._flush()

    def _flush(self) -> None:
        unsent, self._unsent = self._unsent, {}
        places = {worker.name: worker for worker in self._place.values()}
        for name, some in unsent.items():
            worker = places[name]
            if worker.state.get(f"grader {self._number}") is None:
                self._sent.append((worker, worker.actor.open.remote(self._number, self._rules)))
                worker.state[f"grader {self._number}"] = True
            self._sent.append((worker, worker.actor.submit.remote(self._number, some)))

    def _lost(self, worker: Worker, why: str) -> None:
        """Hands what a lost worker had to others."""
        self._pool.lost(worker, why)
        self._unsent.pop(worker.name, None)
        names = [name for name, place in self._place.items() if place is worker]
        for name in names:
            del self._place[name]
        for name in names:
            self._send(name, list(self._handed[name].values()))

    def _scored(
        self, problems: Sequence[Problem], graded: dict[str, Graded], step: int | None, errors: dict[str, int]
    ) -> dict[str, Graded]:
        """What the rules said, with what the reward models say beside it."""
        assert self._model_pool is not None
        waiting, scored = list(problems), dict[str, Graded]()
        while waiting:
            workers = self._model_pool.ready()
            calls = []
            for number, worker in enumerate(workers):
                some = waiting[number :: len(workers)]
                rows = [
                    (problem, completion, verdict)
                    for problem in some
                    for completion, verdict in zip(self._in_order(problem), graded[problem.id].verdicts_G, strict=True)
                ]
                if rows:
                    calls.append((worker, some, worker.actor.score.remote(self._number, self._models, rows, step)))
            for worker, some, ref in calls:
                try:
                    values, failed = settled(ref, self._deadline_s, worker.name)
                except WorkerLost as lost:
                    self._model_pool.lost(worker, str(lost))
                    continue
                for name, count in failed.items():
                    errors[name] = errors.get(name, 0) + count
                scored |= self._merged(some, graded, values)
            waiting = [problem for problem in waiting if problem.id not in scored]
        return scored

    def _merged(
        self, problems: Sequence[Problem], graded: Mapping[str, Graded], values: Mapping[str, Sequence[float | None]]
    ) -> dict[str, Graded]:
        """Values of the problems' rows, one after another, beside what the rules said; in the order of the specs."""
        merged, start = {}, 0
        for problem in problems:
            ruled = graded[problem.id]
            end = start + len(ruled.verdicts_G)
            found = dict(ruled.rewards_G) | {name: tuple(own[start:end]) for name, own in values.items()}
            ordered = {name: found[name] for name in self.spec.rewards if name in found}
            merged[problem.id] = Graded(ruled.verdicts_G, ordered)
            start = end
        return merged

    def _in_order(self, problem: Problem) -> list[Completion]:
        own = self._handed[problem.id]
        return [own[index][1] for index in sorted(own)]

    def _group(self, problem: Problem, graded: Graded) -> Group:
        completions_G = tuple(self._in_order(problem))
        totals_G = tuple(
            self._total(completion, {name: values[i] for name, values in graded.rewards_G.items()})
            for i, completion in enumerate(completions_G)
        )
        return Group(problem, completions_G, graded.verdicts_G, graded.rewards_G, totals_G)
