"""Confidence intervals by the bootstrap over problems, the unit that was sampled, and over runs if there are several.

Samples of one problem are not independent: resampling them would make intervals look narrower than they are. Models
are compared on the same problems, so their difference is resampled, not each by itself. All in float64; the random
numbers are counted from a seed, so the same values give the same interval. Left out: exact tests (``exact.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
