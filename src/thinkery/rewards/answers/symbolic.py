"""Whether two answers that are not plain numbers or words are the same. Runs in worker processes only: it may hang.

The outer form is compared by rules (``structure``, and the policy), plain numbers exactly (``numbers``), expressions by
computer algebra (``algebra``). An ``=`` counts only where the reference is an equation. Left out: what needs no
computer algebra, which ``rewards.math`` settles before.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from thinkery.recipe.verification import MathPolicy
from thinkery.rewards.answers import algebra
from thinkery.rewards.answers.numbers import ROUNDED_PLACES, parse_number, parse_words, read_unit, units_agree
from thinkery.rewards.answers.structure import Form, Leaf, Node, interval_of, read, value_of
from thinkery.types import Outcome

_TRAILING_UNIT = re.compile(
    r"(?P<value>.*\S)(?P<unit>\s*\\(?:text|mbox|mathrm|textrm)\s*\{[^{}]*\}\s*(?:\^\s*\{?[23]\}?)?|\\?%|\^\s*\{?\s*\\circ\s*\}?)",
    re.DOTALL,
)
_OPPOSITE = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "=": "=", "!=": "!="}


def judge(answer: str, reference: str, policy: Mapping[str, Any]) -> dict[str, str | None]:
    """Compares two answers; returns the fields of a Verdict. Never raises."""
    try:
        return _judge(answer, reference, MathPolicy(**policy))
    except MemoryError:
        return _verdict(Outcome.TIMEOUT, "out of memory", None)
    except RecursionError:
        return _verdict(Outcome.WRONG, "nested too deeply to compare", answer)
    except Exception as error:  # sympy fails in many ways on nonsense; none of them makes the answer right
        return _verdict(Outcome.WRONG, f"not comparable ({type(error).__name__})", answer)


def _judge(answer: str, reference: str, policy: MathPolicy) -> dict[str, str | None]:
    gold, given = read(reference), read(answer)
    if not _readable(gold):
        return _verdict(Outcome.GOLD_UNPARSEABLE, f"cannot read the reference {reference!r}", None)
    if not _readable(given):
        return _verdict(Outcome.WRONG, "cannot read the answer", answer)
    equal = _same(gold, given, policy)
    return _verdict(Outcome.CORRECT if equal else Outcome.WRONG, "" if equal else "differs", _canonical(given))


def _verdict(outcome: Outcome, reason: str, answer: str | None) -> dict[str, str | None]:
    return {"outcome": outcome.value, "reason": reason, "answer": answer}


def _readable(node: Node) -> bool:
    if isinstance(node, Form):
        return all(_readable(item) for item in node.items)
    value, _ = _with_unit(node.text)
    return parse_number(node.text) is not None or parse_words(node.text) is not None or algebra.parse(value) is not None


def _same(gold: Node, given: Node, policy: MathPolicy) -> bool:
    """Whether two readable answers are the same."""
    if not _is_equation(gold):
        given = value_of(given)
    elif not _is_equation(given):
        gold = value_of(gold)
    if isinstance(gold, Form) != isinstance(given, Form) or (isinstance(gold, Form) and gold.kind != _kind(given)):
        gold, given = interval_of(gold), interval_of(given)
    if isinstance(gold, Leaf) or isinstance(given, Leaf):
        return isinstance(gold, Leaf) and isinstance(given, Leaf) and _same_leaf(gold.text, given.text, policy)
    if gold.kind == given.kind:
        return _same_form(gold, given, policy)
    if {gold.kind, given.kind} == {"list", "set"}:
        return policy.braces == "optional" and _same_items(gold.items, given.items, policy, ordered=False)
    if {gold.kind, given.kind} == {"tuple", "matrix"}:
        point, vector = (gold, given) if gold.kind == "tuple" else (given, gold)
        is_vector = vector.marks[0] in ("1", str(len(vector.items)))
        return is_vector and point.marks == ("(", ")") and _same_items(gold.items, given.items, policy, ordered=True)
    return False


def _kind(node: Node) -> str:
    return node.kind if isinstance(node, Form) else ""


def _is_equation(node: Node) -> bool:
    if not isinstance(node, Form):
        return False
    return (node.kind == "relation" and "=" in node.marks) or (
        node.kind == "list" and any(map(_is_equation, node.items))
    )


def _same_form(gold: Form, given: Form, policy: MathPolicy) -> bool:
    if gold.kind == "relation":
        return _same_relation(gold, given, policy)
    if gold.kind == "tuple":
        ends_matter = policy.interval_ends == "match" and len(gold.items) == 2
        return (not ends_matter or gold.marks == given.marks) and _same_items(
            gold.items, given.items, policy, ordered=True
        )
    if gold.kind == "matrix" and gold.marks != given.marks:
        is_vector = "1" in (gold.marks[0], given.marks[0]) and str(len(gold.items)) in (gold.marks[0], given.marks[0])
        return is_vector and _same_items(gold.items, given.items, policy, ordered=True)  # a row for a column
    ordered = gold.kind == "matrix" or (gold.kind == "list" and policy.order == "same")
    return _same_items(gold.items, given.items, policy, ordered=ordered)


def _same_items(gold: Sequence[Node], given: Sequence[Node], policy: MathPolicy, *, ordered: bool) -> bool:
    if len(gold) != len(given):
        return False
    if ordered:
        return all(_same(one, other, policy) for one, other in zip(gold, given, strict=True))
    left = list(given)
    for one in gold:
        match = next((k for k, other in enumerate(left) if _same(one, other, policy)), None)
        if match is None:
            return False
        del left[match]
    return True


def _same_leaf(gold: str, given: str, policy: MathPolicy) -> bool:
    gold_number, given_number = parse_number(gold), parse_number(given)
    if gold_number is not None and given_number is not None:
        return given_number.equals(gold_number, policy)
    gold_words = parse_words(gold)
    if gold_words is not None or parse_words(given) is not None:
        return gold_words == parse_words(given)
    (gold, gold_unit), (given, given_unit) = _with_unit(gold), _with_unit(given)
    if not units_agree(given_unit, gold_unit, policy):
        return False
    if policy.percent == "literal" and "percent" in (given_unit, gold_unit) and given_unit != gold_unit:
        return False
    one, other = algebra.parse(gold), algebra.parse(given)
    if one is None or other is None or (algebra.unevaluated(other) and not algebra.unevaluated(one)):
        return False  # like 6*7 for 42: a question repeated is no answer
    if gold_number is not None and gold_number.places >= ROUNDED_PLACES:
        return algebra.rounds_to(other, gold_number.value, gold_number.places)
    return algebra.same(one, other)


def _with_unit(text: str) -> tuple[str, str]:
    """An expression and the unit that ends it (empty if none does)."""
    match = _TRAILING_UNIT.fullmatch(text)
    unit = read_unit(match["unit"]) if match else None
    return (match["value"], unit) if match and unit else (text, "")


def _same_relation(gold: Form, given: Form, policy: MathPolicy) -> bool:
    """Equations and inequalities in one step: the same up to a constant factor. Chains: link by link."""
    if len(gold.items) != len(given.items):
        return False
    if len(gold.items) > 2 or not all(isinstance(item, Leaf) for item in (*gold.items, *given.items)):
        flipped = Form("relation", given.items[::-1], tuple(_OPPOSITE[sign] for sign in given.marks[::-1]))
        return any(
            gold.marks == other.marks and _same_items(gold.items, other.items, policy, ordered=True)
            for other in (given, flipped)
        )
    if gold.marks == given.marks == ("=",) and _is_value(value_of(gold)):
        return _is_value(value_of(given)) and _same_items(gold.items, given.items, policy, ordered=True)
    sides = [algebra.parse(item.text) for item in (*gold.items, *given.items) if isinstance(item, Leaf)]
    if any(not algebra.is_expression(side) for side in sides):
        return gold.marks == given.marks and _same_items(gold.items, given.items, policy, ordered=True)
    sign = algebra.proportional(sides[0] - sides[1], sides[2] - sides[3])
    if sign == 0:
        return False
    return gold.marks[0] == (given.marks[0] if sign > 0 or gold.marks[0] in ("=", "!=") else _OPPOSITE[given.marks[0]])


def _is_value(node: Node) -> bool:
    """Whether a node is a constant: ``x = 5`` is solved, ``2x = 10`` is not."""
    expression = algebra.parse(node.text) if isinstance(node, Leaf) else None
    return expression is not None and not getattr(expression, "free_symbols", True)


def _canonical(node: Node) -> str:
    """The normal form of an answer: equal answers, equal text, as far as rewriting reaches."""
    if isinstance(node, Leaf):
        number = parse_number(node.text)
        if number is not None:
            return str(number)
        value, _ = _with_unit(node.text)
        expression = None if parse_words(node.text) else algebra.parse(value)
        return node.text if expression is None else algebra.canonical(expression)
    node = interval_of(value_of(node))
    if isinstance(node, Leaf):
        return _canonical(node)
    items = [_canonical(item) for item in node.items]
    if node.kind in ("list", "set", "union"):
        return (" U " if node.kind == "union" else ", ").join(sorted(items))
    if node.kind == "relation":
        return " ".join(part for pair in zip(items, (*node.marks, ""), strict=True) for part in pair).strip()
    opening, closing = node.marks if node.kind == "tuple" else ("(", ")")
    return f"{opening}{', '.join(items)}{closing}"


for _answer, _reference in (
    (r"\frac{x}{2}", r"\sqrt{2}"),
    (r"(1, \pi]", r"(1, x^2 + 1]"),
    (r"\sin x", r"x\ln 2 - e^{x}"),
):
    judge(_answer, _reference, {})  # loads the grammar, most of a second, in the zygote and not in a verdict's time
