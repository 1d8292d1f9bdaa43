"""How good a reward model is on held-out data: accuracy, AUC, calibration, and whether it has learnt to like length.

Left out: what was held out (``stages/reward_model.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

BINS = 10


def area_under_curve(scores: Sequence[float], positive: Sequence[bool]) -> float | None:
    """How often a positive scores above a negative, ties half (Mann and Whitney 1947); None without both."""
    ranks = _ranks(scores)
    truth = np.asarray(positive, dtype=bool)
    above, below = int(truth.sum()), int((~truth).sum())
    if not above or not below:
        return None
    return float((ranks[truth].sum() - above * (above + 1) / 2) / (above * below))


def calibration(predicted: Sequence[float], actual: Sequence[bool], bins: int = BINS) -> dict[str, Any]:
    """Expected calibration error (Guo et al. 2017, eq. 5) of probabilities, and the bins that it is the mean over.

    Bins are of equal width; each has its count, its mean prediction and the share that came true.
    """
    p, y = np.asarray(predicted, dtype=np.float64), np.asarray(actual, dtype=np.float64)
    places = np.minimum((p * bins).astype(int), bins - 1)
    rows, error = [], 0.0
    for place in range(bins):
        inside = places == place
        if count := int(inside.sum()):
            mean, share = float(p[inside].mean()), float(y[inside].mean())
            rows.append({"count": count, "predicted": mean, "actual": share})
            error += count / len(p) * abs(mean - share)
    return {"ece": error, "bins": rows}


def correlation(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Spearman's rank correlation, which no outlier can carry; None where one side is constant."""
    a, b = _ranks(first), _ranks(second)
    if len(a) < 2 or a.std() == 0 or b.std() == 0:
        return None
    return float(np.corrcoef(a, b)[0, 1])


def share_of_longer(preference: Sequence[float], excess: Sequence[int]) -> float | None:
    """Of pairs (first, second), how often the longer one is preferred; None if all are of equal length.

    ``preference`` is positive where the first is preferred, ``excess`` is the first's length less the second's.
    """
    unequal = [(p, e) for p, e in zip(preference, excess, strict=True) if e]
    if not unequal:
        return None
    return sum(0.5 if p == 0 else float((p > 0) == (e > 0)) for p, e in unequal) / len(unequal)


def _ranks(values: Sequence[float]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Ranks from 1; ties share the mean of theirs."""
    _, inverse, counts = np.unique(np.asarray(values, dtype=np.float64), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return ((last - (counts - 1) / 2)[inverse]).astype(np.float64)
