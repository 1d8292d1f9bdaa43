"""Reward models: preference pairs or safety labels -> a checkpoint with one score, and how far it can be trusted.

DeepSeek-R1: the helpful one is pairwise and reads the summary alone, the safety one is pointwise and reads the whole
response. What is measured is measured on prompts that were held out: accuracy, calibration, and the liking for length
that preference models are known for. Left out: where the data come from (``judge.py``, ``problems/preferences.py``),
the losses (``training/preference.py``), and being rewarded (``rewards/model.py``).
"""

from __future__ import annotations

import hashlib
import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from thinkery.evaluation.intervals import mean_ci
from thinkery.evaluation.preference import area_under_curve, calibration, correlation, share_of_longer
from thinkery.files import write_json_atomic
from thinkery.machine.interrupts import INTERRUPTS
from thinkery.models.reward_model import RewardModel, calibrated, new_reward_model, save_reward_model, sigmoid
from thinkery.problems.preferences import Judged, PreferencePair, Response, SafetyLabel, read_labels, read_pairs
from thinkery.recipe import RewardModelStage
from thinkery.stages.boundary import stop_between
from thinkery.stages.context import StageContext
from thinkery.stages.learner_fields import LearnerFields
from thinkery.training.preference import Example, Label, Pair, PreferenceConfig, PreferenceLearner, batch_of
from thinkery.types import UserError

LEARNER_FIELDS = LearnerFields(
    PreferenceConfig,
    RewardModelStage,
    given={"total_steps"},
    others={
        *("objective", "reads", "from_", "data", "held_out", "epochs", "batch_size", "max_length"),
        "save_steps",
    },
)
SCALED_ON = 4096  # training texts whose scores give the checkpoint its mean and unit
LOG_STEPS = 10


def run_reward_model(stage: RewardModelStage, context: StageContext) -> dict[str, Any]:
    """Trains the reward model, measures it on the held-out prompts and saves it; returns the measurements."""
    read = read_pairs if stage.objective == "pairwise" else read_labels
    judged: Sequence[Judged] = read(
        stage.data, context.resolve, lambda text: context.view.note(f"{stage.name}: {text}")
    )
    reward_model = new_reward_model(
        context.resolve(stage.from_),
        objective=stage.objective,
        reads=stage.reads,
        template=context.template_of(stage.from_, None),
        seed=context.seed,
        device=stage.device,
        dtype=stage.dtype,
    )
    reward_model.card = replace(reward_model.card, base=stage.from_)  # no path of this machine
    sets = split(prepare(judged, reward_model, stage, context), stage)
    total_steps = stage.epochs * -(-len(sets.train) // stage.batch_size)
    context.view.note(
        f"{stage.name}: {len(sets.train):,} to learn from in {total_steps:,} steps, {len(sets.held_out):,} held out"
    )
    train(stage, context, reward_model, [item.example for item in sets.train], total_steps)
    reward_model.card = calibrated(reward_model.card, _train_scores(sets.train, reward_model, stage))
    report = measure(sets.held_out, reward_model, stage, context.seed)
    context.run.save_output(lambda folder: _save(reward_model, report, folder))
    return {"train": len(sets.train), "held_out": len(sets.held_out)} | report


@dataclass(frozen=True, slots=True)
class EncodedExample:
    """A pair or a label, read as the reward model reads it: tokens, and lengths of what it reads in characters."""

    prompt: str  # JSON, as a key
    example: Example
    lengths: tuple[int, ...]  # of chosen and rejected, or of the one response


@dataclass(frozen=True, slots=True)
class Sets:
    """What is learnt from and what is measured on; no prompt is in both."""

    train: list[EncodedExample]
    held_out: list[EncodedExample]


def prepare(
    judged: Sequence[Judged], reward_model: RewardModel, stage: RewardModelStage, context: StageContext
) -> list[EncodedExample]:
    """The data as token ids; what the model would read in more than ``max_length`` tokens is left out, with a note.

    So are pairs whose sides the model would read alike. Raises ``UserError`` if nothing is left.
    """
    texts = [text for one in judged for text in _texts(one, reward_model)]
    ids = iter(reward_model.encode(texts))
    items: list[EncodedExample] = []
    limit = min(stage.max_length, reward_model.context or stage.max_length)
    too_long = unread = 0
    for one in judged:
        rows = [next(ids) for _ in _responses(one)]
        if max(map(len, rows)) > limit:
            too_long += 1
        elif len(rows) == 2 and rows[0] == rows[1]:
            unread += 1  # they differ in what the model doesn't read
        else:
            prompt = one.prompt if isinstance(one.prompt, str) else [dict(message) for message in one.prompt]
            example = Pair(*rows) if isinstance(one, PreferencePair) else Label(rows[0], one.safe)
            lengths = tuple(_length(response, stage) for response in _responses(one))
            items.append(EncodedExample(json.dumps(prompt, ensure_ascii=False), example, lengths))
    if not items:
        raise UserError(
            f"{stage.name}.data: nothing to learn from: of {len(judged):,} rows {too_long:,} are longer than {limit:,} "
            f"tokens (max_length), and {unread:,} pairs have the same {stage.reads} on both sides (reads)"
        )
    if too_long:
        context.view.note(f"{stage.name}: {too_long:,} left out, longer than {limit:,} tokens")
    if unread:
        context.view.note(f"{stage.name}: {unread:,} left out, their {stage.reads} is the same on both sides")
    return items


def split(items: Sequence[EncodedExample], stage: RewardModelStage) -> Sets:
    """Holds out the share ``stage.held_out`` of the prompts, those whose hashes are the smallest.

    Raises ``UserError`` if a side would be empty, or would hold labels of one kind alone.
    """
    prompts = sorted({item.prompt for item in items}, key=lambda prompt: hashlib.sha256(prompt.encode()).digest())
    if len(prompts) < 2:
        raise UserError(
            f"{stage.name}.data: {len(prompts)} different prompts are left; two at least are needed, one to learn from "
            "and one to hold out"
        )
    count = min(len(prompts) - 1, max(1, round(stage.held_out * len(prompts))))
    chosen = set(prompts[:count])
    sets = Sets(
        [item for item in items if item.prompt not in chosen], [item for item in items if item.prompt in chosen]
    )
    kinds = {item.example.safe for item in sets.train if isinstance(item.example, Label)}
    if len(kinds) == 1:
        raise UserError(f"{stage.name}.data: every response is {'safe' if kinds == {True} else 'unsafe'}; show both")
    return sets


def train(
    stage: RewardModelStage,
    context: StageContext,
    reward_model: RewardModel,
    examples: Sequence[Example],
    total_steps: int,
) -> None:
    """Updates the model for all steps, from the last checkpoint on if there is one."""
    learner = PreferenceLearner(reward_model, LEARNER_FIELDS.of(stage, total_steps=total_steps))
    first = 0
    checkpoint = context.run.latest_checkpoint()
    if checkpoint is not None:
        first = checkpoint[0]
        learner.load(checkpoint[1])
    for step in range(first, total_steps):
        stop_between(context, step, learner.save)
        batch = batch_of(len(examples), stage.batch_size, step, seed=context.seed, stage=stage.name)
        done = step + 1
        with INTERRUPTS.finished():
            metrics = learner.update([examples[index] for index in batch], step)
            context.run.log(done, metrics)
        if done % LOG_STEPS == 0 or done == total_steps:
            context.view.step(done, metrics)
        if done % stage.save_steps == 0 and done < total_steps:
            context.run.save_checkpoint(done, learner.save)


def measure(
    items: Sequence[EncodedExample], reward_model: RewardModel, stage: RewardModelStage, seed: int
) -> dict[str, Any]:
    """The figures on held-out items; every prompt counts the same, however many items it has.

    ``accuracy`` is the share of pairs in which chosen scores higher (ties half), or of labels on whose side of 0.5 the
    probability lies; ``accuracy_ci95`` is its bootstrap interval over prompts. ``length_correlation`` is Spearman's, of
    scores with lengths: within pairs of the differences. ``longer_by_model`` and ``longer_by_labels`` say how often
    the longer response of a pair is preferred.
    """
    scores = _scores([item.example for item in items], reward_model, stage)
    right = [_right(item.example, own) for item, own in zip(items, scores, strict=True)]
    by_prompt: dict[str, list[float]] = {}
    for item, value in zip(items, right, strict=True):
        by_prompt.setdefault(item.prompt, []).append(value)
    means = [statistics.fmean(values) for values in by_prompt.values()]
    report: dict[str, Any] = {
        "accuracy": statistics.fmean(means),
        "accuracy_ci95": list(mean_ci(means, seed=seed)),
        "held_out_prompts": len(means),
    }
    if stage.objective == "pairwise":
        return report | _pair_report(items, scores)
    return report | _label_report(items, [own[0] for own in scores])


def _pair_report(items: Sequence[EncodedExample], scores: Sequence[Sequence[float]]) -> dict[str, Any]:
    gaps = [chosen - rejected for chosen, rejected in scores]
    excess = [chosen - rejected for chosen, rejected in (item.lengths for item in items)]
    # A pair has no order of its own: both are counted.
    both = correlation([*gaps, *(-gap for gap in gaps)], [*excess, *(-value for value in excess)])
    return {
        **calibration([sigmoid(abs(gap)) for gap in gaps], [gap > 0 for gap in gaps]),
        "length_correlation": both,
        "longer_by_model": share_of_longer(gaps, excess),
        "longer_by_labels": share_of_longer([1.0] * len(excess), excess),
    }


def _label_report(items: Sequence[EncodedExample], scores: Sequence[float]) -> dict[str, Any]:
    safe = [item.example.safe for item in items if isinstance(item.example, Label)]
    return {
        "auc": area_under_curve(scores, safe),
        "safe": statistics.fmean(safe),
        **calibration([sigmoid(score) for score in scores], safe),
        "length_correlation": correlation(scores, [item.lengths[0] for item in items]),
    }


def _right(example: Example, scores: Sequence[float]) -> float:
    if isinstance(example, Label):
        return float((scores[0] > 0) == example.safe)
    return 0.5 if scores[0] == scores[1] else float(scores[0] > scores[1])


def _scores(examples: Sequence[Example], reward_model: RewardModel, stage: RewardModelStage) -> list[list[float]]:
    """The raw scores of every example's texts."""
    rows = [row for example in examples for row in example.rows]
    flat = iter(reward_model.score_rows(rows, stage.microbatch_tokens))
    return [[next(flat) for _ in example.rows] for example in examples]


def _train_scores(items: Sequence[EncodedExample], reward_model: RewardModel, stage: RewardModelStage) -> list[float]:
    """Raw scores of some responses that it learnt from, those whose prompts' hashes are the smallest."""
    order = sorted(items, key=lambda item: hashlib.sha256(item.prompt.encode()).digest())
    chosen = [item.example for item in order[:SCALED_ON]]
    return [score for own in _scores(chosen, reward_model, stage) for score in own]


def _save(reward_model: RewardModel, report: dict[str, Any], folder: Path) -> None:
    save_reward_model(reward_model, folder)
    write_json_atomic(folder / "held_out.json", report)


def _responses(judged: Judged) -> tuple[Response, ...]:
    return (judged.chosen, judged.rejected) if isinstance(judged, PreferencePair) else (judged.response,)


def _texts(judged: PreferencePair | SafetyLabel, reward_model: RewardModel) -> list[str]:
    return [reward_model.text(judged.prompt, response.thinking, response.answer) for response in _responses(judged)]


def _length(response: Response, stage: RewardModelStage) -> int:
    return len(response.answer) + (len(response.thinking) if stage.reads == "response" else 0)
