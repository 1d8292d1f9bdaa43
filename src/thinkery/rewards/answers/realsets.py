r"""Sets of real numbers, however they are written: intervals, unions, inequalities, differences, points.

``x < -1`` or ``x > 1``, ``(-\infty, -1) \cup (1, \infty)`` and ``\mathbb{R} \setminus [-1, 1]`` are one set. Two sets
are equal if they hold the same of all ends that occur in either and the same of the gaps between them. Left out: sets
whose ends hold variables, and sets of whole numbers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cmp_to_key
from typing import Any

import sympy  # type: ignore[import-untyped]

from thinkery.rewards.answers import algebra, comparison
from thinkery.rewards.answers.structure import CompoundAnswer, Leaf, Node, is_variable

_REALS = re.compile(r"\\(?:mathbb|mathbf|mathrm|bf)\s*\{?\s*R\s*\}?|\\R(?:eals)?|R|all real numbers", re.IGNORECASE)
_EMPTY = re.compile(r"\\emptyset|\\\{\s*\\\}|\{\s*\}|no solutions?", re.IGNORECASE)
_ORDER = {"<", "<=", ">", ">=", "!=", "="}


def is_set(node: Node, *, strictly: bool = False) -> bool:
    """Whether a node can be read as a set of real numbers; ``strictly``: as nothing else (a pair is a point, too)."""
    if isinstance(node, Leaf):
        return _REALS.fullmatch(node.text) is not None or _EMPTY.fullmatch(node.text) is not None
    if node.kind in ("union", "without"):
        return all(map(is_set, node.items))
    if node.kind == "set":
        return all(_end(item) is not None for item in node.items)
    if node.kind == "tuple":
        return not strictly and len(node.items) == 2 and all(_end(item) is not None for item in node.items)
    if node.kind == "list":
        return node.marks == ("or",) and all(
            isinstance(item, CompoundAnswer) and _inequality(item) for item in node.items
        )
    return _inequality(node) and not (strictly and set(node.marks) == {"="})


def same_sets(expected: Node, given: Node, *, ends_matter: bool) -> bool:
    """Whether two sets are the same; without ``ends_matter`` an interval's ends may be in it or not."""
    names = [_variables(node) for node in (expected, given)]
    if all(names) and names[0] != names[1]:
        return False
    ends = _ends(expected) + _ends(given)
    distinct: list[Any] = []
    for end in sorted((end for end in ends if end not in (sympy.oo, -sympy.oo)), key=cmp_to_key(_compare)):
        if not distinct or not algebra.same(distinct[-1], end):
            distinct.append(end)
    for position in range(2 * len(distinct) + 1):  # odd: at an end; even: in the gap before it
        if position % 2 and not ends_matter:
            continue
        if _holds(expected, position, distinct) != _holds(given, position, distinct):
            return False
    return True


def _compare(one: Any, other: Any) -> int:
    gap = comparison.constant(one - other)
    return 0 if gap is None or gap == 0 else (1 if gap > 0 else -1)


def _end(node: Node) -> Any:
    """The real constant that a node is, or None."""
    expression: Any = algebra.parse(node.text) if isinstance(node, Leaf) else None
    if expression in (sympy.oo, -sympy.oo):
        return expression
    if not algebra.is_constant(expression) or expression.has(sympy.oo, sympy.I):
        return None
    value = comparison.constant(expression)
    return expression if value is not None and comparison.is_real(value) else None


def _inequality(node: CompoundAnswer) -> bool:
    """``x < 5``, ``1 < x \\le 2``, ``x \\ne 3``: one variable, and constants beside it."""
    if node.kind != "relation" or not set(node.marks) <= _ORDER or len(node.items) > 3:
        return False
    variables = [is_variable(item) for item in node.items]
    others = [item for item, variable in zip(node.items, variables, strict=True) if not variable]
    if variables.count(True) != 1 or any(_end(item) is None for item in others):
        return False
    return len(node.items) == 2 or (variables[1] and {sign[0] for sign in node.marks} in ({"<"}, {">"}))


def _variables(node: Node) -> set[str]:
    if isinstance(node, Leaf):
        return set()
    if node.kind == "relation":
        return {item.text for item in node.items if isinstance(item, Leaf) and is_variable(item)}
    return set[str]().union(*map(_variables, node.items))


def _ends(node: Node) -> list[Any]:
    if isinstance(node, Leaf):
        return []
    if node.kind in ("union", "without", "list"):
        return [end for item in node.items for end in _ends(item)]
    return [_end(item) for item in node.items if not (node.kind == "relation" and is_variable(item))]


def _place(end: Any, distinct: Sequence[Any]) -> float:
    """The position of an end among all ends."""
    if end in (sympy.oo, -sympy.oo):
        return float("inf") if end is sympy.oo else float("-inf")
    return next(2 * k + 1 for k, other in enumerate(distinct) if algebra.same(other, end))


def _holds(node: Node, position: int, distinct: Sequence[Any]) -> bool:
    """Whether a set holds what stands at a position."""
    if isinstance(node, Leaf):
        return _EMPTY.fullmatch(node.text) is None
    if node.kind in ("union", "list"):
        return any(_holds(item, position, distinct) for item in node.items)
    if node.kind == "without":
        return _holds(node.items[0], position, distinct) and not any(
            _holds(item, position, distinct) for item in node.items[1:]
        )
    if node.kind == "set":
        return any(_place(_end(item), distinct) == position for item in node.items)
    if node.kind == "tuple":
        low, high = (_place(_end(item), distinct) for item in node.items)
        inside = low < position < high
        return inside or (position == low and node.marks[0] == "[") or (position == high and node.marks[1] == "]")
    places = [position if is_variable(item) else _place(_end(item), distinct) for item in node.items]
    return all(_in_order(places[k], sign, places[k + 1]) for k, sign in enumerate(node.marks))


def _in_order(left: float, sign: str, right: float) -> bool:
    return {
        "<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right, "=": left == right,
        "!=": left != right,
    }[sign]  # fmt: skip
