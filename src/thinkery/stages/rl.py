"""Reinforcement learning with GRPO: sample groups, grade them, learn from what sets a group's completions apart.

One loop serves R1-Zero, the reasoning RL and the all-scenario RL; they differ in the recipe alone. DeepSeek-R1,
section 2.2; DeepSeekMath, algorithm 1. Left out: how completions are made (``rollout``), graded (``rewards``) and
learnt from (``training``).
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from thinkery.models.loading import Policy, load_policy, save_policy
from thinkery.models.template import TEMPLATES
from thinkery.problems.source import ProblemSource, open_source
from thinkery.recipe import BASE, RLStage
from thinkery.rewards.gold import check_gold
from thinkery.rewards.grader import Grader
from thinkery.rewards.metrics import group_metrics
from thinkery.rollout.engine import NativeRollout
from thinkery.stages.context import StageContext
from thinkery.stages.reading import completion_rows, reading_metrics
from thinkery.training.advantages import group_advantages
from thinkery.training.learner import Learner, LearnerConfig, Sample
from thinkery.types import Group, Sampling


def run_rl(stage: RLStage, context: StageContext) -> dict[str, Any]:
    """Trains the policy that ``stage.from_`` names and saves it; returns the last step's accuracy and reward."""
    template = TEMPLATES[context.recipe.template] if stage.from_ == BASE and context.recipe.template else None
    policy = load_policy(context.resolve(stage.from_), template=template, device=stage.device, dtype=stage.dtype)
    learner = Learner(policy, learner_config(stage, context.seed))
    source = open_source(stage.problems)
    metrics: dict[str, float] = {}
    with open_grader(stage, context, policy) as grader:
        sampler = Sampler(stage, context, policy, source, grader)
        sampler.mask_unreadable()
        first = resume(context, learner, sampler)
        for step in range(first, stage.steps):
            started = time.monotonic()
            groups = sampler.informative_groups(step)
            sampled = time.monotonic()
            advantages_PG = group_advantages([group.totals_G for group in groups], stage.scale_rewards)
            learnt = learner.update(samples_of(groups, advantages_PG), step)
            times = {"time/rollout": sampled - started, "time/update": time.monotonic() - sampled}
            metrics = group_metrics(groups) | reading_metrics(groups, policy) | learnt | sampler.metrics | times
            record(stage, context, policy, step + 1, groups, advantages_PG, metrics | pace(groups, started))
            if (step + 1) % stage.save_steps == 0 and step + 1 < stage.steps:
                context.run.save_checkpoint(step + 1, lambda folder: save(folder, learner, sampler))
    context.run.save_output(lambda folder: save_policy(policy, folder))
    return {name: metrics[name] for name in ("reward", "accuracy") if name in metrics}


class Sampler:
    """Draws problems and samples their groups; its state is how many problems it has drawn."""

    def __init__(
        self, stage: RLStage, context: StageContext, policy: Policy, source: ProblemSource, grader: Grader
    ) -> None:
        self.stage, self.context, self.source, self.grader = stage, context, source, grader
        self.rollout = NativeRollout(policy, max_slots=stage.max_slots)
        self.sampling = Sampling(
            num_generations=stage.num_generations,
            temperature=stage.temperature,
            top_p=stage.top_p,
            top_k=stage.top_k,
            max_completion_length=stage.max_completion_length,
        )
        self.drawn = 0
        self.metrics: dict[str, float] = {}

    def mask_unreadable(self) -> None:
        """Leaves out the problems whose own answer can't be read; stops if one can be read and is not accepted."""
        rounds = 1 + (self.stage.max_refills if self.stage.dynamic_sampling else 0)
        drawn = self.source.draw(0, self.stage.steps * self.stage.num_problems * rounds)
        problems = {problem.id: problem for problem in drawn}
        self.grader.require_columns(list(problems.values()))
        view = self.context.view
        report = check_gold(
            self.grader, problems.values(), lambda done: view.progress("checking references", done, len(problems))
        )
        report.require()
        for note in [*self.source.notes, f"{len(problems):,} reference answers checked", *report.notes()]:
            view.note(f"{self.stage.name}: {note}")
        self.source.exclude(report.masked)

    def informative_groups(self, step: int) -> list[Group]:
        """A step's groups. With dynamic sampling, groups that are all right or all wrong give way to new ones.

        DAPO (arXiv 2503.14476), section 3.2: ``0 < correct < G``. What is still missing after ``max_refills`` rounds
        is made up with the groups first put aside, so that a step always has its size.
        """
        stage = self.stage
        self.metrics = {}
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
        problems = self.source.draw(self.drawn, count)
        self.drawn += count
        by_id = {problem.id: problem for problem in problems}
        completions = self.rollout.generate(
            problems, self.sampling, seed=self.context.seed, step=step, stage=self.stage.name
        )
        total = count * self.stage.num_generations
        for finished, completion in enumerate(completions, start=1):
            self.grader.submit(by_id[completion.problem_id], completion)
            if finished % self.stage.num_generations == 0:
                self.context.view.progress("sampling", finished, total)
        groups = self.grader.collect(problems, self.stage.num_generations)
        for name, count in self.grader.errors.items():
            self.metrics[f"rewards/{name}/errors"] = self.metrics.get(f"rewards/{name}/errors", 0.0) + count
        return groups


def open_grader(stage: RLStage, context: StageContext, policy: Policy) -> Grader:
    """The grader with the stage's rewards and the recipe's verification."""
    return Grader(
        policy.template,
        stage.rewards,
        max_completion_length=stage.max_completion_length,
        verification=context.recipe.verification,
        reward_errors=stage.reward_errors,
        reward_timeout_s=stage.reward_timeout_s,
    )


def samples_of(groups: Sequence[Group], advantages_PG: Sequence[Sequence[float]]) -> list[Sample]:
    """What the learner sees: numbers."""
    return [
        Sample(completion.prompt_ids, completion.token_ids, completion.logprobs, advantage)
        for group, advantages_G in zip(groups, advantages_PG, strict=True)
        for completion, advantage in zip(group.completions_G, advantages_G, strict=True)
    ]


def learner_config(stage: RLStage, seed: int) -> LearnerConfig:
    """The stage's fields that are the learner's, under the same names."""
    shared = {field.name for field in fields(LearnerConfig)} & set(type(stage).model_fields)
    return LearnerConfig(**{name: getattr(stage, name) for name in shared}, total_steps=stage.steps, seed=seed)


def record(
    stage: RLStage,
    context: StageContext,
    policy: Policy,
    step: int,
    groups: Sequence[Group],
    advantages_PG: Sequence[Sequence[float]],
    metrics: Mapping[str, float],
) -> None:
    """Metrics of every step; completions of some, one of them for whoever watches."""
    context.run.log(step, metrics)
    context.view.step(step, metrics)
    if step == 1 or step == stage.steps or step % stage.log_completions_steps == 0:
        rows = completion_rows(groups, advantages_PG, policy, stage.log_completions)
        context.run.log_completions(step, rows)
        if rows:
            shown = rows[step % len(rows)]
            context.view.completion(shown["prompt"], shown["completion"], shown["reward"], shown["correct"])


def pace(groups: Sequence[Group], started: float) -> dict[str, float]:
    """How long the step took, and completion tokens a second over all of it."""
    seconds = time.monotonic() - started
    tokens = sum(len(completion.token_ids) for group in groups for completion in group.completions_G)
    return {"time/step": seconds, "tokens_per_second": tokens / seconds}


def save(folder: Path, learner: Learner, sampler: Sampler) -> None:
    """Writes all that the next step depends on."""
    learner.save(folder / "learner")
    (folder / "sampler.json").write_text(json.dumps({"drawn": sampler.drawn}))


def resume(context: StageContext, learner: Learner, sampler: Sampler) -> int:
    """Restores the last checkpoint, if there is one; returns how many steps are done."""
    checkpoint = context.run.latest_checkpoint()
    if checkpoint is None:
        return 0
    step, folder = checkpoint
    learner.load(folder / "learner")
    sampler.drawn = json.loads((folder / "sampler.json").read_text())["drawn"]
    return step


def _by_information(groups: Sequence[Group]) -> tuple[list[Group], list[Group]]:
    """Groups with right and wrong completions, and the others."""
    mixed = [0 < sum(verdict.correct for verdict in group.verdicts_G) < len(group.verdicts_G) for group in groups]
    kept = [group for group, informative in zip(groups, mixed, strict=True) if informative]
    return kept, [group for group, informative in zip(groups, mixed, strict=True) if not informative]
