"""The supervised learner: prompts with completions -> a policy that writes such completions, one update a call.

The loss is the mean of -log p over all completion tokens of an update, the token that ends a completion among them;
prompts are read and not learnt. Examples are packed without padding (``packing.py``), each attending to itself alone,
so the loss depends neither on the split into microbatches nor on who shares a row. An epoch's order depends on
(seed, epoch) alone, so a learner that was loaded resumes bit for bit.

DeepSeek-R1's fine-tuning and distillation: cosine to a tenth of the peak rate, 2 to 3 epochs. Left out: reading
demonstrations and rendering them (tokens come in), where the model is (``backend.py``), adapters.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedModel

from thinkery.models.loading import Policy
from thinkery.training.backend import LocalBackend, ModelBackend
from thinkery.training.forward import backward, counter_based_generator
from thinkery.training.optimizer import lr_schedule
from thinkery.training.packing import pack
from thinkery.types import OptimizerKind, Schedule, UserError

_COUNTERS = "sft.json"
_NOT_FINITE_ADVICE = "This update was not applied; lower learning_rate or max_grad_norm."


@dataclass(frozen=True, slots=True)
class Example:
    """A prompt and the completion to learn, as token ids; the completion holds the token that ends it."""

    prompt_ids: Sequence[int]
    token_ids: Sequence[int]

    def __post_init__(self) -> None:
        if not self.prompt_ids or not self.token_ids:
            raise ValueError("an example needs a prompt and a completion")

    @property
    def length(self) -> int:
        """Tokens in all."""
        return len(self.prompt_ids) + len(self.token_ids)


@dataclass(frozen=True, kw_only=True)
class SFTConfig:
    """How the supervised learner learns; names as in TRL. The recipe has checked them."""

    learning_rate: float
    epochs: int = 2
    batch_size: int = 128  # examples an update
    lr_scheduler_type: Schedule = "cosine"
    min_lr_rate: float = 0.1
    warmup_steps: int = 0
    optimizer: OptimizerKind = "adamw"
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    microbatch_tokens: int = 16384  # cells of padded attention rows that are forwarded at once
    seed: int = 0


class SupervisedLearner:
    """Fits a policy to examples; the fp32 master weights are the policy's own, updated in place."""

    def __init__(
        self, policy: Policy, examples: Sequence[Example], config: SFTConfig, *, backend: ModelBackend | None = None
    ) -> None:
        """``backend`` None: this process carries the model."""
        if not examples:
            raise ValueError("no examples to learn from")
        self.policy, self.examples, self.config = policy, examples, config
        policy.model.eval()
        self.tokens = 0  # read by now, prompts included
        self._backend = backend or LocalBackend(policy)
        self._updates_per_epoch = math.ceil(len(examples) / config.batch_size)
        self._epoch: tuple[int, list[list[int]]] | None = None
        self._optimizer = self._backend.optimizer(config.optimizer, config.learning_rate, config.weight_decay)
        self._lr_scale = lr_schedule(
            config.lr_scheduler_type, self.total_updates, config.warmup_steps, floor=config.min_lr_rate
        )

    @property
    def total_updates(self) -> int:
        """Updates in all epochs."""
        return self.config.epochs * self._updates_per_epoch

    def batch(self, step: int) -> list[int]:
        """The examples of update ``step`` (0-based).

        An epoch is a permutation cut into as few batches as ``batch_size`` allows, as equal in size as can be, so that
        no update hangs on a handful of left-over examples.
        """
        epoch, part = divmod(step, self._updates_per_epoch)
        if self._epoch is None or self._epoch[0] != epoch:
            order = torch.randperm(
                len(self.examples), generator=counter_based_generator(self.config.seed, epoch, "sft")
            )
            self._epoch = epoch, [batch.tolist() for batch in order.tensor_split(self._updates_per_epoch)]
        return self._epoch[1][part]

    def update(self, step: int) -> dict[str, float]:
        """Update ``step`` (0-based) of ``total_updates``; returns its metrics. ``loss`` is in nats a completion token.

        Raises ``UserError``, before the optimizer steps, if a loss or a gradient is not finite.
        """
        config, policy = self.config, self.policy
        scale = self._lr_scale(step)
        self._optimizer.set_lr_scale(scale)
        batch = self.batch(step)
        num_tokens = sum(len(self.examples[index].token_ids) for index in batch)

        def learn(model: PreTrainedModel, indices: list[int]) -> tuple[float, float]:
            microbatch = pack(self.examples, indices, policy.device)
            logp_N, entropy_N = self._backend.logprobs(model, microbatch)
            entropy = entropy_N.sum().item() / num_tokens
            return backward(-logp_N / num_tokens, microbatch, step, _NOT_FINITE_ADVICE), entropy

        try:
            subsets = self._backend.split(self.examples, batch, config.microbatch_tokens)
            seen = self._backend.accumulate(learn, self.examples, subsets)
            grad_norm = self._backend.clip_gradient(config.max_grad_norm, step, _NOT_FINITE_ADVICE)
            self._optimizer.step()
        finally:
            self._optimizer.zero_grad()
        policy.version += 1
        self.tokens += sum(self.examples[index].length for index in batch)
        return {
            "loss": sum(loss for loss, _ in seen),
            "entropy": sum(entropy for _, entropy in seen),
            "grad_norm": grad_norm,
            "learning_rate": config.learning_rate * scale,
            "epoch": (step + 1) / self._updates_per_epoch,
            "tokens": float(self.tokens),
        }

    def save(self, folder: Path) -> None:
        """Writes all that ``load`` needs to resume bit for bit; ``folder`` is replaced as a whole, atomically."""
        rest = self.save_async(folder)
        if rest is not None:
            rest()

    def save_async(self, folder: Path) -> Callable[[], None] | None:
        """The same, but ranks of a cluster only take a copy of the state now and write it while updates go on.

        Then it returns what waits until ``folder`` is there, and raises what went wrong.
        """
        counters = {"policy_version": self.policy.version, "tokens": self.tokens}
        return self._backend.save(folder, _COUNTERS, counters, self._optimizer, None)

    def load(self, folder: Path) -> None:
        """Restores what ``save`` wrote, into the policy's own weights. ``UserError`` if it is another model's."""
        if not (folder / _COUNTERS).exists():
            raise UserError(f"{folder} holds no supervised learner: name a folder that SupervisedLearner.save wrote")
        self._backend.load(folder, self._optimizer, None)
        counters = json.loads((folder / _COUNTERS).read_text())
        self.policy.version, self.tokens = counters["policy_version"], counters["tokens"]

    def export(self, folder: Path) -> None:
        """Writes the policy as a Hugging Face checkpoint, with tokenizer and template."""
        self._backend.export(folder)
