"""Optimizers and learning-rate schedules behind one small object.

AdamW for everything, or Muon for the hidden matrices with AdamW for embeddings, head, norms and biases (Jordan et al.,
"Muon", 2024). Both are torch's. Left out: parameter-wise rates; parameters that are cut up over ranks
(``cluster/sharded_optimizer.py``).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from thinkery.types import OptimizerKind, Schedule


class Optimizers:
    """One or two torch optimizers driven together; ``base_rates`` are scaled by the schedule."""

    def __init__(self, optimizers: list[torch.optim.Optimizer]) -> None:
        self.optimizers = optimizers
        self._base_rates = [group["lr"] for optimizer in optimizers for group in optimizer.param_groups]

    def set_lr_scale(self, scale: float) -> None:
        """Sets every learning rate to its base value times ``scale``."""
        groups = (group for optimizer in self.optimizers for group in optimizer.param_groups)
        for group, base in zip(groups, self._base_rates, strict=True):
            group["lr"] = base * scale

    def step(self) -> None:
        """Applies the gradients."""
        for optimizer in self.optimizers:
            optimizer.step()

    def zero_grad(self) -> None:
        """Drops the gradients."""
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, Any]:
        """The state of each optimizer, in order."""
        return {"optimizers": [optimizer.state_dict() for optimizer in self.optimizers]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what ``state_dict`` gave."""
        for optimizer, one in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(one)


def build_optimizer(
    model: nn.Module,
    kind: OptimizerKind,
    learning_rate: float,
    *,
    muon_learning_rate: float | None = None,
    weight_decay: float = 0.0,
    betas: tuple[float, float] = (0.9, 0.95),
    muon: Callable[..., torch.optim.Optimizer] = torch.optim.Muon,
) -> Optimizers:
    """AdamW over all parameters, or Muon over the hidden matrices and AdamW over the rest.

    ``learning_rate`` is AdamW's; ``muon_learning_rate`` is Muon's, by default the same, with the update rescaled to
    AdamW's root mean square (Liu et al., "Muon is Scalable", 2025, eq. 4) so that one rate suits both. ``muon`` makes
    the optimizer, of torch's arguments.
    """
    trainable = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    if kind == "adamw":
        return Optimizers([_adamw([p for _, p in trainable], learning_rate, weight_decay, betas)])
    hidden = [p for name, p in trainable if p.ndim == 2 and "embed" not in name and "lm_head" not in name]
    chosen = {id(p) for p in hidden}
    rest = [p for _, p in trainable if id(p) not in chosen]
    if muon_learning_rate is None:
        hidden_optimizer = muon(hidden, lr=learning_rate, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")
    else:
        hidden_optimizer = muon(hidden, lr=muon_learning_rate, weight_decay=weight_decay)
    return Optimizers([hidden_optimizer, _adamw(rest, learning_rate, weight_decay, betas)])


def _adamw(
    parameters: list[nn.Parameter], learning_rate: float, weight_decay: float, betas: tuple[float, float]
) -> torch.optim.AdamW:
    """AdamW that decays matrices only: pulling norms and biases to zero helps nobody."""
    matrices = [p for p in parameters if p.ndim >= 2]
    vectors = [p for p in parameters if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=learning_rate, betas=betas)


def lr_schedule(kind: Schedule, total_steps: int, warmup_steps: int = 0, floor: float = 0.0) -> Callable[[int], float]:
    """The factor on the learning rate by step (0-based): linear warm-up, then the schedule, down to ``floor``."""

    def scale(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / warmup_steps
        progress = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
        if kind == "constant":
            return 1.0
        shape = 1.0 - progress if kind == "linear" else 0.5 * (1.0 + math.cos(math.pi * progress))
        return floor + (1.0 - floor) * shape

    return scale
