"""How an RL stage comes by its groups: problems drawn by position, sampled, graded while others still decode.

Left out: how completions are made (``rollout``) and graded (``rewards``); what is learnt from them.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from pathlib import Path

from thinkery.models.loading import Policy
from thinkery.models.reward_model import require_same_tokenizer
from thinkery.models.work import Work, policy_shape, rollout_work
from thinkery.problems.source import ProblemSource
from thinkery.recipe import MODEL_REWARDS, RewardSpec, RLStage
from thinkery.rewards.grader import Grader
from thinkery.stages.context import StageContext
from thinkery.stages.references import require_references
from thinkery.stages.underway import State, UnderWay, write_state
from thinkery.stages.work import GRADING, ROLLOUT, lengths_of, work_metrics
from thinkery.training.advantages import SMALLEST_SPREAD
from thinkery.types import Completion, Group, Outcome, Sampling, UserError


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
        self.under_way = UnderWay(
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
        self._told = False  # of the first restart of the rewards' process
        self._before: State | None = None  # what was under way before the step that is being sampled

    @property
    def drawn(self) -> int:
        """How many problems it has drawn."""
        return self.under_way.drawn

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
        self._before = None if self.ahead.off_policy else self.under_way.state()
        groups = self._informative(step)
        self._before = None
        if self.ahead.off_policy:
            versions = [completion.policy_version for group in groups for completion in group.completions_G]
            self.metrics["rollout/staleness"] = self.policy.version - statistics.fmean(versions)
        if self.ahead.async_steps and step + 1 < self.stage.steps:
            self._fill(step + 1, self.stage.num_problems)
            self.under_way.begin()  # goes on while the step is learnt from
        if self.ahead.off_policy:
            self.metrics["rollout/under_way"] = float(len(self.under_way))
        return groups

    def save(self, folder: Path) -> None:
        """Writes all that the next step's groups depend on; amid a step, all that this one's do."""
        if self._before is not None:
            write_state(self._before, folder)
            return
        for completion in self.under_way.settle():
            self._submit(completion)
        self.under_way.save(folder)

    def load(self, folder: Path) -> None:
        """Restores what ``save`` wrote."""
        for completion in self.under_way.load(folder):
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
        for finished, completion in enumerate(clock.each(ROLLOUT, self.under_way.completions(count)), start=1):
            with clock.part(GRADING):
                self._submit(completion)
            if finished % self.stage.num_generations == 0 and finished <= total:
                self.context.view.progress("sampling", finished, total)
        with clock.part(GRADING):  # what is still to be waited for; the rest has gone on beside the rollout
            groups = self.grader.collect(self.under_way.take(count), self.stage.num_generations, step=step)
        sampled = lengths_of(completion for group in groups for completion in group.completions_G)
        self._work += rollout_work(self._shape, sampled, self.stage.max_slots)
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
        self.grader.submit(self.under_way.problem(completion.problem_id), completion)

    def _fill(self, step: int, count: int) -> None:
        """Draws the problems of a step that needs ``count`` of them."""
        self.under_way.fill(step, count, math.ceil(count * self.ahead.oversample))


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
        return max(group.totals_G) - min(group.totals_G) > SMALLEST_SPREAD
    return 0 < sum(verdict.correct for verdict in group.verdicts_G) < len(group.verdicts_G)
