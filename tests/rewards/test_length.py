from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thinkery.models.template import TEMPLATES
from thinkery.rewards.builtin import length_reward
from thinkery.rewards.interfaces import RewardContext
from thinkery.types import UserError


def value(tokens: int, *, longest: int = 20_480, **options: Any) -> float | None:
    return length_reward([range(tokens)], context=RewardContext(TEMPLATES["r1-zero"], longest), **options)[0]


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [(0, 0), (16_384, 0), (16_385, -1 / 4096), (18_432, -0.5), (20_480, -1), (20_481, -1), (40_000, -1)],
)
def test_the_numbers_of_the_paper(tokens: int, expected: float) -> None:
    """DAPO trains with an expected length of 16,384 tokens and a cache of 4,096."""
    assert value(tokens, buffer=4096) == pytest.approx(expected)


def test_a_shorter_maximum_than_the_sampled_one_can_be_named() -> None:
    assert value(80, longest=200, buffer=40, max_length=100) == pytest.approx(-0.5)
    assert value(120, longest=200, buffer=40, max_length=100) == -1.0


def test_the_whole_length_may_be_buffer() -> None:
    assert value(25, longest=100, buffer=100) == pytest.approx(-0.25)


@pytest.mark.parametrize(
    "options",
    [
        {"buffer": 0},
        {"buffer": -5},
        {"buffer": 101},
        {"buffer": True},
        {"buffer": 0.5},
        {"buffer": "40"},
        {"buffer": 40, "max_length": 0},
        {"buffer": 40, "max_length": 30},
        {"buffer": 40, "max_length": 10.5},
        {"buffer": 40, "max_length": 140},
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"reward 'length': (buffer|max_length)"):
        value(1, longest=100, **options)


@given(st.integers(1, 500), st.data())
def test_longer_is_never_better_and_the_value_stays_in_its_range(longest: int, data: st.DataObject) -> None:
    buffer, tokens = data.draw(st.integers(1, longest)), data.draw(st.integers(0, 600))
    shorter, longer = value(tokens, longest=longest, buffer=buffer), value(tokens + 1, longest=longest, buffer=buffer)
    assert shorter is not None
    assert longer is not None
    assert -1.0 <= longer <= shorter <= 0.0
