"""Advantages against the formulas, computed with the standard library."""

from __future__ import annotations

import statistics

import pytest

from thinkery.training.losses import group_advantages

GROUPS = [[1.0, 0.0, 0.0, 1.2], [0.2, 0.2, 0.2], [0.5, 1.5]]


def test_group_scale_divides_by_the_groups_sample_deviation() -> None:
    first, _, last = group_advantages(GROUPS, "group")
    mean, spread = statistics.mean(GROUPS[0]), statistics.stdev(GROUPS[0])
    assert first == pytest.approx([(total - mean) / spread for total in GROUPS[0]])
    assert last == pytest.approx([-(0.5**0.5), 0.5**0.5])


def test_batch_scale_divides_by_the_deviation_of_all_rewards() -> None:
    spread = statistics.stdev([total for totals in GROUPS for total in totals])
    assert group_advantages(GROUPS, "batch")[2] == pytest.approx([-0.5 / spread, 0.5 / spread])


def test_no_scale_only_centres() -> None:
    assert group_advantages(GROUPS, "none")[0] == pytest.approx([0.45, -0.55, -0.55, 0.65])


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_a_group_without_spread_gives_exact_zeros(scale: str) -> None:
    rounding = 0.1 + 0.2  # not 0.3: a difference that is no difference
    groups = [[0.2] * 5, [1.0], [rounding, 0.3, 0.3]]
    assert group_advantages(groups, scale) == [(0.0,) * 5, (0.0,), (0.0,) * 3]


def test_no_groups_give_no_advantages() -> None:
    assert group_advantages([]) == []
