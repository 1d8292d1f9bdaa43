"""The permutation test of a trend, for where a bootstrap has too little to resample: a few points in order.

Two-sided. Left out: intervals (``bootstrap.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PERMUTATIONS = 5_000


@dataclass(frozen=True, slots=True)
class Trend:
    """Kendall's tau (-1: falls throughout, 1: rises throughout) and the p-value of there being no trend."""

    tau: float
    p: float


def trend_test(curves: Sequence[Sequence[float]], *, seed: int) -> Trend:
    """Whether values rise or fall in their order, in all curves together: a permutation test of Kendall's S.

    The S of the curves are added up; under no trend every order within a curve is as likely. The permutations are drawn
    from the seed. Raises ``ValueError`` unless every curve has at least three points.
    """
    arrays = [np.asarray(curve, dtype=np.float64) for curve in curves]
    if not arrays or any(len(array) < 3 for array in arrays):
        raise ValueError("a trend needs at least three points")
    random = np.random.default_rng([seed, *b"trend"])
    observed, drawn, pairs = 0.0, np.zeros(PERMUTATIONS), 0
    for array in arrays:
        signs = np.sign(array[None, :] - array[:, None])
        first, second = np.triu_indices(len(array), k=1)
        pairs += len(first)
        observed += float(signs[first, second].sum())
        order = random.permuted(np.tile(np.arange(len(array)), (PERMUTATIONS, 1)), axis=1)
        for i, j in zip(first, second, strict=True):
            drawn += signs[order[:, i], order[:, j]]
    extreme = int((np.abs(drawn) >= abs(observed)).sum())
    return Trend(observed / pairs, (1 + extreme) / (1 + PERMUTATIONS))


def tenths(values: Sequence[float] | NDArray[np.float64], parts: int = 10) -> list[float]:
    """Means of ``parts`` equal stretches: points further apart than a training curve's noise hangs together."""
    return [float(part.mean()) for part in np.array_split(np.asarray(values, dtype=np.float64), parts) if len(part)]
