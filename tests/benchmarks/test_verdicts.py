"""The edits of the verdicts' benchmark: their second opinion tells right from wrong, and no wrong one is accepted."""

from __future__ import annotations

import random

import pytest
from verdicts_fuzz import RARE, UntranslatableError, accepted, edits, same_worth, worth, wrong_edits


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("\\frac{3}{4}", "0.75", True), ("2\\sqrt{2}", "\\sqrt{8}", True), ("x+y", "y+x", True),
        ("2x+4y=6", "x+2y=3", True),
        ("1, 2", "2,1", True), ("(1, 2)", "(2,1)", False), ("[1, 2)", "(1,2)", False),
        ("2^{2024}-1", "2^{2024}+1", False),
        ("\\frac12", "\\frac{1}{3}", False), ("a_1+2", "a_2+2", False),
        ("\\lfloor \\frac{n}{3} \\rfloor", "\\lfloor \\frac{n}{4} \\rfloor", False),
        ("1:2:5", "2:4:10", True), ("52_8", "52_9", False), ("3\\frac{1}{4}", "\\frac{13}{4}", True),
    ],
)  # fmt: skip
def test_the_second_opinion_knows_values(one: str, other: str, same: bool) -> None:
    assert same_worth(worth(one, 5), worth(other, 5)) is same


def test_what_it_cannot_write_has_no_second_opinion() -> None:
    with pytest.raises(UntranslatableError):
        worth("\\gcd(m, n)", 5)


def test_edits_change_one_or_two_places() -> None:
    rng = random.Random(0)
    made = edits("3x^{2}-\\frac{5}{7}", rng)
    assert len({next(made) for _ in range(60)}) > 20


def test_no_wrong_edit_is_accepted() -> None:
    pairs = list(wrong_edits(RARE, 1200, seed=42))
    assert len(pairs) == 1200
    assert accepted(pairs) == []
