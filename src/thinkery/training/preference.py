"""Learning from preferences and labels: the losses of reward models as pure functions, and the learner that uses them.

Pairwise, with a chosen response c and a rejected one r (Bradley and Terry 1952; Stiennon et al. 2020, eq. 1):

    L = -log sigmoid(s_c - s_r)

Pointwise, with the label y = 1 for safe:

    L = -y log sigmoid(s) - (1 - y) log(1 - sigmoid(s))

both a mean over a batch. Left out: margins, and what is learnt from (``stages/reward_model.py``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from thinkery.machine.cpu_workers import CpuWorkers, workers_on
from thinkery.models.reward_model import RewardModel, batches_of
from thinkery.training.backend import Replicas
from thinkery.training.forward import counter_based_generator, load_state, save_state
from thinkery.training.optimizer import build_optimizer, lr_schedule
from thinkery.types import Schedule, UserError


def pairwise_loss(chosen_B: Tensor, rejected_B: Tensor) -> Tensor:
    """``-log sigmoid(chosen - rejected)`` of raw scores [B] -> losses [B]; finite for any difference."""
    return -functional.logsigmoid(chosen_B - rejected_B)


def pointwise_loss(score_B: Tensor, safe_B: Tensor) -> Tensor:
    """Binary cross-entropy of raw scores [B] against labels [B], 1 for safe -> losses [B]."""
    return functional.binary_cross_entropy_with_logits(score_B, safe_B.to(score_B.dtype), reduction="none")


@dataclass(frozen=True, slots=True)
class Pair:
    """Token ids of two whole texts (prompt, response, ending)."""

    chosen: Sequence[int]
    rejected: Sequence[int]

    @property
    def rows(self) -> tuple[Sequence[int], ...]:
        """The texts, in the order in which the loss takes their scores."""
        return self.chosen, self.rejected


@dataclass(frozen=True, slots=True)
class Label:
    """Token ids of a whole text, and whether its response is safe."""

    text: Sequence[int]
    safe: bool

    @property
    def rows(self) -> tuple[Sequence[int], ...]:
        """The one text."""
        return (self.text,)


Example = Pair | Label


@dataclass(frozen=True, kw_only=True)
class PreferenceConfig:
    """How a reward model learns; names as in TRL."""

    learning_rate: float
    total_steps: int
    lr_scheduler_type: Schedule = "cosine"
    min_lr_rate: float = 0.1
    warmup_steps: int = 0
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    microbatch_tokens: int = 16384  # cells of padded rows that are forwarded at once


class PreferenceLearner:
    """Updates a reward model in place, one batch a call. What it holds beside the weights is the optimizer's state."""

    def __init__(self, reward_model: RewardModel, config: PreferenceConfig, *, workers: int | None = None) -> None:
        """``workers`` None: as many as pay on the model's device."""
        self.reward_model, self.config = reward_model, config
        self._replicas = Replicas(reward_model.model, CpuWorkers(workers or workers_on(reward_model.device)))
        self._optimizer = build_optimizer(
            reward_model.model, "adamw", config.learning_rate, weight_decay=config.weight_decay
        )
        self._lr_scale = lr_schedule(
            config.lr_scheduler_type, config.total_steps, config.warmup_steps, config.min_lr_rate
        )

    def update(self, batch: Sequence[Example], step: int) -> dict[str, float]:
        """One optimizer step (0-based ``step``) on the mean loss of a batch, all of it pairs or all of it labels.

        Returns the loss (nats an example), the share that the model got right before the step, the gradient's norm
        before clipping and the learning rate. Raises ``UserError``, before the weights change, if the loss or the
        gradient is not finite.
        """
        scale = self._lr_scale(step)
        self._optimizer.set_lr_scale(scale)
        widths = [len(example.rows) * max(map(len, example.rows)) for example in batch]
        share = math.ceil(
            max(widths) * len(batch) / self._replicas.workers.count
        )  # each worker the same number of rows

        def learn(model: PreTrainedModel, indices: list[int]) -> tuple[float, int]:
            loss_B, right_B = self._failures(model, [batch[i] for i in indices])
            part = loss_B.sum() / len(batch)
            part.backward()
            return part.item(), int(right_B.sum())

        try:
            subsets = list(batches_of(widths, min(self.config.microbatch_tokens, share)))
            seen = self._replicas.accumulate(learn, subsets, [sum(widths[i] for i in subset) for subset in subsets])
            loss = sum(loss for loss, _ in seen)
            norm = nn.utils.clip_grad_norm_(self.reward_model.model.parameters(), self.config.max_grad_norm).item()
            if not math.isfinite(loss + norm):
                raise UserError(
                    f"step {step}: the loss is {loss} and the gradient norm {norm}. This update was not applied; "
                    "lower learning_rate or max_grad_norm"
                )
            self._optimizer.step()
        finally:
            self._optimizer.zero_grad()
        return {
            "loss": loss,
            "accuracy": sum(right for _, right in seen) / len(batch),
            "grad_norm": norm,
            "learning_rate": self.config.learning_rate * scale,
        }

    def save(self, folder: Path) -> None:
        """Writes the state after the last update into an existing folder."""
        save_state(folder, self.reward_model.model, self._optimizer)

    def load(self, folder: Path) -> None:
        """Restores what ``save`` wrote. Raises ``UserError`` if it is another model's."""
        load_state(folder, self.reward_model.model, self._optimizer)

    def _failures(self, model: PreTrainedModel, examples: Sequence[Example]) -> tuple[Tensor, Tensor]:
        """FailureBudget [B] of examples, and whether the model got each right [B]."""
        score_N = replace(self.reward_model, model=model).forward([row for example in examples for row in example.rows])
        safe = [example.safe for example in examples if isinstance(example, Label)]
        if safe:
            safe_B = torch.tensor(safe, device=score_N.device)
            return pointwise_loss(score_N, safe_B), (score_N.detach() > 0) == safe_B
        chosen_B, rejected_B = score_N.view(-1, 2).unbind(1)
        return pairwise_loss(chosen_B, rejected_B), (chosen_B > rejected_B).detach()


def batch_of(size: int, batch_size: int, step: int, *, seed: int, stage: str) -> list[int]:
    """The examples of a step (0-based): epochs are permutations drawn from (seed, stage, epoch) alone.

    The last batch of an epoch is the smaller one.
    """
    per_epoch = -(-size // batch_size)
    epoch, place = divmod(step, per_epoch)
    order = torch.randperm(size, generator=counter_based_generator(seed, stage, epoch, "batches")).tolist()
    return order[place * batch_size : (place + 1) * batch_size]
