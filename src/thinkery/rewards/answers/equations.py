r"""Equations and inequalities: which value a chain gives, and when two of them say the same.

``x = 5``, ``m + n = 33``, ``\frac38 = 0.375`` and ``\frac37 \approx 0.4286`` give a value where the reference is one,
if all constants in the chain are equal; ``7 = 8`` and ``x = 5 = 6`` give
none. Equations in variables are the same up to a constant factor. Left out: solving them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Protocol

from thinkery.recipe.verification import MathPolicy
from thinkery.rewards.answers import algebra
from thinkery.rewards.answers.leaves import same_leaf
from thinkery.rewards.answers.numbers import parse_number
from thinkery.rewards.answers.structure import CompoundAnswer, Leaf, Node, is_variable

_OPPOSITE = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "=": "=", "!=": "!="}
_EQUAL = {"=", "~"}
_NAMES = re.compile(  # |AB|, \angle ABC, S_{ABC}, P(X \le 2), \text{Area}
    r"[|\s]*(?:\\(?:angle|triangle|overline|vec|bar|hat|tilde|dot|overrightarrow|mathbf|mathcal|text|mathrm|left|right|deg|det|dim|operatorname)\s*)*\{?[A-Za-z]{1,12}\}?"
    r"(?:_\{?\w{1,12}\}?)?\s*(?:\([^=]{1,40}\))?[|\s]*"
)
_QUOTIENT_OF_NAMES = re.compile(  # dy/dx, AB/CD
    r"\\d?frac\{d[a-z]?\}\{d[a-z]\}|\\d?frac\{\s*[A-Z]{1,3}\s*\}\{\s*[A-Z]{1,3}\s*\}|[A-Z]{1,3}\s*/\s*[A-Z]{1,3}"
)
_NOT_NAMES = re.compile(r"not|never|wrong|or|and", re.IGNORECASE)
_FUNCTION_OF_X = re.compile(r"[A-Za-z]\s*\(\s*[a-z]\s*\)")


class SameItems(Protocol):
    """How items are compared one by one."""

    def __call__(self, expected: Sequence[Node], given: Sequence[Node], policy: MathPolicy, *, ordered: bool) -> bool:
        """Whether all are the same."""


def is_equation(node: Node) -> bool:
    """Whether a node is an equation, a chain of them, or a list that holds one."""
    if not isinstance(node, CompoundAnswer):
        return False
    if node.kind == "relation":
        return bool(set(node.marks) & _EQUAL) and set(node.marks) <= _EQUAL
    return node.kind == "list" and any(map(is_equation, node.items))


def value_of_chain(node: Node, policy: MathPolicy, *, strictly: bool = False) -> Node | None:
    """What a chain says is the value; of a list of chains their values; None if its constants contradict each other.

    ``strictly``: only a name has a value, not ``a + 3z`` in ``a + 3z = 0``, which is an equation to be compared.
    """
    if not isinstance(node, CompoundAnswer) or not is_equation(node):
        return node
    if node.kind == "list":
        values = [value_of_chain(item, policy, strictly=strictly) for item in node.items]
        found = [value for value in values if value is not None]
        return CompoundAnswer("list", tuple(found), node.marks) if len(found) == len(values) else None
    exact = _exact_items(node)
    value, before = exact[-1], exact[:-1]
    if not all(_rounded(value, item) for item in node.items[len(exact) :]):
        return None
    if not before:
        return value
    named = _is_plain_name(before[0]) if strictly or _is_zero(value) else _is_name(before[0], value)
    if not named and not _same_constants(value, before[0], policy):
        return None
    return value if all(_same_constants(value, item, policy) for item in before[1:]) else None


def as_chain(node: Node, policy: MathPolicy) -> Node:
    """An equation with its steps left out: ``z = 1 + 1 = 2`` -> ``z = 2``, if the steps are equal."""
    if not (isinstance(node, CompoundAnswer) and node.kind == "relation" and len(node.items) > 2 and is_equation(node)):
        return node
    value = value_of_chain(node, policy)
    return node if value is None else CompoundAnswer("relation", (node.items[0], value), ("=",))


def _exact_items(node: CompoundAnswer) -> list[Node]:
    first_rounded = node.marks.index("~") if "~" in node.marks else len(node.marks)
    return list(node.items[: first_rounded + 1])


def _rounded(value: Node, item: Node) -> bool:
    """Whether an item is the value to the decimals that it is written with, rounded or cut off."""
    number = parse_number(item.text) if isinstance(item, Leaf) else None
    expression = algebra.parse(value.text) if isinstance(value, Leaf) else None
    if number is None or expression is None:
        return False
    places = number.places
    return any(algebra.rounds_to(expression + shift, number.value, places) for shift in (0, -algebra.half(places)))


def _is_name(item: Node, value: Node) -> bool:
    """Whether an item is what a value may be called: something that is no constant."""
    if isinstance(item, CompoundAnswer):
        return item.kind in ("tuple", "ratio") and all(map(_is_called, item.items))
    if is_variable(item):
        return True
    if (
        isinstance(value, Leaf)
        and not algebra.is_constant(algebra.parse(value.text))
        and parse_number(value.text) is None
    ):
        return _is_plain_name(item)
    return _is_called(item)


def _is_plain_name(item: Node) -> bool:
    """A variable, ``f(5)``, ``|AB|``, ``\\frac{NO}{BO}``: what stands for one thing."""
    if isinstance(item, CompoundAnswer):
        return item.kind in ("tuple", "ratio") and all(map(_is_plain_name, item.items))
    name = _NAMES.fullmatch(item.text) is not None and not _NOT_NAMES.search(item.text)
    known = algebra.parse(item.text)
    named = name and not (known is not None and algebra.is_constant(known))
    return is_variable(item) or named or _QUOTIENT_OF_NAMES.fullmatch(item.text) is not None


def _is_zero(value: Node) -> bool:
    return isinstance(value, Leaf) and algebra.parse(value.text) == 0


def _is_called(item: Node) -> bool:
    if not isinstance(item, Leaf):
        return False
    expression = algebra.parse(item.text)
    if expression is not None:
        return not algebra.is_constant(expression)
    return _NAMES.fullmatch(item.text) is not None and not _NOT_NAMES.search(item.text)


def _same_constants(value: Node, item: Node, policy: MathPolicy) -> bool:
    if not (isinstance(value, Leaf) and isinstance(item, Leaf)):
        return value == item
    return same_leaf(value.text, item.text, policy) or same_leaf(item.text, value.text, policy)


def same_equation(expected: CompoundAnswer, given: CompoundAnswer, policy: MathPolicy, same_items: SameItems) -> bool:
    """Equations and inequalities in one step: the same up to a constant factor. Chains: link by link."""
    if len(expected.items) != len(given.items):
        return False
    flipped = CompoundAnswer(
        "relation", given.items[::-1], tuple(_OPPOSITE.get(sign, "") for sign in given.marks[::-1])
    )
    items = (*expected.items, *given.items)
    sides: list[Any] = [algebra.parse(item.text) if isinstance(item, Leaf) else None for item in items]
    comparable = len(expected.items) == 2 and all(algebra.is_expression(side) for side in sides)
    constant = comparable and algebra.is_constant(sides[0]) and algebra.is_constant(sides[1])
    if constant and any(
        _is_number(one) != _is_number(other) for one, other in zip(expected.items, given.items, strict=True)
    ):
        return False  # 2 = 2 is not 1 + 1 = 2
    if not comparable or constant or "~" in expected.marks or "in" in expected.marks:
        return any(
            expected.marks == other.marks and same_items(expected.items, other.items, policy, ordered=True)
            for other in (given, flipped)
        )
    if expected.marks == given.marks == ("=",):
        if _is_solved(expected):
            solved = given if is_variable(given.items[0]) else flipped
            names = [form.items[0].text for form in (expected, solved) if isinstance(form.items[0], Leaf)]
            return _same_name(*names) and same_items(expected.items[1:], solved.items[1:], policy, ordered=True)
        if is_variable(expected.items[0]) and is_variable(given.items[0]):
            names = [form.items[0].text for form in (expected, given) if isinstance(form.items[0], Leaf)]
            if _same_name(*names):
                return same_items(expected.items[1:], given.items[1:], policy, ordered=True)
    sign = algebra.proportional(sides[0] - sides[1], sides[2] - sides[3])
    if sign == 0 or expected.marks[0] not in _OPPOSITE or given.marks[0] not in _OPPOSITE:
        return False
    return expected.marks[0] == (
        given.marks[0] if sign > 0 or expected.marks[0] in ("=", "!=") else _OPPOSITE[given.marks[0]]
    )


def _is_number(node: Node) -> bool:
    return isinstance(node, Leaf) and parse_number(node.text) is not None


def _same_name(one: str, other: str) -> bool:
    """Whether two names call the same: ``y`` is ``f(x)``."""
    one, other = "".join(one.split()), "".join(other.split())
    if one == other:
        return True
    return (one == "y" and _FUNCTION_OF_X.fullmatch(other) is not None) or (
        other == "y" and _FUNCTION_OF_X.fullmatch(one) is not None
    )


def _is_solved(node: CompoundAnswer) -> bool:
    """Whether an equation says what a variable is: ``x = 5`` is solved, ``2x = 10`` is not."""
    value: Any = algebra.parse(node.items[1].text) if isinstance(node.items[1], Leaf) else None
    return is_variable(node.items[0]) and algebra.is_constant(value)
