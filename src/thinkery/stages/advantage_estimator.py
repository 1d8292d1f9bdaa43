"""From groups with totals to samples with advantages: GRPO's, PPO's or a function's of the user; or a teacher's beside.

Which tokens get which advantage is all that tells the three apart; the learner takes them alike. Left out: the
arithmetic (``training``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import torch

from thinkery.models.loading import Policy, load_policy
from thinkery.recipe import RLStage
from thinkery.stages.context import StageContext
from thinkery.stages.learner_fields import LearnerFields
from thinkery.training.critic import Critic
from thinkery.training.custom import load_advantages, load_loss
from thinkery.training.learner import LearnerConfig, Sample
from thinkery.training.losses import Advantage, explained_variance, gae, whitened
from thinkery.training.teacher import Teacher
from thinkery.types import Group, UserError

LEARNER_FIELDS = LearnerFields(
    LearnerConfig,
    RLStage,
    given={"total_steps", "seed"},
    others={
        *("from_", "problems", "rewards", "reward_errors", "reward_timeout_s", "steps", "no_signal_steps", "probe"),
        *("num_problems", "num_generations", "top_p", "top_k", "dynamic_sampling", "max_refills", "max_slots"),
        *("rollout", "template", "preset", "advantage_estimator", "gae_lambda", "scale_rewards"),
        *("value_learning_rate", "value_warmup_steps", "teacher", "teacher_weight"),
        *("save_steps", "log_completions_steps", "log_completions"),
    },
)


class AdvantageEstimator(Protocol):
    """Says what each completion is worth to the policy. What it learns itself is part of its state."""

    def assign(self, groups: Sequence[Group], step: int) -> tuple[list[Sample], dict[str, float]]:
        """The samples of the groups, in order, with advantages; and metrics. 0-based ``step``."""
        ...

    def ready(self, step: int) -> bool:
        """Whether the policy may learn from it yet."""
        ...

    def save(self, folder: Path) -> None:
        """Writes all that the next step depends on."""
        ...

    def load(self, folder: Path) -> None:
        """Restores what ``save`` wrote."""
        ...


class GroupAdvantages:
    """GRPO's: how much better a completion is than its group; or what a function of the user's says.

    A teacher's token-by-token advantage is added, if any.
    """

    def __init__(self, stage: RLStage, teacher: Teacher | None) -> None:
        self._advantages, self._teacher = load_advantages(stage.advantage_estimator, stage.scale_rewards), teacher

    def assign(self, groups: Sequence[Group], step: int) -> tuple[list[Sample], dict[str, float]]:
        """The samples, with a teacher's credit the metric ``teacher_kl`` too."""
        samples = _samples(groups, [one for advantages_G in self._advantages(groups) for one in advantages_G])
        return (samples, {}) if self._teacher is None else self._teacher.add_advantages(samples)

    def ready(self, step: int) -> bool:
        """From the first step on."""
        return True

    def save(self, folder: Path) -> None:
        """There is nothing to keep: groups and a frozen teacher have no memory."""

    def load(self, folder: Path) -> None:
        """There was nothing kept."""


class ValueAdvantages:
    """PPO: how much better things went from a token on than the critic expected (``training/losses.py``)."""

    def __init__(self, stage: RLStage, critic: Critic) -> None:
        self._stage, self._critic = stage, critic

    def assign(self, groups: Sequence[Group], step: int) -> tuple[list[Sample], dict[str, float]]:
        """The samples with an advantage a token, whitened over the batch; then the critic learns from the returns.

        Metrics: the critic's, and ``value/explained_variance``, of the returns by the values before this step.
        """
        samples = _samples(groups, [0.0] * sum(len(group.totals_G) for group in groups))
        values = [value_T.to(torch.float64) for value_T in self._critic.values(samples)]
        advantages = gae([total for group in groups for total in group.totals_G], values, self._stage.gae_lambda)
        returns = [advantage_T + value_T for advantage_T, value_T in zip(advantages, values, strict=True)]
        metrics = self._critic.update(samples, returns, step)
        metrics["value/explained_variance"] = explained_variance(torch.cat(values), torch.cat(returns))
        taught = [replace(sample, advantage=a) for sample, a in zip(samples, whitened(advantages), strict=True)]
        return taught, metrics

    def ready(self, step: int) -> bool:
        """After the steps in which the critic learns alone."""
        return step >= self._stage.value_warmup_steps

    def save(self, folder: Path) -> None:
        """Writes the critic."""
        self._critic.save(folder)

    def load(self, folder: Path) -> None:
        """Restores the critic."""
        self._critic.load(folder)


def make_advantage_estimator(stage: RLStage, context: StageContext, policy: Policy) -> AdvantageEstimator:
    """The stage's own. Raises ``UserError`` for a teacher with another tokenizer."""
    if stage.advantage_estimator == "gae":
        config = learner_config(stage, context.seed)
        rate = stage.learning_rate if stage.value_learning_rate is None else stage.value_learning_rate
        return ValueAdvantages(
            stage, Critic(_with_weights(stage, context, policy), replace(config, learning_rate=rate))
        )
    if stage.teacher is None:
        return GroupAdvantages(stage, None)
    place = context.resolve(stage.teacher)
    teacher = load_policy(place, template=policy.template, device=stage.device, dtype=stage.dtype)
    _require_same_tokenizer(stage, teacher, policy)
    if policy.device.type == "meta":
        context.view.note(f"{stage.name}: the teacher is forwarded in this process, not on the cluster")
    return GroupAdvantages(
        stage,
        Teacher(
            teacher,
            weight=stage.teacher_weight,
            temperature=stage.temperature,
            microbatch_tokens=stage.microbatch_tokens,
        ),
    )


def _with_weights(stage: RLStage, context: StageContext, policy: Policy) -> Policy:
    """What the critic is copied from: on a cluster the policy here is a handle without weights."""
    if policy.device.type != "meta":
        return policy
    context.view.note(f"{stage.name}: the critic learns in this process, not on the cluster")
    place = context.resolve(stage.from_)
    return load_policy(place, template=policy.template, device=stage.device, dtype=stage.dtype)


def learner_config(stage: RLStage, seed: int) -> LearnerConfig:
    """The stage's fields that are the learner's, under the same names."""
    return LEARNER_FIELDS.of(stage, total_steps=stage.steps, seed=seed)


def check_function(stage: RLStage, field: str) -> None:
    """Loads the function of the user's that a field names. Raises ``UserError`` if it can't do its work."""
    if field == "loss_type":
        load_loss(learner_config(stage, seed=0))
    else:
        load_advantages(stage.advantage_estimator, stage.scale_rewards)


def mean_advantages(samples: Sequence[Sample], groups: Sequence[Group]) -> list[list[float]]:
    """One number a completion for the record: the mean over its tokens, in the groups' shape."""
    means = iter([sum(sample.advantages) / len(sample.advantages) for sample in samples])
    return [[next(means) for _ in group.completions_G] for group in groups]


def _samples(groups: Sequence[Group], advantages: Sequence[Advantage]) -> list[Sample]:
    """What the learner sees: numbers."""
    completions = [completion for group in groups for completion in group.completions_G]
    return [
        Sample(completion.prompt_ids, completion.token_ids, completion.logprobs, advantage)
        for completion, advantage in zip(completions, advantages, strict=True)
    ]


def _require_same_tokenizer(stage: RLStage, teacher: Policy, policy: Policy) -> None:
    """A teacher must read the very tokens that the student wrote."""
    if teacher.tokenizer.get_vocab() != policy.tokenizer.get_vocab() or teacher.valid_vocab < policy.valid_vocab:
        raise UserError(
            f"{stage.name}.teacher = {stage.teacher!r} has another tokenizer ({len(teacher.tokenizer):,} tokens) than "
            f"the student ({len(policy.tokenizer):,} tokens): on-policy distillation needs one and the same; a teacher "
            "of another kind can teach by the texts it writes (kind: sft)"
        )
