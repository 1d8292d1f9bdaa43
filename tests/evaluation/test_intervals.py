"""The bootstrap: seeded, as wide as theory says, and it covers the truth as often as it claims."""

import math

import numpy as np
import pytest

from thinkery.evaluation.intervals import Estimate, Floats, estimate, mean_ci


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


def difference(means: Floats) -> Floats:
    return means[..., 1] - means[..., 0]


def test_pairing_takes_out_what_problems_share() -> None:
    random = np.random.default_rng(0)
    talent = random.normal(size=(1, 400, 1))
    table = talent + np.array([0.0, 0.2]) + 0.1 * random.normal(size=(1, 400, 2))
    found = estimate([table], difference, seed=0)
    error = float(np.std(table[0, :, 1] - table[0, :, 0])) / math.sqrt(400)
    assert found.value == pytest.approx(0.2, abs=0.02)
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.1)
    apart = estimate([table[:, :, :1], table[:, ::-1, 1:]], difference, seed=0)  # resampled each by itself
    assert apart.high - apart.low > 5 * (found.high - found.low)


def test_a_difference_is_covered_as_often_as_claimed() -> None:
    random = np.random.default_rng(1)
    covered = 0
    for i in range(200):
        talent = random.normal(size=(1, 50, 1))
        table = talent + np.array([0.0, 0.3]) + random.normal(size=(1, 50, 2))
        found = estimate([table], difference, seed=i)
        covered += found.low <= 0.3 <= found.high
    assert 0.90 <= covered / 200 <= 0.98


@pytest.mark.slow
def test_runs_that_differ_widen_the_interval_until_it_covers() -> None:
    random = np.random.default_rng(2)
    covered = narrow = 0
    for i in range(100):
        runs = random.normal(scale=0.2, size=(8, 1, 1))
        table = runs * np.array([0.0, 1.0]) + random.normal(scale=0.5, size=(8, 60, 2))
        found = estimate([table], difference, seed=i)
        covered += found.low <= 0 <= found.high
        low, high = mean_ci((table[..., 1] - table[..., 0]).ravel().tolist(), seed=i)
        narrow += low <= 0 <= high
    assert 0.88 <= covered / 100 <= 1
    assert narrow < covered  # as if the runs were one


def test_a_ratio_and_two_tables() -> None:
    lengths = np.array([[[10.0, 30.0]] * 40])
    ratio = estimate([lengths], lambda means: means[..., 1] / means[..., 0], seed=0)
    assert (ratio.value, ratio.low, ratio.high) == (3.0, 3.0, 3.0)
    other = np.array([[[1.0, 5.0, 0.0]] * 7])
    both = estimate([lengths, other], lambda means: means[..., 3] - means[..., 0], seed=0)
    assert both.value == -5.0


def test_a_ratio_that_may_have_nothing_to_divide_by_is_unbounded() -> None:
    table = np.zeros((1, 30, 2))
    table[0, 0] = 1.0
    with np.errstate(divide="ignore", invalid="ignore"):
        found = estimate([table], lambda means: means[..., 1] / means[..., 0], seed=0)
    assert (found.low, found.high) == (-math.inf, math.inf)
    assert not found.above_zero


def test_above_zero_wants_every_run() -> None:
    assert Estimate(0.5, 0.1, 0.9, (0.4, 0.6)).above_zero
    assert not Estimate(0.5, 0.1, 0.9, (-0.01, 1.0)).above_zero
    assert not Estimate(0.5, -0.1, 0.9, (0.4, 0.6)).above_zero
    assert not Estimate(3e-17, 1e-17, 5e-17, (3e-17,)).above_zero  # rounding
    with pytest.raises(ValueError, match="without problems"):
        estimate([np.zeros((2, 0, 1))], lambda means: means[..., 0], seed=0)
