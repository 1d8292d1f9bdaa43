"""The learner: samples with advantages -> a better policy, one RL step a call.

It forwards each minibatch in microbatches (``packing.py``), takes log-probabilities (``forward.py``), sums GRPO's loss
(``losses.py``) and steps the optimizer (``optimizer.py``). Where the model is, in this process or cut up over the ranks
of a cluster, is its backend's affair (``backend.py``). The loss does not depend on how a minibatch is split, and every
random choice comes from (seed, step, epoch), so a learner that was loaded resumes bit for bit, and the learners of all
ranks decide the same. The policy's model is updated in place: whoever samples from it sees the new weights at once,
under a new version.

Left out: rewards and advantages (numbers come in), adapters.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel

from thinkery.machine.clock import Clock
from thinkery.models.loading import Policy
from thinkery.training.backend import LocalBackend, ModelBackend, random_parts
from thinkery.training.custom import load_loss
from thinkery.training.forward import Tally, TokenSums, backward, token_sums
from thinkery.training.losses import importance_ratio, kl_penalty, teaches
from thinkery.training.optimizer import lr_schedule
from thinkery.training.packing import Microbatch, pack
from thinkery.types import ImportanceCorrection, KLEstimator, OptimizerKind, Schedule, UserError

_COUNTERS = "learner.json"
_NOT_FINITE_ADVICE = (
    "This update was not applied; lower learning_rate or max_grad_norm, or set delta to bound the ratio."
)


@dataclass(frozen=True, slots=True)
class Sample:
    """One completion to learn from. ``rollout_logprobs`` are the sampling engine's, of ``token_ids``.

    ``advantage`` is one number for all tokens (GRPO) or one for each (PPO, distillation).
    """

    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    rollout_logprobs: tuple[float, ...]
    advantage: float | tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.prompt_ids or not self.token_ids or len(self.token_ids) != len(self.rollout_logprobs):
            raise ValueError("a sample needs a prompt, a completion, and one log-probability per completion token")
        if isinstance(self.advantage, tuple) and len(self.advantage) != len(self.token_ids):
            raise ValueError("a sample has one advantage, or one per completion token")

    @property
    def advantages(self) -> tuple[float, ...]:
        """One number a token."""
        return self.advantage if isinstance(self.advantage, tuple) else (self.advantage,) * len(self.token_ids)

    @property
    def teaches(self) -> bool:
        """Whether any token has an advantage."""
        return teaches(self.advantage)


@dataclass(frozen=True, kw_only=True)
class LearnerConfig:
    """How the learner learns; names as in TRL. The recipe has checked that the fields don't contradict one another."""

    learning_rate: float
    optimizer: OptimizerKind = "adamw"
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    lr_scheduler_type: Schedule = "constant"
    warmup_steps: int = 0
    total_steps: int = 1  # RL steps, that is calls of update
    beta: float = 0.0
    kl_estimator: KLEstimator = "k3"
    reference_refresh_steps: int | None = None  # None: the reference stays the starting policy
    epsilon: float = 0.2
    epsilon_high: float | None = None  # None: epsilon
    delta: float | None = None  # None: no dual clip
    loss_type: str = "dapo"  # a ``LossType``, or a function of the user's: my_losses.py:name
    num_iterations: int = 1  # passes over the samples of a step
    num_minibatches: int = 1  # updates a pass
    importance_sampling_correction: ImportanceCorrection = "none"
    importance_sampling_cap: float = 2.0
    microbatch_tokens: int = 16384  # cells of padded attention rows that are forwarded at once
    temperature: float = 1.0  # the one the samples were drawn at
    max_completion_length: int = 256
    seed: int = 0


class Learner:
    """Updates a policy by GRPO.

    The fp32 master weights are the policy's own; forwards run under ``policy.autocast()``, without dropout. With
    ``beta`` > 0 a frozen copy of the policy is the reference, replaced every ``reference_refresh_steps`` steps.
    """

    def __init__(
        self, policy: Policy, config: LearnerConfig, clock: Clock | None = None, *, backend: ModelBackend | None = None
    ) -> None:
        """``backend`` None: this process carries the model."""
        self.policy = policy
        self.config = config
        self._loss_function = load_loss(config)  # first: a mistake in it shows before anything else is done
        self._clock = clock or Clock()  # told of forwards without gradient, which are the part "reference"
        policy.model.eval()
        self._backend = backend or LocalBackend(policy)
        self._optimizer = self._backend.optimizer(config.optimizer, config.learning_rate, config.weight_decay)
        self._lr_scale = lr_schedule(config.lr_scheduler_type, config.total_steps, config.warmup_steps)
        self._reference = self._backend.copy() if config.beta > 0 else None
        self._reference_is_policy = True  # until the first optimizer step after it was taken

    def update(self, samples: Sequence[Sample], step: int) -> dict[str, float]:
        """One RL step (0-based ``step``): the samples in ``num_minibatches`` random parts, ``num_iterations`` times.

        Samples of one prompt go to the same part. Returns metrics under TRL's names; those of tokens are means over the
        tokens that were forwarded. Samples without advantage give no gradient: without a KL term they are counted by
        the loss's normaliser but not forwarded.

        Raises ``UserError``, before the optimizer steps, if a loss or a gradient is not finite.
        """
        config = self.config
        scale = self._lr_scale(step)
        self._optimizer.set_lr_scale(scale)
        if config.reference_refresh_steps and step > 0 and step % config.reference_refresh_steps == 0:
            self._refresh_reference()
        parts = [
            part
            for epoch in range(config.num_iterations)
            for part in random_parts(samples, config.num_minibatches, seed=config.seed, step=step, epoch=epoch)
        ]
        known = _Known(old=_LogprobCache(samples), reference=_LogprobCache(samples))
        self._recompute_old(samples, parts, known.old)
        tally = Tally()
        for part in parts:
            self._update_part(samples, part, known, tally, step)
        self.policy.version += 1
        return tally.metrics() | {"learning_rate": config.learning_rate * scale}

    def save(self, folder: Path) -> None:
        """Writes all that ``load`` needs to resume bit for bit; ``folder`` is replaced as a whole, atomically."""
        rest = self.save_async(folder)
        if rest is not None:
            rest()

    def save_async(self, folder: Path) -> Callable[[], None] | None:
        """The same, but ranks of a cluster only take a copy of the state now and write it while updates go on.

        Then it returns what waits until ``folder`` is there, and raises what went wrong.
        """
        counters = {"policy_version": self.policy.version, "reference_is_policy": self._reference_is_policy}
        return self._backend.save(folder, _COUNTERS, counters, self._optimizer, self._reference)

    def load(self, folder: Path) -> None:
        """Restores what ``save`` wrote, into the policy's own weights. ``UserError`` if it is another model's."""
        if not (folder / _COUNTERS).exists():
            raise UserError(f"{folder} holds no learner: name a folder that Learner.save wrote")
        self._backend.load(folder, self._optimizer, self._reference)
        counters = json.loads((folder / _COUNTERS).read_text())
        self.policy.version = counters["policy_version"]
        self._reference_is_policy = counters["reference_is_policy"]

    def export(self, folder: Path) -> None:
        """Writes the policy as a Hugging Face checkpoint, with tokenizer and template."""
        self._backend.export(folder)

    @property
    def _epsilon_high(self) -> float:
        return self.config.epsilon if self.config.epsilon_high is None else self.config.epsilon_high

    def _recompute_old(self, samples: Sequence[Sample], parts: list[list[int]], old: _LogprobCache) -> None:
        """Old log-probabilities of what is met after the first optimizer step only.

        What is met before it needs none: there the current log-probabilities are the old ones.
        """
        later = {index for part in parts[1:] for index in part} - set(parts[0] if parts else ())
        self._remember(samples, self._live(samples, sorted(later)), self.policy.model, old)

    def _remember(
        self, samples: Sequence[Sample], indices: Sequence[int], model: PreTrainedModel, known: _LogprobCache
    ) -> None:
        """Log-probabilities under a model, without gradient, of the samples that they are not known of."""

        def logprobs(subset: list[int]) -> Tensor:
            microbatch = pack(samples, subset, self.policy.device)
            return self._backend.logprobs(model, microbatch, self.config.temperature)[0].cpu()

        subsets = self._split(samples, [index for index in indices if index not in known])
        if not subsets:
            return
        with self._clock.part("reference"):
            for subset, logp_N in zip(subsets, self._backend.frozen(logprobs, model, samples, subsets), strict=True):
                known.add(subset, logp_N)

    def _split(self, samples: Sequence[Sample], indices: Sequence[int]) -> list[list[int]]:
        return self._backend.split(samples, indices, self.config.microbatch_tokens)

    def _live(self, samples: Sequence[Sample], indices: Sequence[int]) -> list[int]:
        """Those that can give a gradient."""
        everything = self.config.beta > 0 or self._loss_function.learns_without_advantage
        return [index for index in indices if everything or samples[index].teaches]

    def _update_part(self, samples: Sequence[Sample], part: list[int], known: _Known, tally: Tally, step: int) -> None:
        """One optimizer step on the samples of ``part``; none if nothing in it gives a gradient."""
        live = self._live(samples, part)
        if not live:
            return
        if self._reference is not None and not self._reference_is_policy:
            self._remember(samples, live, self._reference, known.reference)
        num_tokens = sum(len(samples[index].token_ids) for index in part)

        def learn(model: PreTrainedModel, indices: list[int]) -> _Seen:
            microbatch = pack(samples, indices, self.policy.device)
            loss_N, seen = self._loss(model, samples, microbatch, known, len(part), num_tokens)
            seen.loss = backward(loss_N, microbatch, step, _NOT_FINITE_ADVICE)
            return seen

        try:
            subsets = self._split(samples, live)
            seen = self._backend.accumulate(learn, samples, subsets)
            grad_norm = self._backend.clip_gradient(self.config.max_grad_norm, step, _NOT_FINITE_ADVICE)
            self._optimizer.step()
        finally:
            self._optimizer.zero_grad()
        self._reference_is_policy = False
        for subset, one in zip(subsets, seen, strict=True):
            tally.add_tokens(one.sums)
            for cache, logp_N in ((known.old, one.old_N), (known.reference, one.reference_N)):
                if logp_N is not None:
                    cache.add_new(subset, logp_N)
        tally.add_update(sum(one.loss for one in seen), grad_norm)

    def _loss(
        self,
        model: PreTrainedModel,
        samples: Sequence[Sample],
        microbatch: Microbatch,
        known: _Known,
        num_sequences: int,
        num_tokens: int,
    ) -> tuple[Tensor, _Seen]:
        """What each completion token [N] adds to the loss, and what was seen on the way.

        ``num_sequences`` and ``num_tokens`` count the whole minibatch.
        """
        config, device = self.config, self.policy.device
        chosen = [samples[index] for index in microbatch.indices]
        rollout_N = torch.tensor([logp for sample in chosen for logp in sample.rollout_logprobs], device=device)
        advantage_N = torch.tensor([advantage for sample in chosen for advantage in sample.advantages], device=device)
        logp_N, entropy_N = self._backend.logprobs(model, microbatch, config.temperature)
        old_N = known.old.recall(microbatch, logp_N.detach())
        reference_N = kl_N = None
        if self._reference is not None:  # its log-probabilities are known already, or they are the policy's own
            reference_N = known.reference.recall(microbatch, logp_N.detach())
            kl_N = kl_penalty(logp_N.detach(), reference_N, config.kl_estimator)
        loss_N = self._loss_function(
            logp_N=logp_N,
            old_logp_N=old_N,
            rollout_logp_N=rollout_N,
            reference_logp_N=reference_N,
            advantage_N=advantage_N,
            lengths_S=microbatch.lengths_S,
            num_sequences=num_sequences,
            num_tokens=num_tokens,
        )
        sums = token_sums(
            importance_ratio(logp_N.detach(), old_N),
            advantage_N,
            entropy_N,
            old_N - rollout_N,
            kl_N,
            epsilon=config.epsilon,
            epsilon_high=self._epsilon_high,
        )
        seen = _Seen(sums)
        if config.num_iterations > 1:  # its samples come again
            seen.old_N, seen.reference_N = old_N.cpu(), None if reference_N is None else reference_N.cpu()
        return loss_N, seen

    def _refresh_reference(self) -> None:
        """The current policy becomes the reference (DeepSeek-R1: every 400 steps)."""
        if self._reference is not None:
            self._reference.load_state_dict(self.policy.model.state_dict())
            self._reference_is_policy = True


class _LogprobCache:
    """Log-probabilities that a step needs more than once, by sample; on the CPU."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._samples = samples
        self._by_sample: dict[int, Tensor] = {}

    def __contains__(self, index: int) -> bool:
        return index in self._by_sample

    def add(self, indices: Sequence[int], logp_N: Tensor) -> None:
        """Those of the tokens of some samples."""
        lengths = [len(self._samples[index].token_ids) for index in indices]
        self._by_sample.update(zip(indices, logp_N.split(lengths), strict=True))

    def add_new(self, indices: Sequence[int], logp_N: Tensor) -> None:
        """The same, unless all are known."""
        if not all(index in self for index in indices):
            self.add(indices, logp_N)

    def recall(self, microbatch: Microbatch, otherwise_N: Tensor) -> Tensor:
        """Those of a microbatch's tokens [N]; if any is new, all are these."""
        if not all(index in self for index in microbatch.indices):
            return otherwise_N
        return torch.cat([self._by_sample[index] for index in microbatch.indices]).to(otherwise_N.device)


@dataclass(slots=True)
class _Seen:
    """What an update saw of a microbatch; ``loss`` is the sum over its tokens, weighted.

    ``old_N`` and ``reference_N`` are the log-probabilities that it compared with, on the CPU, if they are wanted again.
    """

    sums: TokenSums
    loss: float = 0.0
    old_N: Tensor | None = None
    reference_N: Tensor | None = None


@dataclass(frozen=True)
class _Known:
    """What a step already knows of its samples: log-probabilities before it, and under the reference."""

    old: _LogprobCache
    reference: _LogprobCache
