"""What an update tells about itself: sums over the tokens of each microbatch, put together over updates.

Metric names are TRL's where it has the metric. Left out: metrics of rewards and of completions (the stage's).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class TokenSums:
    """The tokens of a microbatch in a few numbers, which may come from another process."""

    tokens: int
    largest_ratio: float
    sums: dict[str, float]


def token_sums(
    ratio_N: Tensor,
    advantage_N: Tensor,
    entropy_N: Tensor,
    mismatch_N: Tensor,
    kl_N: Tensor | None,
    *,
    epsilon: float,
    epsilon_high: float,
) -> TokenSums:
    """Sums up a microbatch, waiting once for the device.

    ``mismatch_N`` is ``log pi_old - log pi_rollout``, both of the same weights; ``kl_N`` are the KL estimates;
    ``epsilon`` and ``epsilon_high`` are the bounds whose clipping is counted.
    """
    values = {
        "entropy": entropy_N,
        # Clipping acts on the side that the advantage pushes towards, the other side is left open.
        "clip_ratio/low": (ratio_N < 1.0 - epsilon) & (advantage_N < 0),
        "clip_ratio/high": (ratio_N > 1.0 + epsilon_high) & (advantage_N > 0),
        # k3 of KL(rollout || learner): tokens were sampled by the rollout engine (Schulman 2020).
        "mismatch_kl": torch.expm1(mismatch_N) - mismatch_N,
        "mismatch_abs": mismatch_N.abs(),
    }
    if kl_N is not None:
        values["kl"] = kl_N
    totals = [value_N.sum(dtype=torch.float64) for value_N in values.values()]
    *sums, largest = torch.stack([*totals, ratio_N.max().to(torch.float64)]).tolist()
    return TokenSums(len(ratio_N), largest, dict(zip(values, sums, strict=True)))


@dataclass
class Tally:
    """Running sums of one RL step."""

    _tokens: int = 0
    _largest_ratio: float = 0.0
    _sums: dict[str, float] = field(default_factory=dict)
    _losses: list[float] = field(default_factory=list)
    _grad_norms: list[float] = field(default_factory=list)

    def add_tokens(self, seen: TokenSums) -> None:
        """The tokens of a microbatch."""
        self._tokens += seen.tokens
        self._largest_ratio = max(self._largest_ratio, seen.largest_ratio)
        for name, total in seen.sums.items():
            self._sums[name] = self._sums.get(name, 0.0) + total

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
            metrics["ratio/max"] = self._largest_ratio
            metrics |= {name: total / self._tokens for name, total in self._sums.items()}
        return metrics
