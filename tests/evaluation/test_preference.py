"""Figures of reward models against sums by hand."""

from __future__ import annotations

import itertools
import math
from random import Random

import pytest

from thinkery.evaluation.preference import area_under_curve, calibration, correlation, share_of_longer


def test_the_area_is_the_share_of_pairs_in_order() -> None:
    rng = Random(0)
    scores, positive = [rng.randrange(6) / 2 for _ in range(40)], [rng.random() < 0.4 for _ in range(40)]
    pairs = [
        (a, b)
        for (a, yes), (b, other) in itertools.product(zip(scores, positive, strict=True), repeat=2)
        if yes and not other
    ]
    expected = sum(1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs) / len(pairs)
    assert area_under_curve(scores, positive) == pytest.approx(expected, abs=1e-12)
    assert area_under_curve(scores, [True] * 40) is None


def test_calibration_is_the_mean_distance_of_prediction_and_outcome() -> None:
    report = calibration([0.05, 0.15, 0.12, 0.95, 1.0], [False, True, False, True, True])
    assert [row["count"] for row in report["bins"]] == [1, 2, 2]
    expected = (1 * 0.05 + 2 * abs(0.135 - 0.5) + 2 * (1 - 0.975)) / 5
    assert report["ece"] == pytest.approx(expected)


def test_of_what_comes_true_as_predicted_the_calibration_error_is_small() -> None:
    rng = Random(0)
    predicted = [rng.random() for _ in range(20_000)]
    actual = [rng.random() < p for p in predicted]
    assert calibration(predicted, actual)["ece"] < 0.02
    assert calibration([p**3 for p in predicted], actual)["ece"] > 0.1


def test_correlation_is_spearmans() -> None:
    first, second = [3.0, 1.0, 4.0, 1.5, 9.0], [2.0, 7.0, 1.0, 8.0, 2.5]
    ranks = [[sorted(values).index(v) + 1 for v in values] for values in (first, second)]
    distance = sum((a - b) ** 2 for a, b in zip(*ranks, strict=True))
    assert correlation(first, second) == pytest.approx(1 - 6 * distance / (5 * 24))
    assert correlation([1.0, 2.0, 2.0], [math.exp(v) for v in (1.0, 2.0, 2.0)]) == pytest.approx(1.0)
    assert correlation([1.0, 1.0], [1.0, 2.0]) is None


def test_how_often_the_longer_is_preferred_counts_pairs_of_unequal_length() -> None:
    assert share_of_longer([1.0, -1.0, 0.0, 5.0], [3, 2, 1, 0]) == pytest.approx(0.5)
    assert share_of_longer([1.0, 1.0], [-3, 2]) == 0.5
    assert share_of_longer([1.0], [0]) is None
