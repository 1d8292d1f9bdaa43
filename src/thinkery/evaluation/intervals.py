"""Confidence intervals by the bootstrap over problems, the unit that was sampled.

Samples of one problem are not independent: resampling them would make intervals look narrower than they are.
Left out: paired comparison of two models.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def bootstrap_ci(
    values_P: Sequence[float], *, seed: int, confidence: float = 0.95, resamples: int = 4000
) -> tuple[float, float]:
    """The percentile interval of the mean over problems (Efron 1979): ``values_P`` holds one value per problem.

    The same seed and values give the same interval.
    """
    if not values_P:
        raise ValueError("no interval without problems")
    values = np.asarray(values_P, dtype=np.float64)
    random = np.random.default_rng(seed)
    means = [values[random.integers(len(values), size=len(values))].mean() for _ in range(resamples)]
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
