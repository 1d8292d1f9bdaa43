r"""Single expressions, with their units, as an outer form holds them: equal as numbers, words, values or texts.

What the grammar cannot read is compared by its text, in one spelling, so that every reference that is whole accepts
itself (``f'``, ``G \cong \mathbb{Z}_4``, ``3 \pmod 7``) and nothing else. Left out: outer forms (``structure``).
"""

from __future__ import annotations

import re

from thinkery.recipe.verification import MathPolicy
from thinkery.rewards.answers import algebra
from thinkery.rewards.answers.cleaning import clean, unstyled
from thinkery.rewards.answers.numbers import ROUNDED_PLACES, parse_number, units_agree
from thinkery.rewards.answers.units import NO_UNIT, PERCENT, Unit, read_unit
from thinkery.rewards.answers.words import parse_words, same_product

_TRAILING_UNIT = re.compile(
    r"(?P<value>.*\S)(?P<unit>\s*\\(?:text|mbox|mathrm|textrm)\s*\{[^{}]*\}\s*(?:\^\s*\{?[23]\}?)?|\s+[A-Za-z]{2,}(?:\^\{?[23]\}?)?"
    r"|\\?%|\^\s*\{?\s*\\circ\s*\}?)",
    re.DOTALL,
)
_SYNONYMS = {
    r"\leq": r"\le", r"\geq": r"\ge", r"\neq": r"\ne", r"\leqslant": r"\le", r"\geqslant": r"\ge", r"\lt": "<",
    r"\gt": ">", r"\varphi": r"\phi", r"\varepsilon": r"\epsilon", r"\vert": "|", r"\lvert": "|", r"\rvert": "|",
    r"\colon": ":", r"\to": r"\rightarrow", r"\land": r"\wedge", r"\lor": r"\vee", r"\varnothing": r"\emptyset",
    r"\lbrace": r"\{", r"\rbrace": r"\}", r"\dfrac": r"\frac", r"\tfrac": r"\frac", r"\mid": "|", r"\ast": "*",
}  # fmt: skip
_COMMAND = re.compile(r"\\[A-Za-z]+")
_LONE_BRACES = re.compile(r"(?<!\\)\{(\w)\}")
_DANGLING = re.compile(r"(?:[-+*/^_=<>(]|\\(?:cdot|times|frac|sqrt|cup|cap|le|ge|in|pm))\s*$|^\s*[*/^=<>)]")
_BRACKETS = (("(", ")"), ("[", "]"))


def is_broken(reference: str) -> bool:
    """Whether a reference breaks off or does not close its brackets."""
    text = re.sub(r"\\[{}|]", " ", clean(reference))
    if not text.strip() and reference.strip("{}\\ ") == "":
        return True
    if text.count(r"\begin") != text.count(r"\end") or _DANGLING.search(text):
        return True
    opened = sum(text.count(pair[0]) for pair in _BRACKETS)
    closed = sum(text.count(pair[1]) for pair in _BRACKETS)
    french = text.count("[") + text.count("]") > 0 and text.count("(") == text.count(")")
    return text.count("{") != text.count("}") or (opened != closed and not french)


def same_leaf(expected: str, given: str, policy: MathPolicy) -> bool:
    """Whether two single expressions are the same answer."""
    expected_number, given_number = parse_number(expected, any_unit=expected), parse_number(given, any_unit=expected)
    if expected_number is not None and given_number is not None:
        return given_number.equals(expected_number, policy)
    expected_words = parse_words(expected)
    if expected_words is not None or parse_words(given) is not None:
        return expected_words == parse_words(given) or same_product(expected, given)
    (gold_value, expected_unit), (value, unit) = with_unit(expected, any_word=True), with_unit(given)
    one, other = algebra.parse(gold_value), algebra.parse(value)
    if one is None or other is None:
        return one is other is None and plain_text(expected) == plain_text(given)
    if not units_agree(unit, expected_unit, policy) or (algebra.unevaluated(other) and not algebra.unevaluated(one)):
        return False  # a sum for its value: a question repeated is no answer
    if policy.percent == "literal" and (unit is PERCENT) != (expected_unit is PERCENT):
        return False
    if expected_number is not None and expected_number.places >= ROUNDED_PLACES:
        return algebra.rounds_to(other, expected_number.value, expected_number.places)
    return algebra.same(one, other)


def with_unit(text: str, *, any_word: bool = False) -> tuple[str, Unit]:
    """An expression and the unit that ends it."""
    match = _TRAILING_UNIT.fullmatch(text)
    unit = read_unit(match["unit"], any_word=any_word) if match else None
    return (match["value"], unit) if match and unit is not None and unit != NO_UNIT else (text, NO_UNIT)


def plain_text(text: str) -> str:
    """A text in one spelling: without styles, spaces and lone braces."""
    text = _COMMAND.sub(lambda match: _SYNONYMS.get(match[0], match[0]) + " ", clean(text))
    text = unstyled(text)
    while text != (bare := _LONE_BRACES.sub(r" \1", text)):
        text = bare
    return "".join(text.split())
