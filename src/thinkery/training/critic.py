"""The critic of PPO: a value model of the policy's shape, and how it learns.

The value model is a copy of the policy's decoder, taken when the stage starts, with a linear head from the hidden state
to one number. It shares nothing with the policy: its gradients can't disturb the policy's, at the price of a second
model with its optimizer in memory. The head starts at zero, so all values do. Left out: advantages (``losses.py``), the
clipped value loss (Andrychowicz et al., arXiv 2006.05990, find that it hurts).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from thinkery.files import atomic_folder
from thinkery.machine.cpu_workers import CpuWorkers, workers_on
from thinkery.models.attention import Layout
from thinkery.models.loading import Policy
from thinkery.training.backend import Replicas, frozen, random_parts
from thinkery.training.forward import backward, clip_gradient, load_state, save_state
from thinkery.training.learner import LearnerConfig
from thinkery.training.losses import value_loss
from thinkery.training.optimizer import build_optimizer, lr_schedule
from thinkery.training.packing import Microbatch, Tokens, pack, sizes_of, split_microbatches

_NOT_FINITE_ADVICE = "The value model's update was not applied; lower value_learning_rate or max_grad_norm."


class ValueModel(nn.Module):
    """A decoder with a scalar head. ``decoder`` is copied."""

    def __init__(self, decoder: nn.Module, hidden_size: int) -> None:
        super().__init__()
        self.decoder = copy.deepcopy(decoder)
        self.head = nn.Linear(hidden_size, 1, device=next(decoder.parameters()).device)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, input_ids_1T: Tensor, position_ids_1T: Tensor, layout: Layout, place_N: Tensor) -> Tensor:
        """The values [N] of what stands up to and including each place of the row."""
        output = self.decoder(input_ids=input_ids_1T, position_ids=position_ids_1T, use_cache=False, layout=layout)
        hidden_ND = output.last_hidden_state[0].index_select(0, place_N)
        with torch.autocast(hidden_ND.device.type, enabled=False):  # rewards of 0 and 1 want more than 8 bits
            return cast(Tensor, self.head(hidden_ND.to(self.head.weight.dtype))[:, 0])


class Critic:
    """Values completion tokens, and learns from their returns.

    ``config`` is the policy's learner's, with the critic's own learning rate: the same minibatches, passes, schedule
    and bounds. The optimizer is AdamW, whatever the policy's.
    """

    def __init__(self, policy: Policy, config: LearnerConfig) -> None:
        self._policy, self._config = policy, config
        decoder = policy.model.get_submodule(policy.model.base_model_prefix)
        self._model = ValueModel(decoder, policy.model.config.get_text_config().hidden_size)
        self._model.to(dtype=next(decoder.parameters()).dtype)
        self._replicas = Replicas(self._model, CpuWorkers(workers_on(policy.device)))
        self._optimizer = build_optimizer(self._model, "adamw", config.learning_rate, weight_decay=config.weight_decay)
        self._lr_scale = lr_schedule(config.lr_scheduler_type, config.total_steps, config.warmup_steps)

    def values(self, samples: Sequence[Tokens]) -> list[Tensor]:
        """``V_t`` of each sample's completion tokens, one [T] a sample, on the CPU; without gradient."""

        def run(indices: list[int]) -> list[tuple[int, Tensor]]:
            microbatch = pack(samples, indices, self._policy.device)
            parts = self._values(self._model, microbatch).cpu().split(microbatch.lengths_S.tolist())
            return list(zip(microbatch.indices, parts, strict=True))

        subsets = self._split(samples, range(len(samples)))
        done = frozen(self._replicas.workers, run, subsets, sizes_of(samples, subsets))
        values = dict(pair for pairs in done for pair in pairs)
        return [values[index] for index in range(len(samples))]

    def update(self, samples: Sequence[Tokens], returns_ST: Sequence[Tensor], step: int) -> dict[str, float]:
        """Learns the returns [T] of each sample by the mean squared error over tokens; 0-based ``step``.

        Metrics: ``value/loss`` and ``value/grad_norm`` (before clipping), means over updates. Raises ``UserError``,
        before the optimizer steps, if a loss or a gradient is not finite.
        """
        config = self._config
        self._optimizer.set_lr_scale(self._lr_scale(step))
        losses, norms = [], []
        for epoch in range(config.num_iterations):
            for part in random_parts(samples, config.num_minibatches, seed=config.seed, step=step, epoch=epoch):
                loss, norm = self._update_part(samples, returns_ST, part, step)
                losses.append(loss)
                norms.append(norm)
        return {"value/loss": sum(losses) / len(losses), "value/grad_norm": sum(norms) / len(norms)}

    def save(self, folder: Path) -> None:
        """Writes all that ``load`` needs to resume bit for bit; ``folder`` is replaced as a whole, atomically."""
        with atomic_folder(folder) as new:
            save_state(new, self._model, self._optimizer)

    def load(self, folder: Path) -> None:
        """Restores what ``save`` wrote. ``UserError`` if it is another model's."""
        load_state(folder, self._model, self._optimizer)

    def _update_part(
        self, samples: Sequence[Tokens], returns_ST: Sequence[Tensor], part: Sequence[int], step: int
    ) -> tuple[float, float]:
        """One optimizer step on the samples of ``part``; its loss and the gradient's norm before clipping."""
        num_tokens = sum(len(samples[index].token_ids) for index in part)

        def learn(model: ValueModel, indices: list[int]) -> float:
            microbatch = pack(samples, indices, self._policy.device)
            value_N = self._values(model, microbatch)
            return_N = torch.cat([returns_ST[index] for index in indices]).to(value_N)
            return backward(value_loss(value_N, return_N) / num_tokens, microbatch, step, _NOT_FINITE_ADVICE)

        try:
            subsets = self._split(samples, part)
            loss = sum(self._replicas.accumulate(learn, subsets, sizes_of(samples, subsets)))
            norm = clip_gradient(self._model, self._config.max_grad_norm, step, _NOT_FINITE_ADVICE)
            self._optimizer.step()
        finally:
            self._optimizer.zero_grad()
        return loss, norm

    def _split(self, samples: Sequence[Tokens], indices: Sequence[int]) -> list[list[int]]:
        return split_microbatches(samples, indices, self._config.microbatch_tokens, self._replicas.workers.count)

    def _values(self, model: ValueModel, microbatch: Microbatch) -> Tensor:
        """The value of what stands before each completion token [N]."""
        with self._policy.autocast():
            return cast(
                Tensor,
                model(
                    microbatch.input_ids_T[None],
                    microbatch.position_ids_T[None],
                    microbatch.layout,
                    microbatch.predictor_N,
                ),
            )
