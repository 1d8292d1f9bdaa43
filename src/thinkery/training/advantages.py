"""Rewards of a group -> advantages of its completions.

Pure arithmetic in float64. Left out: weighting rewards into totals (the grader's), credit within a completion (GRPO has
none: every token of a completion shares its advantage).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch

Scale = Literal["group", "batch", "none"]

# Below this a spread is the rounding of a weighted sum, not a difference between completions.
SMALLEST_SPREAD = 1e-6


def group_advantages(totals_PG: Sequence[Sequence[float]], scale: Scale = "group") -> list[tuple[float, ...]]:
    """How much better each completion is than its group.

    ``scale`` divides ``r_i - mean(r)`` by

    - ``"group"``: the group's standard deviation, ``A_i = (r_i - mean(r)) / std(r)`` (DeepSeekMath, arXiv 2402.03300,
      section 4.1.2; DeepSeek-R1, eq. 3);
    - ``"batch"``: the standard deviation of the batch's rewards (Liu et al., "Tricks or Traps?", arXiv 2508.08221);
    - ``"none"``: nothing (Dr. GRPO, Liu et al., arXiv 2503.20783, section 3.2).

    ``totals_PG`` holds one sequence of rewards a problem; groups may differ in size. Standard deviations are those of a
    sample (n - 1), as in TRL and verl. A group without spread, or of one completion, gives zeros. Same shape out as in.
    """
    groups = [torch.as_tensor(totals_G, dtype=torch.float64) for totals_G in totals_PG]
    batch_spread = _spread(torch.cat(groups)) if groups else torch.tensor(0.0)
    advantages_PG: list[tuple[float, ...]] = []
    for totals_G in groups:
        spread = _spread(totals_G)
        if spread <= SMALLEST_SPREAD:
            advantages_PG.append((0.0,) * len(totals_G))
            continue
        centred_G = totals_G - totals_G.mean()
        divisor = {"group": spread, "batch": batch_spread, "none": torch.ones(())}[scale]
        advantages_PG.append(tuple((centred_G / divisor).tolist()))
    return advantages_PG


def _spread(totals_N: torch.Tensor) -> torch.Tensor:
    """Sample standard deviation; 0 for fewer than two values, where it is not defined."""
    return totals_N.std() if len(totals_N) > 1 else torch.zeros((), dtype=torch.float64)
