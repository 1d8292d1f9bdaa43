"""Exact tests against full enumeration and closed forms."""

from itertools import permutations
from math import comb

import numpy as np
import pytest

from thinkery.evaluation.intervals import tenths, trend_test


def kendall(values: list[float]) -> float:
    return sum(float(np.sign(b - a)) for i, a in enumerate(values) for b in values[i + 1 :])


def test_a_trend_against_all_permutations() -> None:
    values = [0.1, 0.4, 0.3, 0.2, 0.9, 0.8]
    scores = [abs(kendall(list(order))) for order in permutations(values)]
    exact = sum(score >= abs(kendall(values)) for score in scores) / len(scores)
    found = trend_test([values], seed=0)
    assert found.tau == pytest.approx(kendall(values) / comb(6, 2))
    assert found.p == pytest.approx(exact, abs=0.01)


def test_curves_are_taken_together_but_not_compared() -> None:
    rising = [[1.0, 2.0, 3.0, 4.0], [101.0, 102.0, 103.0, 104.0]]
    found = trend_test(rising, seed=0)
    assert found.tau == 1
    assert found.p == pytest.approx(2 / 24**2, abs=0.002)
    assert trend_test(rising[:1], seed=0).p == pytest.approx(2 / 24, abs=0.01)
    opposed = trend_test([rising[0], rising[1][::-1]], seed=0)
    assert (opposed.tau, opposed.p) == (0, 1)


def test_no_trend_is_found_as_rarely_as_claimed() -> None:
    random = np.random.default_rng(0)
    found = [trend_test([random.random(10), random.random(10)], seed=i).p < 0.05 for i in range(60)]
    assert sum(found) <= 8


def test_tenths_are_means_in_order() -> None:
    assert tenths(range(20)) == [0.5, 2.5, 4.5, 6.5, 8.5, 10.5, 12.5, 14.5, 16.5, 18.5]
    assert tenths([1, 2, 3]) == [1, 2, 3]
    with pytest.raises(ValueError, match="three points"):
        trend_test([[1.0, 2.0]], seed=0)
