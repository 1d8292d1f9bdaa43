"""Seconds of a stage, part by part: what each kind of stage does, in the words of a cost model.

The parts are those of a profile: rollout, grading, reference, update; and the hand-over between learning and sampling.
Rules grade beside the rollout and cost a cluster no time of their own; reward models do. Left out: judges that are
asked elsewhere, loading, checkpoints, the probe.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from thinkery.models.flops import Lengths
from thinkery.plan.cost_models import CostModel
from thinkery.plan.decoders import DecoderCosts
from thinkery.plan.lengths import SPREAD, LengthSpread, groups_of
from thinkery.recipe import RLStage

_PARTS = ("rollout", "grading", "reference", "update", "hand-over")


@dataclass(frozen=True)
class StageTime:
    """A stage's steps, and the mean seconds of a step by part."""

    steps: float
    parts: dict[str, float] = field(default_factory=dict)

    @property
    def step_seconds(self) -> float:
        """Of a whole step."""
        return sum(self.parts.values())

    @property
    def seconds(self) -> float:
        """Of the whole stage."""
        return self.steps * self.step_seconds


def rl_batch(stage: RLStage, mean_length: float, prompt: int, spread: float = SPREAD) -> list[Lengths]:
    """A step's groups, their lengths evenly spread over the distribution."""
    lengths = LengthSpread(mean_length, stage.max_completion_length, spread)
    return groups_of(lengths.quantiles(stage.num_problems * stage.num_generations), prompt, stage.num_generations)


def rl_step(
    stage: RLStage,
    model: DecoderCosts,
    cost_model: CostModel,
    batch: Sequence[Lengths],
    *,
    slots: int,
    teaches: float = 1.0,
    read_by_models: float = 0.0,
    teacher: DecoderCosts | None = None,
) -> dict[str, float]:
    """Seconds of one step by part. ``teaches``: the share of completions with an advantage; the others are learnt from
    only for a KL term. ``read_by_models``: how often a completion is read by a reward model, on average."""
    live = list(batch) if stage.beta > 0 else _share(batch, teaches)
    parts = dict.fromkeys(_PARTS, 0.0)
    parts["rollout"] = cost_model.rollout(model, batch, slots)
    parts["grading"] = cost_model.forward(model, _apart(_share(batch, read_by_models))) if read_by_models else 0.0
    frozen = [_share(live, 1 - 1 / stage.num_minibatches)] if stage.num_minibatches > 1 else []
    frozen += [list(batch)] if stage.beta > 0 else []
    parts["reference"] = sum(cost_model.forward(model, one) for one in frozen)
    parts["reference"] += cost_model.forward(teacher, batch) if teacher else 0.0
    passes = stage.num_iterations * (2 if stage.advantage_estimator == "gae" else 1)
    once = cost_model.update(model, live, updates=stage.num_minibatches, microbatch_tokens=stage.microbatch_tokens)
    parts["update"] = passes * once
    parts["hand-over"] = cost_model.hand_over(model)
    return parts


def learning_time(
    model: DecoderCosts,
    cost_model: CostModel,
    *,
    items: float,
    length: float,
    prompt: int,
    batch_size: int,
    epochs: int,
    micro: int,
) -> StageTime:
    """Fine-tuning on so many sequences of a mean length."""
    batch = groups_of(LengthSpread(length, max(1, round(8 * length))).quantiles(batch_size), prompt, 1)
    seconds = cost_model.update(model, batch, updates=1, microbatch_tokens=micro)
    return StageTime(math.ceil(items / batch_size) * epochs, {"update": seconds})


def sampling_time(
    model: DecoderCosts,
    cost_model: CostModel,
    *,
    problems: float,
    group: int,
    at_once: int,
    spread: LengthSpread,
    prompt: int,
    slots: int,
) -> StageTime:
    """Sampling ``group`` completions of every problem, ``at_once`` problems together."""
    together = max(1, min(at_once, math.ceil(problems)))
    batch = groups_of(spread.quantiles(together * group), prompt, group)
    return StageTime(problems / together, {"rollout": cost_model.rollout(model, batch, slots)})


def _apart(batch: Sequence[Lengths]) -> list[Lengths]:
    """Every completion with a prompt of its own: a reward model reads each response as a text."""
    return [Lengths(one.prompt, (length,)) for one in batch for length in one.completions]


def _share(batch: Sequence[Lengths], share: float) -> list[Lengths]:
    """So many of the groups, spread over them all."""
    wanted = max(1, round(share * len(batch)))
    return [batch[index * len(batch) // wanted] for index in range(wanted)]
