r"""Answers that are plain numbers, read exactly: no floats, no sympy, microseconds.

A number is an integer, a terminating or repeating decimal, a fraction, a mixed number, a ratio or a power of ten,
dressed as people and models write them: ``\$32,\!348``, ``\frac12``, ``7.``, ``-.5``, ``1e3``, ``1 000``, ``1'000``,
``1\frac{4}{5}``, ``0.\overline{3}``, ``3:4``, ``(33)``, ``x=5``, ``m+n=33``, ``30^\circ``, ``5.4 \text{ cents}``,
``52_8``, ``５０％``. What still holds an operation (``6*7``, ``2^{10}``, ``84/12``) is not a number: it would let a
model
answer a question by repeating it. (The grader of Lightman et al. 2023, PRM800K, demands likewise an integer where the
reference is one.) Left out: units (``units``), words (``words``), numerals in words, and what means different things in
different countries (``1.000``, ``3,5``, ``1_000``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache

from thinkery.recipe.verification import MathPolicy
from thinkery.rewards.answers.cleaning import clean
from thinkery.rewards.answers.units import NO_UNIT, PERCENT, RATIO, Unit, currency, read_unit

ROUNDED_PLACES = 4  # a reference with as many decimals may be a rounded value; 0.5 is not
MAX_ANSWER = 512  # characters; the longest reference of MATH-500 has 53
_DEFAULT = MathPolicy()

# What a value can be called: x, a_{3}, f(5), AB, |AB|, \angle ABC, \triangle ABC, P(X \le 2), and sums of names: m+n.
_NAME = (
    r"(?:\|?[A-Za-z]{1,3}(?:_(?:\w|\{\w+\}))?'?\|?|\\(?:angle|overline|triangle|theta|alpha|beta|phi|"
    r"lambda|mu)\s*\{?[A-Za-z]{0,4}\}?)"
)
_CALLED = rf"{_NAME}(?:\((?:[A-Za-z0-9, ]|\\(?:le|ge|leq|geq)\b|[<>=]){{1,20}}\))?"
_ASSIGNMENT = re.compile(rf"{_CALLED}(?P<more>(?:\s*(?:[+-]|\\cdot)\s*{_CALLED}){{0,3}})\s*=(?!=)\s*")


def strip_assignment(text: str) -> str:
    """``x = 5`` -> ``5``; ``f(x) = 2x`` -> ``2x``; a chain or any other left-hand side stays as it is."""
    if "=" not in text:
        return text
    match = _ASSIGNMENT.match(text)
    return text[match.end() :] if match and "=" not in text[match.end() :] else text


def is_equation_of_several(text: str) -> bool:
    """Whether a text equates a sum of names with something: of ``x + y = 5`` nobody knows whether 5 is its value."""
    match = _ASSIGNMENT.match(clean(text)) if "=" in text else None
    return match is not None and bool(match["more"])


def names_differ(one: str, other: str) -> bool:
    """Whether two assignments are to different names: ``x = 7`` is not ``a = 7``."""
    if "=" not in one or "=" not in other:
        return False
    names = ["".join(clean(text).partition("=")[0].split()) for text in (one, other)]
    return names[0] != names[1]


@dataclass(frozen=True, slots=True)
class Number:
    """An exact value with the unit it was written with. ``places`` counts the decimals it was written with."""

    value: Fraction
    unit: Unit = NO_UNIT
    places: int = field(default=0, compare=False)

    def __str__(self) -> str:
        return str(self.value) + ("%" if self.unit is PERCENT else "")

    def equals(self, other: Number, policy: MathPolicy = _DEFAULT) -> bool:
        """Whether two numbers are the same answer; ``policy`` decides about units and percents. Symmetric."""
        ours, theirs = (self, other) if policy.percent == "either" else (self._literal(), other._literal())
        unit, their_unit = ours.unit, theirs.unit
        if ours.value == theirs.value:
            if unit is not their_unit and RATIO in (unit, their_unit) and NO_UNIT in (unit, their_unit):
                return self.value.denominator > 1  # 3:4 is 3/4
            return units_agree(unit, their_unit, policy)
        if unit is their_unit or policy.percent == "literal" or policy.units == "required":
            return False
        if unit is not NO_UNIT and their_unit is not NO_UNIT:
            return (
                unit.dimension == their_unit.dimension and ours.value * unit.factor == theirs.value * their_unit.factor
            )
        percent, plain = (self, other) if unit is PERCENT else (other, self)
        return percent.unit is PERCENT and percent.value == plain.value * 100

    def _literal(self) -> Number:
        return Number(self.value / 100) if self.unit is PERCENT else self


def units_agree(one: Unit, other: Unit, policy: MathPolicy) -> bool:
    """Whether the units of two equal values may stand for each other."""
    if one is other:
        return True
    if one.dimension == other.dimension and one.factor == other.factor:
        return True
    if policy.units == "required":
        return False
    names = (one.dimension, other.dimension)
    if "ratio" in names or all(name.startswith("base ") for name in names):
        return False  # a ratio and a base are part of the value
    return not all(names) or policy.units == "ignored"


_INTEGER = re.compile(r"[+-]?[0-9]{1,300}")
_NUMBER = re.compile(
    r"""
    (?P<sign>[+-]?)\s*(?:\\?(?P<currency>[$€£¥])\s*(?P<inner_sign>-?))?
    (?: (?:(?P<whole>[0-9]+)\s*)?\\frac\s*
        (?:\{\s*(?P<frac_n>[+-]?[0-9]+)\s*\}|(?P<digit_n>[0-9]))\s*
        (?:\{\s*(?P<frac_d>-?[0-9]+)\s*\}|(?P<digit_d>[0-9]))
      | (?:(?P<slash_whole>[0-9]+)\s+)?(?P<slash_n>[0-9]+)\s*/\s*(?P<slash_d>[0-9]+)
      | (?P<ratio_n>[0-9]+)\s*:\s*(?P<ratio_d>[0-9]+)
      | (?P<head>[0-9]*)\.(?P<stem>[0-9]*)\\(?:overline|bar|dot)\s*\{?(?P<period>[0-9]{1,40})\}?
      | (?P<decimal>(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]{1,3}(?:\ [0-9]{3})+|[0-9]{1,3}(?:'[0-9]{3})+|[0-9]+)(?:\.[0-9]*)?
                   |\.[0-9]+)
        (?:[eE](?P<e>[+-]?[0-9]{1,3})|\s*(?:\\times|\\cdot|\*)\s*10\s*\^\s*(?P<ten>\{[+-]?[0-9]{1,3}\}|-?[0-9]{1,3}))?
    )
    (?P<unit>.*)
    """,
    re.VERBOSE | re.DOTALL,
)
_BRACKETED = re.compile(r"\(\s*([^()]*)\s*\)((?:_|\\?%|\s*\\(?:text|mathrm|mbox)).*)?", re.DOTALL)


def _value(match: re.Match[str]) -> Fraction | None:
    """The number that ``_NUMBER`` matched. A quotient that is an integer is an unevaluated division: None."""
    if match["decimal"]:
        exponent = match["e"] or (match["ten"] or "0").strip("{}")
        # Three digits of exponent cost nothing; Fraction would compute 10**(10**9) if the pattern let it through.
        digits = match["decimal"].replace(",", "").replace(" ", "").replace("'", "")
        value = Fraction(digits) if "." in digits else Fraction(int(digits))
        if exponent != "0":
            value *= Fraction(10) ** int(exponent)
    elif match["period"]:
        shift = 10 ** len(match["stem"])
        repeated = Fraction(int(match["period"]), 10 ** len(match["period"]) - 1)
        value = (int((match["head"] + match["stem"]) or 0) + repeated) / shift
    elif match["ratio_n"]:
        if re.fullmatch("[0-5][0-9]", match["ratio_d"]) or not int(match["ratio_d"]):
            return None  # a time of day
        value = Fraction(int(match["ratio_n"]), int(match["ratio_d"]))
    else:
        numerator = int(match["frac_n"] or match["digit_n"] or match["slash_n"])
        denominator = int(match["frac_d"] or match["digit_d"] or match["slash_d"])
        if denominator == 0 or numerator % denominator == 0:
            return None
        whole = match["whole"] or match["slash_whole"]
        if whole and (numerator < 0 or denominator < 0):
            return None
        value = Fraction(numerator, denominator) + int(whole or 0)
    return -value if (match["sign"] == "-") != (match["inner_sign"] == "-") else value


@lru_cache(maxsize=8192)  # a group repeats its reference, and mostly its answers
def parse_number(text: str, *, any_unit: str = "") -> Number | None:
    """Reads an answer as an exact number, or None if it is anything else.

    ``any_unit``: the reference itself, whose unit may be any word; its answers may repeat that word.
    """
    if len(text) > MAX_ANSWER:
        return None
    if _INTEGER.fullmatch(text):
        return Number(Fraction(int(text)))
    is_reference, original = text == any_unit, text
    text = strip_assignment(clean(text))
    if text.startswith("("):
        bracketed = _BRACKETED.fullmatch(text)
        text = clean(bracketed[1]) + (bracketed[2] or "") if bracketed else text
    match = _NUMBER.fullmatch(text)
    if match is None:
        return None
    unit = read_unit(match["unit"], any_word=is_reference)
    if unit is None and any_unit and not is_reference:
        theirs, own = parse_number(any_unit, any_unit=any_unit), read_unit(match["unit"], any_word=True)
        unit = own if theirs is not None and own == theirs.unit else None
    value = None if unit is None else _value(match)
    if unit is None or value is None or (not value and is_equation_of_several(original)):
        return None
    if match["currency"]:
        unit = currency(match["currency"])
    elif match["ratio_n"]:
        unit = RATIO
    return Number(value, unit, len((match["decimal"] or "").partition(".")[2]))
