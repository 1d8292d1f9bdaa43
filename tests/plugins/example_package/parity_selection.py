"""A new kind of stage in one file: problems of the right difficulty for a policy, as demonstrations.

Of each problem the policy samples several completions; those that it solves sometimes, but not always, are kept, each
with its shortest correct completion. Left out: resuming in the middle, for it takes seconds: a killed one starts again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, PositiveInt

from thinkery.problems.demonstrations import FILE_NAME, demonstration_row
from thinkery.problems.source import open_source
from thinkery.recipe import ProblemSpec, StageBase
from thinkery.recipe.stage import CostEstimator, Product
from thinkery.rewards.grader import GraderSpec
from thinkery.stages.context import StageContext
from thinkery.stages.sampling import progress, sample_and_grade
from thinkery.types import Completion, Demonstration, Group, Sampling, UserError


class SelectStage(StageBase):
    """What a recipe says of it: ``kind: select``."""

    kind: Literal["select"]

    runner: ClassVar[str] = "parity_selection:run_select"
    uses_verdicts: ClassVar[bool] = True

    from_: str = Field(alias="from")
    problems: ProblemSpec
    num_generations: PositiveInt = 4
    max_completion_length: PositiveInt = 64
    min_pass_rate: float = Field(default=0.2, ge=0, le=1)
    max_pass_rate: float = Field(default=0.8, ge=0, le=1)

    @property
    def makes(self) -> Product:
        """Demonstrations, which ``sft`` can learn from."""
        return "demonstrations"

    def problem_specs(self) -> Iterator[tuple[str, ProblemSpec]]:
        """Its problems, so that they are checked before the run starts."""
        yield "problems", self.problems

    def cost(self, estimator: CostEstimator) -> Any:
        """``thinkery plan`` counts it as sampling."""
        return estimator.sampling(self, [], 1)


def run_select(stage: SelectStage, context: StageContext) -> dict[str, Any]:
    """Samples, selects and writes ``data.jsonl``; returns how many problems were kept and their mean pass rate."""
    policy = context.runtime.policy(
        context.resolve(stage.from_), template=context.template_of(stage.from_, None), device="auto", dtype="bfloat16"
    )
    problems = open_source(stage.problems).fixed(stage.problems.n)
    by_id = {problem.id: problem for problem in problems}
    sampling = Sampling(stage.num_generations, max_completion_length=stage.max_completion_length)
    completions = context.runtime.rollout(policy, max_slots=64).generate(
        problems, sampling, seed=context.seed, step=0, stage=stage.name
    )
    show = progress(context.view, "sampling", len(problems) * stage.num_generations)
    spec = GraderSpec(policy.template, {}, stage.max_completion_length, context.recipe.verification)
    with context.runtime.grader(spec) as grader:
        sample_and_grade(completions, by_id.__getitem__, grader, show)
        groups = grader.collect(problems, stage.num_generations)
    kept = [group for group in groups if stage.min_pass_rate <= pass_rate(group) <= stage.max_pass_rate]
    if not kept:
        raise UserError(f"{stage.name}: no problem is solved sometimes; widen min_pass_rate and max_pass_rate")
    rows = []
    for group in kept:
        problem, parsed = group.problem, policy.template.parse(shortest_correct(group).text)
        told = Demonstration(problem.id, problem.prompt, parsed.thinking or "", parsed.answer or "", problem.domain)
        rows.append(demonstration_row(told) | {"pass_rate": pass_rate(group)})

    def write(folder: Path) -> None:
        (folder / FILE_NAME).write_text("".join(json.dumps(row) + "\n" for row in rows))

    context.run.save_output(write)
    metrics = {"samples": float(len(kept)), "pass_rate": sum(map(pass_rate, groups)) / len(groups)}
    context.run.log(1, metrics)
    context.view.step(1, metrics)
    return metrics


def pass_rate(group: Group) -> float:
    """The share of a problem's completions that are correct."""
    return sum(verdict.correct for verdict in group.verdicts_G) / len(group.verdicts_G)


def shortest_correct(group: Group) -> Completion:
    """What is worth learning from."""
    pairs = zip(group.completions_G, group.verdicts_G, strict=True)
    return min((c for c, verdict in pairs if verdict.correct), key=lambda c: (len(c.token_ids), c.index))
