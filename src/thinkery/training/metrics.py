"""What an update tells about itself: sums over tokens and updates, gathered without waiting for the device.

Metric names are TRL's where it has the metric. Left out: metrics of rewards and of completions (the stage's).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass
class Tally:
    """Running sums of one RL step. ``epsilon`` and ``epsilon_high`` are the bounds whose clipping is counted."""

    epsilon: float
    epsilon_high: float
    _sums: dict[str, Tensor] = field(default_factory=dict)
    _largest_ratio: list[Tensor] = field(default_factory=list)
    _losses: list[float] = field(default_factory=list)
    _grad_norms: list[float] = field(default_factory=list)
    _tokens: int = 0

    def add_tokens(self, ratio_N: Tensor, advantage_N: Tensor, entropy_N: Tensor, mismatch_N: Tensor) -> None:
        """Tokens of a microbatch. ``mismatch_N`` is ``log pi_old - log pi_rollout``, both of the same weights."""
        self._tokens += len(ratio_N)
        self._largest_ratio.append(ratio_N.max())
        self._add("entropy", entropy_N)
        # Clipping acts on the side that the advantage pushes towards, the other side is left open.
        self._add("clip_ratio/low", (ratio_N < 1.0 - self.epsilon) & (advantage_N < 0))
        self._add("clip_ratio/high", (ratio_N > 1.0 + self.epsilon_high) & (advantage_N > 0))
        # k3 of KL(rollout || learner): tokens were sampled by the rollout engine (Schulman 2020).
        self._add("mismatch_kl", torch.expm1(mismatch_N) - mismatch_N)
        self._add("mismatch_abs", mismatch_N.abs())

    def add_kl(self, kl_N: Tensor) -> None:
        """The KL estimates of the same tokens."""
        self._add("kl", kl_N)

    def add_update(self, loss: float, grad_norm: float) -> None:
        """An optimizer step. ``grad_norm`` is the norm before clipping."""
        self._losses.append(loss)
        self._grad_norms.append(grad_norm)

    def metrics(self) -> dict[str, float]:
        """Means over tokens and over updates; only ``tokens_trained`` of a step that trained nothing."""
        metrics = {"tokens_trained": float(self._tokens)}
        if self._losses:
            metrics["loss"] = sum(self._losses) / len(self._losses)
            metrics["grad_norm"] = sum(self._grad_norms) / len(self._grad_norms)
            metrics["ratio/max"] = torch.stack(self._largest_ratio).max().item()
            metrics |= {name: total.item() / self._tokens for name, total in self._sums.items()}
        return metrics

    def _add(self, name: str, value_N: Tensor) -> None:
        total = value_N.sum(dtype=torch.float64)
        self._sums[name] = self._sums[name] + total if name in self._sums else total
