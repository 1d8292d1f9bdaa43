"""Confidence intervals by the bootstrap over problems (and over runs), and the permutation test of a trend.

The problem is the unit that was sampled. Left out: which figures are made of samples (``metrics.py``, ``samples.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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


Floats = NDArray[np.float64]
Statistic = Callable[[Floats], Floats]  # means (..., C) -> values (...)

RESAMPLES = 2000
_NOTHING = 1e-9  # what rounding may leave of models that are alike
_BLOCK = 2_000_000  # numbers drawn at a time: bounds the memory, whatever the number of problems


def mean_ci(values_P: Sequence[float] | Floats, *, seed: int, confidence: float = 0.95) -> tuple[float, float]:
    """The percentile interval of the mean over problems (Efron 1979): ``values_P`` holds one value per problem."""
    values = np.asarray(values_P, dtype=np.float64)
    if not len(values):
        raise ValueError("no interval without problems")
    return _interval(_resampled(values[None, :, None], seed, "table 0")[:, 0, 0], confidence)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure, its interval at ``confidence``, and the figure of every run by itself."""

    value: float
    low: float
    high: float
    by_run: tuple[float, ...]

    @property
    def above_zero(self) -> bool:
        """Whether the interval lies above zero, and the figure of every run does too."""
        return self.low > _NOTHING and all(value > _NOTHING for value in self.by_run)

    @property
    def interval(self) -> list[float]:
        """The two ends, for JSON."""
        return [self.low, self.high]


def estimate(tables: Sequence[Floats], statistic: Statistic, *, seed: int, confidence: float = 0.95) -> Estimate:
    """A statistic of column means, with its percentile interval.

    Every table is (R, P, C): R runs, P problems (or steps) that the runs share, C columns; the tables share R.
    ``statistic`` sees the means of all tables' columns side by side, (..., sum of C), and may be any smooth function of
    them: a difference, a ratio, a slope. Problems are resampled jointly for all runs and models, and runs with
    replacement beside them (the pigeonhole bootstrap, Owen 2007), because the runs share their problems. With two runs
    the spread between runs is known but roughly: ``Estimate.above_zero`` therefore wants the sign of each.
    Raises ``ValueError`` for tables without rows.
    """
    if not tables or any(not table.size for table in tables):
        raise ValueError("no interval without problems")
    num_runs = tables[0].shape[0]
    resampled_BRC = np.concatenate([_resampled(table, seed, f"table {t}") for t, table in enumerate(tables)], axis=2)
    random = np.random.default_rng([seed, *b"runs"])
    runs_BR = random.multinomial(num_runs, np.full(num_runs, 1 / num_runs), size=RESAMPLES) / num_runs
    draws = statistic(np.einsum("br,brc->bc", runs_BR, resampled_BRC))
    means_RC = np.concatenate([table.mean(axis=1) for table in tables], axis=1)
    low, high = _interval(draws, confidence)
    by_run = tuple(float(value) for value in statistic(means_RC))
    return Estimate(float(statistic(means_RC.mean(axis=0))), low, high, by_run)


def _resampled(table: Floats, seed: int, purpose: str) -> Floats:
    """(B, R, C): the column means of a table (R, P, C) in every resample of its P rows."""
    size = table.shape[1]
    random = np.random.default_rng([seed, *purpose.encode()])
    means = []
    for start in range(0, RESAMPLES, block := max(1, _BLOCK // size)):
        count = min(block, RESAMPLES - start)
        chosen = random.integers(size, size=(count, size)) + size * np.arange(count)[:, None]
        shares = np.bincount(chosen.ravel(), minlength=count * size).reshape(count, size) / size
        means.append(np.tensordot(shares, table, axes=([1], [1])))
    return np.concatenate(means)


def _interval(draws: Floats, confidence: float) -> tuple[float, float]:
    # A resample in which a ratio has nothing to divide by says nothing: it counts as extreme on both sides.
    low = np.quantile(np.nan_to_num(draws, nan=-np.inf), (1 - confidence) / 2, method="lower")
    high = np.quantile(np.nan_to_num(draws, nan=np.inf), (1 + confidence) / 2, method="higher")
    return float(low), float(high)
