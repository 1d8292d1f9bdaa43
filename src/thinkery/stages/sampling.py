"""How an RL stage comes by its groups: problems drawn by position, sampled, graded while others still decode.

Completions that a step did not wait for stay in flight, part of the stage's checkpoint, and are resumed later. Left
out: what samples and grades (``runtime.py``) and what is learnt from the groups (``rl.py``).
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from thinkery.models.flops import Work, policy_shape, rollout_work
from thinkery.models.loading import Policy
from thinkery.models.reward_model import require_same_tokenizer
from thinkery.problems.source import ProblemSource
from thinkery.recipe import MODEL_REWARDS, Ahead, RewardSpec, RLStage
from thinkery.rewards.grader import Grader
from thinkery.rollout.base import PartialCompletion, fresh
from thinkery.stages.context import StageContext
from thinkery.stages.parts import require_references
from thinkery.stages.runtime import ResumableRollout
from thinkery.stages.throughput import GRADING, ROLLOUT, lengths_of, work_metrics
from thinkery.types import Completion, Group, Outcome, Problem, Sampling, UserError

_FILE = "sampler.json"


@dataclass
class Open:
    """A problem under way. ``drawn`` is how to draw it again: the place within a call of the source's ``draw``."""

    problem: Problem
    drawn: tuple[int, int, int]  # start, count, place
    pieces: list[PartialCompletion] = field(default_factory=list)  # what is not finished
    completions: list[Completion] = field(default_factory=list)


class InFlight:
    """The problems under way in one stage, in the order in which they were drawn.

    ``drawn`` counts all that were drawn. A problem that is drawn again while it is under way waits for its turn: its
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
        self._open: dict[str, Open] = {}
        self._waiting: list[Open] = []
        self._flow: Iterator[Completion] | None = None
        self._version = 0  # the policy's, when the flow began
        self._is_cut = False

    def __len__(self) -> int:
        return len(self._open)

    @property
    def complete(self) -> int:
        """How many of them are complete."""
        return sum(not one.pieces for one in self._open.values())

    def problem(self, problem_id: str) -> Problem:
        """One of them."""
        return self._open[problem_id].problem

    def fill(self, step: int, needed: int, wanted: int) -> None:
        """Draws until ``wanted`` problems are under way, or ``needed`` where no more differ.

        What is new belongs to ``step``, and so do its random numbers.
        """
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            self._admit(one, step)
        before = -1
        while len(self._open) < wanted and not before == len(self._open) >= needed:
            before, missing = len(self._open), wanted - len(self._open)
            for place, problem in enumerate(self._source.draw(self.drawn, missing)):
                self._admit(Open(problem, (self.drawn, missing, place)), step)
            self.drawn += missing

    def begin(self) -> None:
        """Has what is under way sampled, if that does not go on already. On a cluster it goes on by itself."""
        if self._flow is not None:
            return
        unfinished = [one for one in self._open.values() if one.pieces]
        self._version, self._is_cut = self._policy.version, False
        self._flow = self._rollout.resume(
            [one.problem for one in unfinished],
            [piece for one in unfinished for piece in one.pieces],
            self._sampling,
            seed=self._seed,
            stage=self._stage,
        )

    def completions(self, count: int) -> Iterator[Completion]:
        """What finishes, until ``count`` problems are complete; what else is under way is then cut short."""
        if self._flow is not None and self._ahead.partial and self._policy.version != self._version:
            self._cut()  # to go on under the new weights
        while self._flow is not None or self.complete < count:
            self.begin()
            yield from self._finish(count)

    def settle(self) -> Iterator[Completion]:
        """What finishes until nothing is being sampled: all of it, or what was done before it could be cut short."""
        if self._flow is not None:
            if self._ahead.partial:
                self._cut()
            yield from self._finish(len(self._open) + 1)

    def take(self, count: int) -> list[Problem]:
        """The first ``count`` complete problems, which are no longer under way."""
        done = [one.problem for one in self._open.values() if not one.pieces][:count]
        for problem in done:
            del self._open[problem.id]
        return done

    def save(self, folder: Path) -> None:
        """Writes all of it, settled; ``folder`` does not exist yet."""
        assert self._flow is None, "settle first: what is on its way can't be written"
        folder.mkdir()
        kept = {name: [_row(one) for one in some] for name, some in self._lists().items()}
        (folder / _FILE).write_text(json.dumps({"drawn": self.drawn} | kept))

    def load(self, folder: Path) -> list[Completion]:
        """Restores what ``save`` wrote; gives the completions of problems that are under way."""
        state = json.loads((folder / _FILE).read_text())
        self.drawn = state["drawn"]
        self._open = {one.problem.id: one for one in map(self._read, state["open"])}
        self._waiting = list(map(self._read, state["waiting"]))
        return [completion for one in self._open.values() for completion in one.completions]

    def _admit(self, one: Open, step: int) -> None:
        if one.problem.id in self._open:
            self._waiting.append(one)
            return
        one.pieces = fresh([one.problem], self._sampling.num_generations, step)
        self._open[one.problem.id] = one

    def _cut(self) -> None:
        self._is_cut = True
        self._rollout.cut()

    def _finish(self, count: int) -> Iterator[Completion]:
        """Reads the flow to its end, and cuts it short when ``count`` problems are complete."""
        assert self._flow is not None
        for completion in self._flow:
            one = self._open[completion.problem_id]
            one.pieces = [piece for piece in one.pieces if piece.index != completion.index]
            one.completions.append(completion)
            if not one.pieces and not self._is_cut and len(self._open) > self.complete >= count:
                self._cut()
            yield completion
        self._flow = None
        left = {(piece.problem_id, piece.index): piece for piece in self._rollout.left}
        for one in self._open.values():
            one.pieces = [left.get((piece.problem_id, piece.index), piece) for piece in one.pieces]
        if left and not self._is_cut:
            raise RuntimeError(f"{self._stage}: sampling ended by itself, with {len(left)} completions missing")

    def _lists(self) -> dict[str, list[Open]]:
        return {"open": list(self._open.values()), "waiting": self._waiting}

    def _read(self, row: dict[str, Any]) -> Open:
        start, count, place = row["drawn"]
        problem = self._source.draw(start, count)[place]
        pieces = [PartialCompletion(**_tuples(piece)) for piece in row["pieces"]]
        completions = [Completion(problem_id=problem.id, **_tuples(one)) for one in row["completions"]]
        return Open(problem, (start, count, place), pieces, completions)


def _row(one: Open) -> dict[str, Any]:
    completions = [asdict(completion) for completion in one.completions]
    for completion in completions:
        del completion["problem_id"]
    return {"drawn": one.drawn, "pieces": [asdict(piece) for piece in one.pieces], "completions": completions}


def _tuples(row: dict[str, Any]) -> dict[str, Any]:
    """JSON has lists where the house has tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}


# Below this a spread of totals is the rounding of a weighted sum, not a difference between completions.
_SMALLEST_SPREAD = 1e-6


class Sampler:
    """Draws problems and samples their groups; its state is what it has drawn, and what of that is under way."""

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
        self.ahead = context.engines.ahead
        self.in_flight = InFlight(
            context.engines.rollout(policy, max_slots=stage.max_slots, vllm=stage.vllm),
            policy,
            source,
            self.sampling,
            self.ahead,
            seed=context.seed,
            stage=stage.name,
        )
        self.metrics: dict[str, float] = {}
        self._shape, self._work = policy_shape(policy), Work()

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
        self.metrics, self._work = {}, Work()
        groups = self._informative(step)
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
        """Writes all that the next step's groups depend on."""
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
        for finished, completion in enumerate(clock.each(ROLLOUT, self.in_flight.completions(count)), start=1):
            with clock.part(GRADING):
                self._submit(completion)
            if finished % self.stage.num_generations == 0 and finished <= total:
                self.context.view.progress("sampling", finished, total)
        with clock.part(GRADING):  # what is still to be waited for; the rest has gone on beside the rollout
            groups = self.grader.collect(self.in_flight.take(count), self.stage.num_generations, step=step)
        sampled = lengths_of(completion for group in groups for completion in group.completions_G)
        self._work += rollout_work(self._shape, sampled, self.stage.max_slots)
        self.metrics |= work_metrics({ROLLOUT: self._work})
        for name, count in self.grader.errors.items():
            self.metrics[f"rewards/{name}/errors"] = self.metrics.get(f"rewards/{name}/errors", 0.0) + count
        return groups

    def _submit(self, completion: Completion) -> None:
        self.grader.submit(self.in_flight.problem(completion.problem_id), completion)

    def _fill(self, step: int, count: int) -> None:
        """Draws the problems of a step that needs ``count`` of them."""
        self.in_flight.fill(step, count, math.ceil(count * self.ahead.oversample))


def open_grader(stage: RLStage, context: StageContext, policy: Policy) -> Grader:
    """The grader with the stage's rewards and the recipe's verification.

    Rewards that are models are found first; ``UserError`` if one was made with another tokenizer than the policy's.
    """
    return context.engines.grader(
        policy.template,
        {name: _found(name, spec, context, policy) for name, spec in stage.rewards.items()},
        max_completion_length=stage.max_completion_length,
        verification=context.recipe.verification,
        reward_errors=stage.reward_errors,
        reward_timeout_s=stage.reward_timeout_s,
    )


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
        return max(group.totals_G) - min(group.totals_G) > _SMALLEST_SPREAD
    return 0 < sum(verdict.correct for verdict in group.verdicts_G) < len(group.verdicts_G)
