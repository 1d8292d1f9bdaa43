"""Units are those of a list, with their factors; no other word follows a number."""

from __future__ import annotations

from fractions import Fraction

import pytest

from thinkery.rewards.answers.numbers import parse_number
from thinkery.rewards.answers.units import NO_UNIT, PERCENT, read_unit


@pytest.mark.parametrize(
    ("text", "dimension", "factor"),
    [
        ("cm", "length", "1/100"), ("\\text{ cm}", "length", "1/100"), ("\\mbox{ cm}^2", "length^2", "1/10000"),
        ("\\ \\text{square centimeters}", "length^2", "1/10000"), (" \\text{km/h}", "length time^-1", "5/18"),
        ("\\ \\mathrm{m/s^2}", "length time^-2", "1"), (" \\text{kg}\\cdot\\text{m/s}", "length mass time^-1", "1"),
        ("\\text{ N}", "length mass time^-2", "1"), (" miles per hour", "length time^-1", "1397/3125"),
        ("平方厘米", "length^2", "1/10000"), ("\\text{个}", "个", "1"), (" liters", "length^3", "1/1000"),
        ("\\text{ units}^2", "unit^2", "1"), (" apples", "apple", "1"), ("^\\circ", "angle", "1"),
        (" degrees", "angle", "1"),
        ("_8", "base 8", "1"), ("_{\\text{two}}", "base 2", "1"), ("\\,\\Omega", "resistance", "1"),
    ],
)  # fmt: skip
def test_reads_units(text: str, dimension: str, factor: str) -> None:
    unit = read_unit(text.replace("\\,", " "))
    assert unit is not None
    assert (unit.dimension, unit.factor) == (dimension, Fraction(factor))


def test_percent_and_nothing_have_one_unit_each() -> None:
    assert read_unit("") is NO_UNIT
    assert read_unit("\\%") is read_unit(" percent") is read_unit("\\text{ pct}") is PERCENT


WORDS = [
    "is wrong",
    "is incorrect",
    "tens",
    "lakh",
    "crore",
    "halves",
    "thirds",
    "dozen",
    "million",
    "k",
    "or so",
    "except zero",
    "less",
    "more",
    "squared",
    "factorial",
    "times two",
    "negative",
    "but not",
    "if true",
    "ish",
    "score",
    "gross",
    "th",
    "e3",
    "untrue",
    "pairs of tens",
]


@pytest.mark.parametrize("word", WORDS)
def test_no_other_word_is_a_unit(word: str) -> None:
    assert read_unit(f"\\text{{ {word}}}") is None
    assert parse_number(f"5\\text{{ {word}}}") is None


@pytest.mark.parametrize("text", ["打", "万", "百", "不", "x", "xy", "m", "N", "mg h", " abc"])
def test_neither_are_characters_that_change_a_value_nor_letters_of_a_product(text: str) -> None:
    assert read_unit(text) is None


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ("100 cm", "1\\text{ m}", True), ("1.5 hours", "90 min", True), ("50 cents", "\\$0.50", True),
        ("5 kg", "5\\text{ g}", False), ("5 kg", "5 cm", False), ("36\\text{ km/h}", "10\\text{ m/s}", True),
        ("1 liter", "1000\\text{ cm}^3", True), ("20°C", "20°F", False), ("5 apples", "5 oranges", False),
    ],
)  # fmt: skip
def test_units_of_one_dimension_are_converted(one: str, other: str, equal: bool) -> None:
    a, b = parse_number(one), parse_number(other)
    assert a is not None
    assert b is not None
    assert a.equals(b) == b.equals(a) == equal


def test_of_a_reference_any_word_is_a_unit_that_its_answers_may_repeat() -> None:
    reference = parse_number("6\\text{ zorgs}", any_unit="6\\text{ zorgs}")
    assert reference is not None
    assert parse_number("6\\text{ zorgs}") is None
    assert parse_number("6 zorgs", any_unit="6\\text{ zorgs}") == reference
    assert parse_number("6\\text{ blips}", any_unit="6\\text{ zorgs}") is None
    assert parse_number("6\\text{ million}", any_unit="6\\text{ million}") is None
