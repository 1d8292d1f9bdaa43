"""The bootstrap: seeded, as wide as theory says, and it covers the truth as often as it claims."""

import math

import numpy as np
import pytest

from thinkery.evaluation.bootstrap import mean_ci


def test_the_same_seed_gives_the_same_interval() -> None:
    values = np.random.default_rng(0).random(50).tolist()
    assert mean_ci(values, seed=1) == mean_ci(values, seed=1)
    assert mean_ci(values, seed=1) != mean_ci(values, seed=2)


def test_it_is_as_wide_as_the_normal_approximation() -> None:
    values = (np.random.default_rng(0).random(2000) < 0.3).astype(float).tolist()
    low, high = mean_ci(values, seed=0)
    error = math.sqrt(np.var(values) / len(values))
    assert low == pytest.approx(np.mean(values) - 1.96 * error, abs=0.15 * error)
    assert high == pytest.approx(np.mean(values) + 1.96 * error, abs=0.15 * error)


def test_it_covers_the_truth() -> None:
    random = np.random.default_rng(0)
    intervals = [mean_ci(random.beta(2, 5, size=60).tolist(), seed=i) for i in range(200)]
    covered = sum(low <= 2 / 7 <= high for low, high in intervals)
    assert 0.90 <= covered / 200 <= 0.98


def test_edge_cases() -> None:
    assert mean_ci([1.0, 1.0, 1.0], seed=0) == (1.0, 1.0)
    with pytest.raises(ValueError, match="without problems"):
        mean_ci([], seed=0)
