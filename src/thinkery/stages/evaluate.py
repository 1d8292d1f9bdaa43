"""Evaluation: k samples a problem of held-out sets, graded by the verifier that training uses.

DeepSeek-R1's protocol (section 3): temperature 0.6, top-p 0.95, pass@1 as the mean over k samples, cons@k by vote.
Left out: the figures themselves (``evaluation``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from thinkery.evaluation.summary import summarize
from thinkery.models.loading import Policy, load_policy
from thinkery.models.template import TEMPLATES
from thinkery.problems.source import open_source
from thinkery.recipe import EvalSpec, RewardSpec
from thinkery.rewards.gold import GoldReport, check_gold
from thinkery.rewards.grader import Grader
from thinkery.rollout.engine import NativeRollout
from thinkery.stages.context import StageContext
from thinkery.stages.reading import completion_rows, read
from thinkery.types import Group, Problem, Sampling


def evaluate_model(model: str, specs: Mapping[str, EvalSpec], context: StageContext) -> dict[str, Any]:
    """The report of each held-out set on one model."""
    reports: dict[str, Any] = {}
    for step, (name, spec) in enumerate(specs.items(), start=1):
        reports[name] = _evaluate(model, name, spec, context, step)
        headline = {key: value for key, value in reports[name].items() if isinstance(value, float)}
        context.run.log(step, {f"{name}/{key}": value for key, value in headline.items()})
    return reports


def _evaluate(model: str, name: str, spec: EvalSpec, context: StageContext, step: int) -> dict[str, Any]:
    chosen = spec.template or context.recipe.template
    template = TEMPLATES[chosen] if chosen else None
    policy = load_policy(model, template=template, device=spec.device, dtype=spec.dtype)
    source = open_source(spec.problems)
    problems = source.fixed(spec.problems.n)
    with Grader(
        policy.template,
        {"accuracy": RewardSpec()},
        max_completion_length=spec.max_completion_length,
        verification=context.recipe.verification,
    ) as grader:
        golds = check_gold(grader, problems)
        for note in [*source.notes, *_gold_notes(golds)]:
            context.view.note(f"evaluate {name}: {note}")
        groups = _sample(policy, name, spec, context, grader, [p for p in problems if p.id not in golds.masked])
    no_advantages_PG = [[0.0] * spec.num_samples for _ in groups]
    context.run.log_completions(step, completion_rows(groups, no_advantages_PG, policy, 64))
    readings = read([completion for group in groups for completion in group.completions_G], policy)
    report = summarize(
        groups,
        k=spec.num_samples,
        thinking=lambda completion: readings[completion.problem_id, completion.index].thinking,
        thinking_length=lambda completion: readings[completion.problem_id, completion.index].length,
        template=policy.template,
        seed=context.seed,
    )
    return report | {"golds_masked": len(golds.masked), "golds_refused": len(golds.refused)}


def _sample(
    policy: Policy, name: str, spec: EvalSpec, context: StageContext, grader: Grader, problems: Sequence[Problem]
) -> list[Group]:
    """k graded samples of every problem; grading goes on while others still decode."""
    by_id = {problem.id: problem for problem in problems}
    sampling = Sampling(
        num_generations=spec.num_samples,
        temperature=spec.temperature,
        top_p=spec.top_p,
        max_completion_length=spec.max_completion_length,
    )
    rollout = NativeRollout(policy, max_slots=spec.max_slots)
    completions = rollout.generate(problems, sampling, seed=context.seed, step=0, stage=f"evaluate/{name}")
    total = len(problems) * spec.num_samples
    for finished, completion in enumerate(completions, start=1):
        grader.submit(by_id[completion.problem_id], completion)
        if finished % 64 == 0 or finished == total:
            context.view.progress(f"evaluating {name}", finished, total)
    return grader.collect(problems, spec.num_samples)


def _gold_notes(golds: GoldReport) -> list[str]:
    """What is wrong with the benchmark itself. A refused gold counts against the model, so it must be said."""
    notes = golds.notes()
    if golds.refused:
        listed = ", ".join(problem.id for problem, _ in golds.refused[:5])
        notes.append(f"{len(golds.refused)} of {golds.checked} references are not accepted themselves: {listed}")
    return notes
