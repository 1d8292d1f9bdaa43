"""Evaluation: k samples a problem of held-out sets, graded by the verifier that training uses, judged where none can.

DeepSeek-R1's protocol (section 3): temperature 0.6, top-p 0.95, pass@1 as the mean over k samples, cons@k by vote;
preference as a win rate against given references. Every sample is kept in the run folder. Left out: the figures
themselves (``evaluation``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from thinkery.evaluation.metrics import count_reflections
from thinkery.evaluation.samples import Samples, summarize
from thinkery.models.loading import Policy
from thinkery.problems.source import open_source
from thinkery.recipe import EvalSpec, RewardSpec
from thinkery.rewards.grader import Grader, GraderSpec
from thinkery.rewards.language import language_proportion
from thinkery.rewards.references import check_references
from thinkery.stages.context import StageContext
from thinkery.stages.few_shot import examples, with_examples
from thinkery.stages.pairs import ask_all, open_judge
from thinkery.stages.sampling import progress, sample_and_grade
from thinkery.stages.step_metrics import completion_rows, read
from thinkery.stages.vetting import vet_for
from thinkery.types import Completion, Group, Judge, Outcome, Problem, Sampling, UserError

Row = dict[str, Any]


def evaluate_model(model: str, specs: Mapping[str, EvalSpec], context: StageContext) -> dict[str, Any]:
    """The report of each held-out set on one model; its samples are written to the run folder.

    ``context.run`` is the model's own evaluation, ``<name>.eval``. The template is the set's; without one the recipe's
    for its base, and for every other model the one saved with it.
    """
    reports: dict[str, Any] = {}
    for step, (name, spec) in enumerate(specs.items(), start=1):
        reports[name] = _evaluate(model, name, spec, context, step)
        headline = {key: value for key, value in reports[name].items() if isinstance(value, float)}
        context.run.log(step, {f"{name}/{key}": value for key, value in headline.items()})
    return reports


def _evaluate(model: str, name: str, spec: EvalSpec, context: StageContext, step: int) -> dict[str, Any]:
    template = context.template_of(context.run.name.removesuffix(".eval"), spec.template)
    policy = context.runtime.policy(model, template=template, device=spec.device, dtype=spec.dtype)
    source = open_source(spec.problems, vet_for(policy, spec.max_completion_length, rollout=spec.rollout))
    problems = source.fixed(spec.problems.n)
    asked_for = {"accuracy": RewardSpec()}
    with context.runtime.grader(
        GraderSpec(policy.template, asked_for, spec.max_completion_length, context.recipe.verification)
    ) as grader:
        references = check_references(grader, problems)
        for note in [*source.notes, *references.notes(source.place)]:
            context.view.note(f"evaluate {name}: {note}")
        asked = [problem for problem in problems if problem.id not in references.masked]
        if spec.shots:
            asked = with_examples(asked, examples(spec.problems, spec.shots, grader, policy.template))
        groups = _sample(policy, name, spec, context, grader, asked)
    no_advantages_PG = [[0.0] * spec.num_samples for _ in groups]
    context.run.log_completions(step, completion_rows(groups, no_advantages_PG, policy, 64))
    rows = sample_rows(groups, policy)
    if spec.judge is not None:
        _add_judgements(rows, groups, policy, open_judge(spec.judge, context.view.note), context, name)
    context.run.save_samples(name, rows)
    report = summarize(Samples.of(rows), seed=context.seed)
    return report | {"references_masked": len(references.masked), "references_refused": len(references.refused)}


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
    rollout = context.runtime.rollout(policy, max_slots=spec.max_slots, spec=spec.rollout)
    completions = rollout.generate(problems, sampling, seed=context.seed, step=0, stage=f"evaluate/{name}")
    total = len(problems) * spec.num_samples
    sample_and_grade(completions, by_id.__getitem__, grader, progress(context.view, f"evaluating {name}", total))
    return grader.collect(problems, spec.num_samples)


def sample_rows(groups: Sequence[Group], policy: Policy) -> list[Row]:
    """One row a completion, with the columns of ``run.tables.SAMPLE_COLUMNS`` except what a judge says."""
    readings = read([completion for group in groups for completion in group.completions_G], policy)
    rows = []
    for group in groups:
        problem = group.problem
        for completion, verdict in zip(group.completions_G, group.verdicts_G, strict=True):
            reading = readings[completion.problem_id, completion.index]
            rows.append(
                {
                    "problem_id": problem.id,
                    "domain": problem.domain,
                    "kind": problem.columns.get("kind"),
                    "level": problem.level,
                    "language": problem.language,
                    "index": completion.index,
                    "checked": verdict.outcome is not Outcome.UNCHECKED,
                    "correct": verdict.correct,
                    "answer": verdict.answer,
                    "well_formed": policy.template.parse(completion.text).well_formed,
                    "truncated": completion.finish_reason == "length",
                    "length": len(completion.token_ids),
                    "thinking_length": reading.length,
                    "reflections": count_reflections(reading.thinking),
                    "language_share": _language_share(reading.thinking, problem.language),
                }
            )
    return rows


def _language_share(thinking: str, language: str) -> float | None:
    try:
        return language_proportion(thinking, language)
    except UserError:  # a language that can't be told from others: nothing is measured, and no evaluation ends
        return None


def _add_judgements(
    rows: Sequence[Row], groups: Sequence[Group], policy: Policy, judge: Judge, context: StageContext, name: str
) -> None:
    """Writes into the rows what the judge says of each sample's summary (preference) and response (safe)."""
    asked = [(group.problem, completion) for group in groups for completion in group.completions_G]

    def judged(question: tuple[Problem, Completion]) -> Row:
        problem, completion = question
        seed = _seed_of(context.seed, name, completion)
        said: Row = {"preference": _win(judge, problem, policy.template.parse(completion.text).answer, seed)}
        if problem.columns.get("preference") == "safety":
            said["safe"] = not judge.unsafe(problem, completion.text, seed=seed)
        return said

    for i, (row, said) in enumerate(zip(rows, ask_all(judge, judged, asked), strict=True), start=1):
        row |= said
        if i % 64 == 0 or i == len(rows):
            context.view.progress(f"judging {name}", i, len(rows))


def _win(judge: Judge, problem: Problem, summary: str | None, seed: int) -> float:
    """1, 0.5 or 0: whether the summary beats the reference. The order in which the judge sees them is drawn.

    A response without a summary gives its reader nothing, and loses.
    """
    if not summary:
        return 0.0
    if seed % 2:
        verdict = judge.compare(problem, problem.reference, summary, seed=seed)
    else:
        verdict = -judge.compare(problem, summary, problem.reference, seed=seed)
    return 1.0 if verdict > 0 else 0.5 if verdict == 0 else 0.0


def _seed_of(seed: int, name: str, completion: Completion) -> int:
    """The seed of the judge's random numbers for one sample."""
    text = f"{seed}/{name}/{completion.problem_id}/{completion.index}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest(), "big")
