"""What is looked at before anything is sampled: the problems, their references, the languages to be read.

Left out: the judge and the refiner, which look at their own fields when they are opened.
"""

from __future__ import annotations

from collections.abc import Sequence

from thinkery.models.loading import Policy
from thinkery.problems.source import open_source
from thinkery.recipe import CollectStage, RewardSpec
from thinkery.rewards.grader import Grader, GraderSpec
from thinkery.rewards.language import language_proportion
from thinkery.stages.context import StageContext
from thinkery.stages.parts import require_references
from thinkery.stages.vetting import vet_for
from thinkery.types import Problem, UserError


def open_policy(stage: CollectStage, context: StageContext) -> Policy:
    """The policy to sample from: with the stage's template, for its base the recipe's, else the saved one."""
    return context.runtime.policy(
        context.resolve(stage.from_),
        template=context.template_of(stage.from_, stage.template),
        device=stage.device,
        dtype=stage.dtype,
    )


def open_grader(stage: CollectStage, context: StageContext, policy: Policy) -> Grader:
    """The verifiers, and the reward that orders a problem's samples."""
    spec = GraderSpec(
        policy.template,
        {name: RewardSpec() for name in ("accuracy", stage.best_by) if name is not None},
        max_completion_length=stage.max_completion_length,
        verification=context.recipe.verification,
    )
    return context.runtime.grader(spec)


def open_problems(stage: CollectStage, context: StageContext, policy: Policy, grader: Grader) -> list[Problem]:
    """The stage's problems; those whose own answer can't be read are left out.

    Raises ``UserError`` for a reference that is readable and not accepted, and for a language that can't be told from
    others.
    """
    source = open_source(stage.problems, vet_for(policy, stage.max_completion_length, rollout=stage.rollout))
    problems = source.fixed(stage.problems.n)
    _require_languages(stage, problems)
    masked = require_references(stage.name, source, problems, grader, context.view)
    return [problem for problem in problems if problem.id not in masked]


def _require_languages(stage: CollectStage, problems: Sequence[Problem]) -> None:
    if stage.readable.min_language is None:
        return
    firsts: dict[str, str] = {}
    for problem in problems:
        firsts.setdefault(problem.language, problem.id)
    for language, identity in firsts.items():
        try:
            language_proportion("", language)
        except UserError as error:
            raise UserError(
                f"problem {identity}: {error}; or switch the rule off with {stage.name}.readable.min_language: null"
            ) from None
