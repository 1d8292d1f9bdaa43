"""The spread of lengths: its mean, its limit, its order."""

from __future__ import annotations

import math
import random
import statistics

import pytest

from thinkery.plan.lengths import LengthSpread, groups_of


@pytest.mark.parametrize(("mean", "limit", "spread"), [(40, 192, 0.6), (5000, 32768, 0.6), (20000, 32768, 1.0)])
def test_the_mean_after_the_cut_is_the_one_asked_for(mean: float, limit: int, spread: float) -> None:
    lengths = LengthSpread(mean, limit, spread)
    assert statistics.fmean(lengths.quantiles(20000)) == pytest.approx(mean, rel=0.01)
    numbers = random.Random(0)
    drawn = [lengths.draw(numbers) for _ in range(20000)]
    assert statistics.fmean(drawn) == pytest.approx(mean, rel=0.03)
    assert max(drawn) <= limit


def test_far_from_the_limit_it_is_lognormal() -> None:
    logs = [math.log(length) for length in LengthSpread(10000, 10**9, 0.6).quantiles(5000)]
    assert statistics.pstdev(logs) == pytest.approx(0.6, rel=0.01)
    assert statistics.fmean(logs) == pytest.approx(math.log(10000) - 0.6**2 / 2, rel=0.001)


def test_lengths_come_longest_first_and_can_all_be_equal() -> None:
    lengths = LengthSpread(100, 1000).quantiles(64)
    assert lengths == sorted(lengths, reverse=True)
    assert set(LengthSpread(100, 1000, 0.0).quantiles(9)) == {100}
    assert set(LengthSpread(5000, 1000).quantiles(9)) == {1000}


def test_groups_share_the_long_and_the_short_ones_out() -> None:
    groups = groups_of(list(range(100, 0, -1)), 7, 10)
    assert [len(group.completions) for group in groups] == [10] * 10
    assert sorted(length for group in groups for length in group.completions) == list(range(1, 101))
    assert {group.prompt for group in groups} == {7}
    assert max(sum(group.completions) for group in groups) - min(sum(group.completions) for group in groups) <= 100
