"""How an RL stage comes by its groups: problems drawn by position, sampled, graded while others still decode.

Completions that a step did not wait for stay in flight, part of the stage's checkpoint, and are resumed later. Left
out: what samples and grades (``runtime.py``) and what is learnt from the groups (``rl.py``).
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinkery.machine.clock import Clock
from thinkery.models.flops import Compute, policy_shape, rollout_compute
from thinkery.models.loading import Policy
from thinkery.models.reward_model import require_same_tokenizer
from thinkery.problems.source import ProblemSource
from thinkery.recipe import MODEL_REWARDS, RewardSpec, RLStage
from thinkery.rewards.grader import Grader, GraderSpec
from thinkery.rollout.base import PartialCompletion, ResumableRollout, fresh
from thinkery.stages.context import StageContext
from thinkery.stages.parts import require_references
from thinkery.stages.step_metrics import GRADING, ROLLOUT, lengths_of, work_metrics
from thinkery.types import SMALLEST_SPREAD, Ahead, Completion, Group, Outcome, Problem, Sampling, UserError

if TYPE_CHECKING:
    from thinkery.report.terminal import View

State = dict[str, Any]  # as JSON has it

_FILE = "sampler.json"


@dataclass
class OpenProblem:
    """A problem in flight. ``drawn`` is how to draw it again: the place within a call of the source's ``draw``."""

    problem: Problem
    drawn: tuple[int, int, int]  # start, count, place
    partials: list[PartialCompletion] = field(default_factory=list)  # what is not finished
    completions: list[Completion] = field(default_factory=list)


class InFlight:
    """The problems in flight in one stage, in the order in which they were drawn.

    ``drawn`` counts all that were drawn. A problem that is drawn again while it is in flight waits for its turn: its
    completions could not be told apart.
    """

    def __init__(
        self,
        rollout: ResumableRollout,
        policy: Policy,
        source: ProblemSource,
        sampling: Sampling,
        ahead: Ahead,
        *,
        seed: int,
        stage: str,
    ) -> None:
        self.drawn = 0
        self._rollout, self._policy, self._source, self._sampling = rollout, policy, source, sampling
        self._ahead, self._seed, self._stage = ahead, seed, stage
        self._open: dict[str, OpenProblem] = {}
        self._waiting: list[OpenProblem] = []
        self._flow: Iterator[Completion] | None = None
        self._version = 0  # the policy's, when the flow began
        self._is_interrupted = False

    def __len__(self) -> int:
        return len(self._open)

    @property
    def complete(self) -> int:
        """How many of them are complete."""
        return sum(not one.partials for one in self._open.values())

    def problem(self, problem_id: str) -> Problem:
        """One of them."""
        return self._open[problem_id].problem

    def fill(self, step: int, needed: int, wanted: int) -> None:
        """Draws until ``wanted`` problems are in flight, or ``needed`` where no more differ.

        What is new belongs to ``step``, and so do its random numbers.
        """
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            self._admit(one, step)
        before = -1
        while len(self._open) < wanted and not before == len(self._open) >= needed:
            before, missing = len(self._open), wanted - len(self._open)
            for place, problem in enumerate(self._source.draw(self.drawn, missing)):
                self._admit(OpenProblem(problem, (self.drawn, missing, place)), step)
            self.drawn += missing

    def begin(self) -> None:
        """Has what is in flight sampled, if that is not done already. On a cluster it continues by itself."""
        if self._flow is not None:
            return
        unfinished = [one for one in self._open.values() if one.partials]
        self._version, self._is_interrupted = self._policy.version, False
        self._flow = self._rollout.resume(
            [one.problem for one in unfinished],
            [partial for one in unfinished for partial in one.partials],
            self._sampling,
            seed=self._seed,
            stage=self._stage,
        )

    def completions(self, count: int) -> Iterator[Completion]:
        """What finishes, until ``count`` problems are complete; what else is in flight is then interrupted."""
        if self._flow is not None and self._ahead.partial and self._policy.version != self._version:
            self._interrupt()  # to resume under the new weights
        while self._flow is not None or self.complete < count:
            self.begin()
            yield from self._finish(count)

    def settle(self) -> Iterator[Completion]:
        """What finishes until nothing is being sampled: all of it, or what was done before it could be interrupted."""
        if self._flow is not None:
            if self._ahead.partial:
                self._interrupt()
            yield from self._finish(len(self._open) + 1)

    def take(self, count: int) -> list[Problem]:
        """The first ``count`` complete problems, which are no longer in flight."""
        done = [one.problem for one in self._open.values() if not one.partials][:count]
        for problem in done:
            del self._open[problem.id]
        return done

    def state(self) -> State:
        """All of it, settled."""
        assert self._flow is None, "settle first: what is on its way can't be written"
        return {"drawn": self.drawn} | {name: [_row(one) for one in some] for name, some in self._lists().items()}

    def save(self, folder: Path) -> None:
        """Writes its state; ``folder`` does not exist yet."""
        write_state(self.state(), folder)

    def load(self, folder: Path) -> list[Completion]:
        """Restores what ``save`` wrote; gives the completions of problems that are in flight."""
        state = json.loads((folder / _FILE).read_text())
        self.drawn = state["drawn"]
        self._open = {one.problem.id: one for one in map(self._read, state["open"])}
        self._waiting = list(map(self._read, state["waiting"]))
        return [completion for one in self._open.values() for completion in one.completions]

    def _admit(self, one: OpenProblem, step: int) -> None:
        if one.problem.id in self._open:
            self._waiting.append(one)
            return
        one.partials = fresh([one.problem], self._sampling.num_generations, step)
        self._open[one.problem.id] = one

    def _interrupt(self) -> None:
        self._is_interrupted = True
        self._rollout.interrupt()

    def _finish(self, count: int) -> Iterator[Completion]:
        """Reads the flow to its end, and interrupts it when ``count`` problems are complete."""
        assert self._flow is not None
        for completion in self._flow:
            one = self._open[completion.problem_id]
            one.partials = [partial for partial in one.partials if partial.index != completion.index]
            one.completions.append(completion)
            if not one.partials and not self._is_interrupted and len(self._open) > self.complete >= count:
                self._interrupt()
            yield completion
        self._flow = None
        unfinished = {(partial.problem_id, partial.index): partial for partial in self._rollout.unfinished}
        for one in self._open.values():
            one.partials = [unfinished.get((partial.problem_id, partial.index), partial) for partial in one.partials]
        if unfinished and not self._is_interrupted:
            raise RuntimeError(f"{self._stage}: sampling ended by itself, with {len(unfinished)} completions missing")

    def _lists(self) -> dict[str, list[OpenProblem]]:
        return {"open": list(self._open.values()), "waiting": self._waiting}

    def _read(self, row: dict[str, Any]) -> OpenProblem:
        start, count, place = row["drawn"]
        problem = self._source.draw(start, count)[place]
        partials = [PartialCompletion(**_tuples(partial)) for partial in row["pieces"]]
        completions = [Completion(problem_id=problem.id, **_tuples(one)) for one in row["completions"]]
        return OpenProblem(problem, (start, count, place), partials, completions)


def write_state(state: State, folder: Path) -> None:
    """Writes what ``InFlight.load`` restores; ``folder`` does not exist yet."""
    folder.mkdir()
    (folder / _FILE).write_text(json.dumps(state))


def _row(one: OpenProblem) -> dict[str, Any]:
    completions = [asdict(completion) for completion in one.completions]
    for completion in completions:
        del completion["problem_id"]
    return {"drawn": one.drawn, "pieces": [asdict(partial) for partial in one.partials], "completions": completions}


def _tuples(row: dict[str, Any]) -> dict[str, Any]:
    """JSON has lists where this package has tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}


def sample_and_grade(
    completions: Iterable[Completion],
    problem_of: Callable[[str], Problem],
    grader: Grader,
    show: Callable[[int], None],
    clock: Clock | None = None,
) -> None:
    """Hands every completion to the grader the moment it has finished, so that grading overlaps decoding.

    ``show`` is told how many have finished. A stage's ``clock`` is told what is rollout and what is grading. What was
    handed over is then the grader's: ``collect`` or ``verdicts``.
    """
    clock = clock or Clock()
    for finished, completion in enumerate(clock.each(ROLLOUT, completions), start=1):
        with clock.part(GRADING):
            grader.submit(problem_of(completion.problem_id), completion)
        show(finished)


def progress(view: View, doing: str, total: int) -> Callable[[int], None]:
    """Shows in the view how many of ``total`` completions have finished; of more nothing is shown."""
    stride = max(1, min(64, total // 20))

    def show(finished: int) -> None:
        if finished <= total and (finished % stride == 0 or finished == total):
            view.progress(doing, finished, total)

    return show


class Sampler:
    """Draws problems and samples their groups; its state is what it has drawn, and what of that is in flight."""

    def __init__(
        self, stage: RLStage, context: StageContext, policy: Policy, source: ProblemSource, grader: Grader
    ) -> None:
        self.stage, self.context, self.policy, self.source, self.grader = stage, context, policy, source, grader
        self.sampling = Sampling(
            num_generations=stage.num_generations,
            temperature=stage.temperature,
            top_p=stage.top_p,
            top_k=stage.top_k,
            max_completion_length=stage.max_completion_length,
        )
        self.ahead = context.runtime.ahead
        self.in_flight = InFlight(
            context.runtime.rollout(policy, max_slots=stage.max_slots, spec=stage.rollout),
            policy,
            source,
            self.sampling,
            self.ahead,
            seed=context.seed,
            stage=stage.name,
        )
        self.metrics: dict[str, float] = {}
        self._shape, self._work = policy_shape(policy), Compute()
        self._told = False  # of the first restart of the rewards' process
        self._before: State | None = None  # what was in flight before the step that is being sampled

    @property
    def drawn(self) -> int:
        """How many problems it has drawn."""
        return self.in_flight.drawn

    def mask_unreadable(self) -> None:
        """Leaves out the problems whose own answer can't be read; stops if one can be read and is not accepted."""
        rounds = 1 + (self.stage.max_refills if self.stage.dynamic_sampling else 0)
        drawn = self.source.draw(0, self.stage.steps * self.stage.num_problems * rounds)
        problems = {problem.id: problem for problem in drawn}
        if len(problems) < self.stage.num_problems:
            raise UserError(
                f"{self.stage.name}.num_problems = {self.stage.num_problems}: a step's problems differ, and there are "
                f"only {len(problems)}; write {len(problems)} or less"
            )
        checked = list(problems.values())
        self.source.exclude(require_references(self.stage.name, self.source, checked, self.grader, self.context.view))

    def informative_groups(self, step: int) -> list[Group]:
        """A step's groups. With dynamic sampling, groups that tell nothing give way to new ones.

        DAPO (arXiv 2503.14476), section 3.2: ``0 < correct < G``. What is still missing after ``max_refills`` rounds
        is made up with the groups first put aside, so that a step always has its size.
        """
        self.metrics, self._work = {}, Compute()
        self._before = None if self.ahead.off_policy else self.in_flight.state()
        groups = self._informative(step)
        self._before = None
        if self.ahead.off_policy:
            versions = [completion.policy_version for group in groups for completion in group.completions_G]
            self.metrics["rollout/staleness"] = self.policy.version - statistics.fmean(versions)
        if self.ahead.async_steps and step + 1 < self.stage.steps:
            self._fill(step + 1, self.stage.num_problems)
            self.in_flight.begin()  # goes on while the step is learnt from
        if self.ahead.off_policy:
            self.metrics["rollout/in_flight"] = float(len(self.in_flight))
        return groups

    def save(self, folder: Path) -> None:
        """Writes all that the next step's groups depend on; amid a step, all that this one's do."""
        if self._before is not None:
            write_state(self._before, folder)
            return
        for completion in self.in_flight.settle():
            self._submit(completion)
        self.in_flight.save(folder)

    def load(self, folder: Path) -> None:
        """Restores what ``save`` wrote."""
        for completion in self.in_flight.load(folder):
            self._submit(completion)

    def _informative(self, step: int) -> list[Group]:
        stage = self.stage
        groups = self._groups(step, stage.num_problems)
        if not stage.dynamic_sampling:
            return groups
        kept, dead = _by_information(groups)
        refills = 0
        while len(kept) < stage.num_problems and refills < stage.max_refills:
            refills += 1
            more, more_dead = _by_information(self._groups(step, stage.num_problems - len(kept)))
            kept, dead = kept + more, dead + more_dead
        self.metrics |= {"dynamic_sampling/refills": float(refills), "dynamic_sampling/dead": float(len(dead))}
        return (kept + dead)[: stage.num_problems]

    def _groups(self, step: int, count: int) -> list[Group]:
        """The next ``count`` problems, sampled and graded. Grading goes on while others still decode."""
        clock = self.context.clock
        self._fill(step, count)
        total = count * self.stage.num_generations
        show = progress(self.context.view, "sampling", total)
        completions = self.in_flight.completions(count)
        sample_and_grade(completions, self.in_flight.problem, self.grader, show, clock)
        with clock.part(GRADING):  # what is still to be waited for; the rest has gone on beside the rollout
            groups = self.grader.collect(self.in_flight.take(count), self.stage.num_generations, step=step)
        sampled = lengths_of(completion for group in groups for completion in group.completions_G)
        self._work += rollout_compute(self._shape, sampled, self.stage.max_slots)
        self.metrics |= work_metrics({ROLLOUT: self._work})
        for name, count in self.grader.errors.items():
            self.metrics[f"rewards/{name}/errors"] = self.metrics.get(f"rewards/{name}/errors", 0.0) + count
        self._tell_restarts(self.grader.process_ends)
        return groups

    def _tell_restarts(self, ends: Sequence[str]) -> None:
        """Counts how often the process of the user's rewards ended, and says the first time why."""
        if not ends:
            return
        self.metrics["rewards/restarts"] = self.metrics.get("rewards/restarts", 0.0) + len(ends)
        if not self._told:
            self._told = True
            self.context.view.note(
                f"{self.stage.name}: {ends[0]}. The process of the rewards was ended and starts again, with what its "
                "files keep in memory lost; the metric rewards/restarts counts how often"
            )

    def _submit(self, completion: Completion) -> None:
        self.grader.submit(self.in_flight.problem(completion.problem_id), completion)

    def _fill(self, step: int, count: int) -> None:
        """Draws the problems of a step that needs ``count`` of them."""
        self.in_flight.fill(step, count, math.ceil(count * self.ahead.oversample))


def open_grader(stage: RLStage, context: StageContext, policy: Policy) -> Grader:
    """The grader with the stage's rewards and the recipe's verification.

    Rewards that are models are found first; ``UserError`` if one was made with another tokenizer than the policy's.
    """
    spec = GraderSpec(
        policy.template,
        {name: _found(name, spec, context, policy) for name, spec in stage.rewards.items()},
        max_completion_length=stage.max_completion_length,
        verification=context.recipe.verification,
        reward_errors=stage.reward_errors,
        reward_timeout_s=stage.reward_timeout_s,
    )
    return context.runtime.grader(spec)


def _found(name: str, spec: RewardSpec, context: StageContext, policy: Policy) -> RewardSpec:
    """The reward with its model's place instead of its name, if it has one."""
    model = spec.options.get("model")
    if name not in MODEL_REWARDS or not isinstance(model, str):
        return spec
    place = context.resolve(model)
    require_same_tokenizer(place, policy.tokenizer)
    return spec.model_copy(update={"model": place})


def _by_information(groups: Sequence[Group]) -> tuple[list[Group], list[Group]]:
    """Groups that tell completions apart, and the others."""
    told = [_tells_apart(group) for group in groups]
    kept = [group for group, informative in zip(groups, told, strict=True) if informative]
    return kept, [group for group, informative in zip(groups, told, strict=True) if not informative]


def _tells_apart(group: Group) -> bool:
    """Whether some completions are right and others wrong; where no rule can check, whether their totals differ."""
    if all(verdict.outcome is Outcome.UNCHECKED for verdict in group.verdicts_G):
        return max(group.totals_G) - min(group.totals_G) > SMALLEST_SPREAD
    return 0 < sum(verdict.correct for verdict in group.verdicts_G) < len(group.verdicts_G)
