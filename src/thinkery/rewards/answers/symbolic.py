"""Whether two answers that are not plain numbers or words are the same. Runs in worker processes only: it may hang.

The outer form is compared by rules (``structure``, ``equations``, ``realsets`` and the policy), plain numbers exactly
(``numbers``), expressions by ``algebra``, and what none of them can read by its text. Left out: what needs no computer
algebra, which ``rewards.math`` settles before.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from thinkery.recipe.verification import MathPolicy
from thinkery.rewards.answers import algebra
from thinkery.rewards.answers.equations import as_chain, is_equation, same_equation, value_of_chain
from thinkery.rewards.answers.evaluation import TooLargeError
from thinkery.rewards.answers.leaves import is_broken, same_leaf, with_unit
from thinkery.rewards.answers.numbers import ROUNDED_PLACES, parse_number
from thinkery.rewards.answers.realsets import is_set, same_sets
from thinkery.rewards.answers.structure import CompoundAnswer, Leaf, Node, names_and_values, read, unwrapped
from thinkery.rewards.answers.words import parse_words
from thinkery.types import Outcome


def judge(answer: str, reference: str, policy: Mapping[str, Any]) -> dict[str, str | None]:
    """Compares two answers; returns the fields of a Verdict. Never raises."""
    try:
        return _judge(answer, reference, MathPolicy(**policy))
    except MemoryError:
        return _verdict(Outcome.TIMEOUT, "out of memory", None)
    except TooLargeError:
        return _verdict(Outcome.TIMEOUT, "its value has more digits than are computed", None)
    except RecursionError:
        return _verdict(Outcome.WRONG, "nested too deeply to compare", answer)
    except Exception as error:  # sympy fails in many ways on nonsense; none of them makes the answer right
        return _verdict(Outcome.WRONG, f"not comparable ({type(error).__name__})", answer)


def _judge(answer: str, reference: str, policy: MathPolicy) -> dict[str, str | None]:
    expected, given = read(reference), read(answer)
    if is_broken(reference):
        return _verdict(Outcome.REFERENCE_UNPARSEABLE, f"cannot read the reference {reference!r}", None)
    equal = _same(expected, given, policy)
    if equal and isinstance(expected, Leaf) and (number := parse_number(expected.text)) is not None:
        value = value_of_chain(given, policy) if is_equation(given) else given
        plain = isinstance(value, Leaf) and parse_number(value.text) is not None
        equal = plain or number.places >= ROUNDED_PLACES  # an operation is no answer where a number is asked for
    return _verdict(Outcome.CORRECT if equal else Outcome.WRONG, "" if equal else "differs", _canonical(given))


def _verdict(outcome: Outcome, reason: str, answer: str | None) -> dict[str, str | None]:
    return {"outcome": outcome.value, "reason": reason, "answer": answer}


def _same(expected: Node, given: Node, policy: MathPolicy) -> bool:
    """Whether two answers are the same."""
    (expected, gold_name), (given, given_name) = unwrapped(expected), unwrapped(given)
    if gold_name and given_name and gold_name != given_name:
        return False
    named = _same_named(expected, given, policy)
    if named is not None:
        return named
    if not is_equation(expected):
        value = value_of_chain(given, policy) if is_equation(given) else given
        if value is None:
            return False
        given = value
    elif not is_equation(given):
        value = value_of_chain(expected, policy, strictly=True)
        if value is None:
            return False
        expected = value
    else:
        expected, given = as_chain(expected, policy), as_chain(given, policy)
    if _are_sets(expected, given):
        return same_sets(expected, given, ends_matter=policy.interval_ends == "match")
    if isinstance(expected, Leaf) or isinstance(given, Leaf):
        return isinstance(expected, Leaf) and isinstance(given, Leaf) and same_leaf(expected.text, given.text, policy)
    if expected.kind == given.kind:
        return _same_form(expected, given, policy)
    if {expected.kind, given.kind} == {"list", "set"}:
        return policy.braces == "optional" and _same_items(expected.items, given.items, policy, ordered=False)
    if {expected.kind, given.kind} == {"tuple", "matrix"}:
        point, vector = (expected, given) if expected.kind == "tuple" else (given, expected)
        is_vector = vector.marks[0] in ("1", str(len(vector.items)))
        return (
            is_vector and point.marks == ("(", ")") and _same_items(expected.items, given.items, policy, ordered=True)
        )
    return False


def _are_sets(expected: Node, given: Node) -> bool:
    """Whether two nodes are compared as sets of real numbers: one must be nothing else, and they differ in form."""
    if not (is_set(expected) and is_set(given)):
        return False
    if isinstance(expected, Leaf) and isinstance(given, Leaf):
        return is_set(expected, strictly=True) and is_set(given, strictly=True)
    kinds = [node.kind if isinstance(node, CompoundAnswer) else "" for node in (expected, given)]
    if kinds[0] == kinds[1] in ("set", "tuple"):
        return False
    return is_set(expected, strictly=True) or is_set(given, strictly=True)


def _same_named(expected: Node, given: Node, policy: MathPolicy) -> bool | None:
    """Whether values with names, ``x=1, y=2``, are the same by name, or in the names' order; None without names."""
    references, givens = names_and_values(expected), names_and_values(given)
    if references is None and givens is None:
        return None
    if references is not None and givens is not None:
        if set(references[0]) != set(givens[0]) or len(references[0]) != len(givens[0]):
            return False
        theirs = dict(zip(*givens, strict=True))
        return all(_same(value, theirs[name], policy) for name, value in zip(*references, strict=True))
    values, other = (references[1], given) if references is not None else ((givens or ([], []))[1], expected)
    if not isinstance(other, CompoundAnswer) or other.kind not in ("tuple", "list", "set") or other.marks == ("or",):
        return False if references is not None or isinstance(other, Leaf) else None
    listed, inner = list(other.items), names_and_values(other)
    ordered = other.kind == "tuple" or (references is not None and not _numbered(references[0]))
    if inner is not None or (ordered and other.kind == "set"):
        return False
    pair = (values, listed) if references is not None else (listed, values)
    return _same_items(*pair, policy, ordered=ordered)


def _numbered(names: Sequence[str]) -> bool:
    """``x_1, x_2``: the solutions of one equation, which have no order of their own."""
    return len({name.partition("_")[0] for name in names}) == 1 and all("_" in name for name in names)


def _same_form(expected: CompoundAnswer, given: CompoundAnswer, policy: MathPolicy) -> bool:
    if expected.kind == "relation":
        return same_equation(expected, given, policy, _same_items)
    if expected.kind == "tuple":
        ends_matter = policy.interval_ends == "match" and len(expected.items) == 2
        return (not ends_matter or expected.marks == given.marks) and _same_items(
            expected.items, given.items, policy, ordered=True
        )
    if expected.kind == "ratio":
        return _same_ratio(expected, given)
    if expected.kind == "matrix" and expected.marks != given.marks:
        is_vector = "1" in (expected.marks[0], given.marks[0]) and str(len(expected.items)) in (
            expected.marks[0],
            given.marks[0],
        )
        plain = len(expected.marks) == len(given.marks) == 1
        return (
            plain and is_vector and _same_items(expected.items, given.items, policy, ordered=True)
        )  # a row for a column
    in_order = expected.kind in ("matrix", "without") or expected.marks == ("row",)
    ordered = in_order or (expected.kind == "list" and policy.order == "same")
    return _same_items(expected.items, given.items, policy, ordered=ordered)


def _same_ratio(expected: CompoundAnswer, given: CompoundAnswer) -> bool:
    if len(expected.items) != len(given.items):
        return False
    ours, theirs = ([algebra.parse(getattr(item, "text", "")) for item in form.items] for form in (expected, given))
    if any(one is None or one == 0 for one in (*ours, *theirs)):
        return False
    return all(algebra.same(one * theirs[0], other * ours[0]) for one, other in zip(ours, theirs, strict=True))


def _same_items(expected: Sequence[Node], given: Sequence[Node], policy: MathPolicy, *, ordered: bool) -> bool:
    if len(expected) != len(given):
        return False
    if ordered:
        return all(_same(one, other, policy) for one, other in zip(expected, given, strict=True))
    left = list(given)
    for one in expected:
        match = next((k for k, other in enumerate(left) if _same(one, other, policy)), None)
        if match is None:
            return False
        del left[match]
    return True


_INNER_SPACES = re.compile(r"\s+")


def _canonical(node: Node) -> str:
    """The normal form of an answer: equal answers, equal text, as far as rewriting reaches."""
    if isinstance(node, Leaf):
        number = parse_number(node.text)
        if number is not None:
            return str(number)
        value, _ = with_unit(node.text)
        expression = None if parse_words(node.text) else algebra.parse(value)
        return _INNER_SPACES.sub(" ", node.text) if expression is None else algebra.canonical(expression)
    if is_equation(node) and (worth := value_of_chain(node, MathPolicy())) is not None and worth != node:
        return _canonical(worth)
    if node.kind == "relation" and is_set(node) and "=" not in node.marks:
        return _interval_text(node)
    if node.kind == "in":
        return _canonical(node.items[1])
    items = [_canonical(item) for item in node.items]
    if node.kind in ("list", "set", "union"):
        return (" U " if node.kind == "union" else ", ").join(sorted(items))
    if node.kind == "relation":
        return " ".join(part for pair in zip(items, (*node.marks, ""), strict=True) for part in pair).strip()
    if node.kind in ("ratio", "without"):
        return (" : " if node.kind == "ratio" else " \\ ").join(items)
    opening, closing = node.marks if node.kind == "tuple" else ("(", ")")
    return f"{opening}{', '.join(items)}{closing}"


def _interval_text(node: CompoundAnswer) -> str:
    """``1 < x \\le 2`` as ``(1, 2]``."""
    items, signs = list(node.items), list(node.marks)
    if signs == ["!="]:
        return " != ".join(_canonical(item) for item in items)
    if signs[0][0] == ">":
        items.reverse()
        signs = [sign.replace(">", "<") for sign in reversed(signs)]
    open_, close = "[" if signs[0] == "<=" else "(", "]" if signs[-1] == "<=" else ")"
    if len(items) == 3:
        return f"{open_}{_canonical(items[0])}, {_canonical(items[2])}{close}"
    low = algebra.is_constant(algebra.parse(getattr(items[0], "text", "")))
    return f"{open_}{_canonical(items[0])}, oo)" if low else f"(-oo, {_canonical(items[1])}{close}"
