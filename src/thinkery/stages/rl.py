"""Reinforcement learning: sample groups, grade them, estimate advantages, learn; watch a probe meanwhile.

One loop serves R1-Zero, the reasoning RL, the all-scenario RL, PPO and on-policy distillation; they differ in the
recipe alone. DeepSeek-R1, section 2.2; DeepSeekMath, algorithm 1. Left out: how completions are made (``rollout``),
graded (``rewards``) and learnt from (``training``); how advantages are estimated (``advantage_estimator.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from thinkery.machine.interrupts import INTERRUPTS
from thinkery.models.loading import Policy
from thinkery.problems.source import open_source
from thinkery.recipe import RLStage
from thinkery.rewards.grader import group_metrics
from thinkery.stages.advantage_estimator import learner_config, make_advantage_estimator, mean_advantages
from thinkery.stages.boundary import unchanged
from thinkery.stages.context import StageContext
from thinkery.stages.learning_signal import LearningSignal
from thinkery.stages.probe import Probe
from thinkery.stages.runtime import RLLearner
from thinkery.stages.sampling import Sampler, open_grader
from thinkery.stages.step_metrics import (
    REFERENCE,
    UPDATE,
    LearningWork,
    completion_rows,
    health_metrics,
    pace,
    reading_metrics,
    work_metrics,
)
from thinkery.stages.vetting import vet_for
from thinkery.training.learner import Sample
from thinkery.types import Group


def run_rl(stage: RLStage, context: StageContext) -> dict[str, Any]:
    """Trains the policy that ``stage.from_`` names and saves it.

    Returns the last step's accuracy and reward. Where the probe stopped the stage, the best policy that it saw is
    saved, and ``stopped_at`` and ``best_step`` say so. Raises ``UserError`` where no step had anything to learn from.
    """
    template = context.template_of(stage.from_, stage.template)
    runtime = context.runtime
    policy = runtime.policy(context.resolve(stage.from_), template=template, device=stage.device, dtype=stage.dtype)
    learner = runtime.learner(policy, learner_config(stage, context.seed), context.clock)
    estimator = make_advantage_estimator(stage, context, policy)
    clock, work = context.clock, LearningWork(stage, context, policy)
    with open_grader(stage, context, policy) as grader:
        vet = vet_for(policy, stage.max_completion_length, rewards=stage.rewards, rollout=stage.rollout)
        sampler = Sampler(stage, context, policy, open_source(stage.problems, vet), grader)
        sampler.mask_unreadable()
        probe = Probe(stage.probe, stage, context, policy, grader, learner) if stage.probe else None
        signal = LearningSignal(stage, policy.template)
        parts: dict[str, Stateful] = {
            "learner": learner,
            "advantage_estimator": estimator,
            "sampler": sampler,
            "signal": signal,
        }
        parts |= {"probe": probe} if probe else {}
        first = resume(context, parts)
        if probe and probe.best is None:
            context.run.log(0, probe.look(0))
            keep(stage, context, learner, parts, 0)
        metrics: dict[str, float] = {}
        for step in range(first, stage.steps):
            clock.lap()  # what came before, records and checkpoints, is no part of the step
            with unchanged(context, step, writer(learner, parts)):
                groups = sampler.informative_groups(step)
            with INTERRUPTS.finished():
                with clock.part(REFERENCE if stage.teacher else UPDATE):
                    samples, advantage_metrics = estimator.assign(groups, step)
                with clock.part(UPDATE):
                    learnt = learner.update(samples, step) if estimator.ready(step) else {}
                metrics = group_metrics(groups) | reading_metrics(groups, policy) | health_metrics(groups, policy)
                metrics |= advantage_metrics | learnt | sampler.metrics
                metrics |= work_metrics(work.of(samples, step, learns=estimator.ready(step)))
                metrics |= pace(clock.lap(), sum(len(sample.token_ids) for sample in samples))
                if probe and probe.due(step + 1):
                    metrics |= probe.look(step + 1)
                record(stage, context, policy, step + 1, groups, samples, metrics)
                signal.look(step, groups, metrics)
                keep(stage, context, learner, parts, step + 1)
            if probe and probe.fallen:
                break
    summary: dict[str, Any] = {name: metrics[name] for name in ("reward", "accuracy") if name in metrics}
    if probe and probe.fallen:
        probe.restore_best()
        summary |= {"stopped_at": step + 1, "best_step": probe.best_step}
    context.run.save_output(learner.export)
    return summary


class Stateful(Protocol):
    """A part of the stage that a resumed run must find as it was."""

    def save(self, folder: Path) -> None:
        """Writes its state; ``folder`` does not exist yet."""
        ...

    def load(self, folder: Path) -> None:
        """Restores what ``save`` wrote."""
        ...


def keep(stage: RLStage, context: StageContext, learner: RLLearner, parts: Mapping[str, Stateful], step: int) -> None:
    """A checkpoint after ``step`` updates, where one is due or the probe has seen its best policy."""
    probe = parts.get("probe")
    wanted = isinstance(probe, Probe) and probe.wants_checkpoint
    if step < stage.steps and (wanted or (step > 0 and step % stage.save_steps == 0)):
        context.run.save_checkpoint(step, writer(learner, parts))


def writer(learner: RLLearner, parts: Mapping[str, Stateful]) -> Callable[[Path], Callable[[], None] | None]:
    """What writes a checkpoint."""

    def write(folder: Path) -> Callable[[], None] | None:
        if "probe" in parts:
            learner.save(folder / "learner")  # the probe keeps files of it
            rest = None
        else:
            rest = learner.save_async(folder / "learner")
        for name, part in parts.items():
            if part is not learner:
                part.save(folder / name)
        return rest

    return write


def resume(context: StageContext, parts: Mapping[str, Stateful]) -> int:
    """Restores the last checkpoint, if there is one; returns how many steps are done."""
    checkpoint = context.run.latest_checkpoint()
    if checkpoint is None:
        return 0
    step, folder = checkpoint
    for name, part in parts.items():
        part.load(folder / name)
    return step


def record(
    stage: RLStage,
    context: StageContext,
    policy: Policy,
    step: int,
    groups: Sequence[Group],
    samples: Sequence[Sample],
    metrics: Mapping[str, float],
) -> None:
    """Metrics of every step; completions of some, one of them for whoever watches."""
    context.run.log(step, metrics)
    context.view.step(step, metrics)
    if step == 1 or step == stage.steps or step % stage.log_completions_steps == 0:
        rows = completion_rows(groups, mean_advantages(samples, groups), policy, stage.log_completions)
        context.run.log_completions(step, rows)
        if rows:
            shown = rows[step % len(rows)]
            context.view.completion(shown["prompt"], shown["completion"], shown["reward"], shown["correct"])
