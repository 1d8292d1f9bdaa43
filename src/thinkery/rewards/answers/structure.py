r"""The outer form of an answer: lists, sets, tuples, intervals, unions, matrices, equations and inequalities.

Computer algebra is asked about the expressions between them only, so that the form is compared by rules that are
written down here and in ``symbolic``. Text in, plain data out; any text has a reading. Left out: what the leaves mean.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from thinkery.rewards.answers.cleaning import clean

Kind = Literal["list", "set", "tuple", "union", "matrix", "relation"]
MAX_ITEMS = 64


@dataclass(frozen=True, slots=True)
class Leaf:
    """An expression to be read by computer algebra."""

    text: str


@dataclass(frozen=True, slots=True)
class Form:
    """Several answers and how they belong together.

    ``marks``: of a tuple its two brackets; of a relation the signs between its items; of a matrix its column count.
    """

    kind: Kind
    items: tuple[Node, ...]
    marks: tuple[str, ...] = ()


Node = Leaf | Form

_MATRIX = re.compile(r"\\begin\{([pbvBV]?matrix|array)\}(?:\{[lcr|]*\})?(.*)\\end\{\1\}", re.DOTALL)
_AND = re.compile(
    r"\\(?:text|mbox|mathrm)\s*\{\s*,?\s*(?:and|or)\s*\}|(?<![A-Za-z\\])(?:and|or)(?![A-Za-z])|\\(?:lor|vee)(?![A-Za-z])"
)
_SIGNS = {
    "=": "=", "<": "<", ">": ">", "<=": "<=", ">=": ">=", r"\lt": "<", r"\gt": ">", r"\le": "<=", r"\leq": "<=",
    r"\leqslant": "<=", r"\ge": ">=", r"\geq": ">=", r"\geqslant": ">=", r"\ne": "!=", r"\neq": "!=", "!=": "!=",
    r"\in": "in",
}  # fmt: skip
_TOKEN = re.compile(r"\\[A-Za-z]+|\\.|[<>!]=|[()\[\]{},;=<>|]|(?:[^\\()\[\]{},;=<>!|]+)|.", re.DOTALL)
_OPENERS = frozenset(["(", "[", "{", r"\{", r"\langle", r"\lbrace"])
_CLOSERS = frozenset([")", "]", "}", r"\}", r"\rangle", r"\rbrace"])
_SETS = frozenset([r"\{", r"\lbrace"])
# Plain notation -> LaTeX.
_NAMES = "pi|theta|alpha|beta|sqrt|sin|cos|tan|cot|sec|csc|ln|log|exp|arcsin|arccos|arctan"
_PLAIN = (
    (re.compile(r"\*\*"), "^"),
    (re.compile(r"(?<!\\)\*"), r"\\cdot "),
    (re.compile(rf"(?<![A-Za-z\\])({_NAMES})(?![A-Za-z])"), r"\\\1 "),
    (re.compile(r"(?<![A-Za-z\\])(?:oo|inf|infinity)(?![A-Za-z])"), r"\\infty "),
    (re.compile(r"\^\s*(-?\s*\d{2,}|-\s*[A-Za-z\d])"), r"^{\1}"),
    (re.compile(r"\\sqrt\s*\(([^()]*)\)"), r"\\sqrt{\1}"),
)  # fmt: skip
_POWER = re.compile(r"\^\s*\(((?:[^()]|\([^()]*\))*)\)")
_VARIABLE = re.compile(
    r"(?![ei]$)[A-Za-z](?:_\{?\w+\}?)?(?:\s*\([A-Za-z]\))?|\\(?:theta|alpha|beta|lambda|mu|phi|gamma)"
)


def read(text: str) -> Node:
    """The form of an answer."""
    text = clean(text)
    for pattern, latex in _PLAIN:
        text = pattern.sub(latex, text)
    while text != (braced := _POWER.sub(r"^{\1}", text)):  # 2^(1/2), which LaTeX would read as 2^( 1/2)
        text = braced
    return _read(_AND.sub(",", text), 0)


def _read(text: str, depth: int) -> Node:
    text = clean(text)
    if depth > 12:
        return Leaf(text)
    tokens = _TOKEN.findall(text)
    parts, _ = _split(tokens, frozenset([",", ";"]))
    if len(parts) > 1:
        items = tuple(_read(part, depth + 1) for part in parts if part.strip())
        return Form("list", _flat(items)) if 1 < len(items) <= MAX_ITEMS else Leaf(text)
    parts, signs = _split(tokens, frozenset(_SIGNS))
    if len(parts) > 1:
        return _relation([_read(part, depth + 1) for part in parts], [_SIGNS[sign] for sign in signs])
    parts, _ = _split(tokens, frozenset([r"\cup"]))
    if len(parts) > 1:
        return Form("union", tuple(_read(part, depth + 1) for part in parts))
    return _bracketed(text, tokens, depth) or _two_signs(text, depth) or Leaf(text)


def _split(tokens: list[str], separators: frozenset[str]) -> tuple[list[str], list[str]]:
    """The text between separators that stand outside all brackets, and the separators."""
    parts: list[str] = []
    found: list[str] = []
    depth, begin, inside = 0, 0, 0
    for at, token in enumerate(tokens):
        inside += (token == r"\begin") - (token == r"\end")
        if token in _OPENERS:
            depth += 1
        elif token in _CLOSERS:
            depth -= 1
        elif depth == 0 and inside == 0 and token in separators:
            parts.append("".join(tokens[begin:at]))
            found.append(token)
            begin = at + 1
    return [*parts, "".join(tokens[begin:])], found


def _relation(items: list[Node], signs: list[str]) -> Node:
    if signs == ["in"] and _is_variable(items[0]):
        return items[1]  # x \in [1, 2]
    return Form("relation", tuple(items), tuple(signs))


def _bracketed(text: str, tokens: list[str], depth: int) -> Node | None:
    """A set, tuple, interval or matrix, where the whole text is one; brackets around a single expression go."""
    if matrix := _MATRIX.fullmatch(text):
        rows = [row for row in re.split(r"\\\\(?:\[[^\]]*\])?", matrix[2]) if row.strip()]
        cells = [[_read(cell, depth + 1) for cell in row.split("&")] for row in rows]
        if cells and len({len(row) for row in cells}) == 1 and len(cells) * len(cells[0]) <= MAX_ITEMS:
            return Form("matrix", tuple(cell for row in cells for cell in row), (str(len(cells[0])),))
        return None
    tokens = [token for token in tokens if token.strip()]
    if len(tokens) < 3 or tokens[0] not in _OPENERS or tokens[-1] not in _CLOSERS or not _one_pair(tokens):
        return None
    inside = text[len(tokens[0]) : -len(tokens[-1])]
    parts, _ = _split(_TOKEN.findall(inside), frozenset([",", ";"]))
    items = tuple(_read(part, depth + 1) for part in parts)
    if len(items) > MAX_ITEMS:
        return None
    if tokens[0] in _SETS or (tokens[0] == "{" and len(items) > 1):
        return Form("set", _flat(items))
    if len(items) > 1:
        return Form("tuple", items, ("(", ")") if tokens[0] == r"\langle" else (tokens[0], tokens[-1]))
    return items[0] if tokens[0] in ("(", "{") and tokens[-1] in (")", "}") else None


def _one_pair(tokens: list[str]) -> bool:
    """Whether the first bracket is closed by the last token, and not before."""
    depth = 0
    for at, token in enumerate(tokens):
        depth += (token in _OPENERS) - (token in _CLOSERS)
        if depth == 0:
            return at == len(tokens) - 1
    return False


def _two_signs(text: str, depth: int) -> Node | None:
    r"""``1 \pm \sqrt{2}`` as the list of its two values."""
    if r"\pm" not in text:
        return None
    upper, lower = (re.sub(r"\\pm(?![A-Za-z])", sign, text) for sign in "+-")
    upper, lower = (re.sub(r"\\mp(?![A-Za-z])", sign, one) for one, sign in ((upper, "-"), (lower, "+")))
    return Form("list", (_read(upper, depth + 1), _read(lower, depth + 1)))


def _flat(items: tuple[Node, ...]) -> tuple[Node, ...]:
    """Lists within a list or set, which come of plus-minus, as its own items."""
    flat: list[Node] = []
    for item in items:
        flat.extend(item.items if isinstance(item, Form) and item.kind == "list" else [item])
    return tuple(flat)


def value_of(node: Node) -> Node:
    """``x = 5`` -> ``5`` and ``x = y = 5`` as it is: what an assignment to a variable assigns."""
    if isinstance(node, Form) and node.kind == "relation" and node.marks == ("=",):
        left, right = node.items
        if _is_variable(left):
            return right
        if isinstance(left, Form) and left.kind == "tuple" and all(map(_is_variable, left.items)):
            return right
    return node


def _is_variable(node: Node) -> bool:
    return isinstance(node, Leaf) and _VARIABLE.fullmatch(node.text) is not None


def interval_of(node: Node) -> Node:
    """``1 < x \\le 2`` -> ``(1, 2]`` and ``x > 5`` -> ``(5, \\infty)``; anything else as it is."""
    if not (isinstance(node, Form) and node.kind == "relation") or not set(node.marks) <= {"<", "<=", ">", ">="}:
        return node
    items, signs = list(node.items), list(node.marks)
    if not all(isinstance(item, Leaf) for item in items):
        return node
    if signs[0][0] == ">":
        items.reverse()
        signs = [sign.replace(">", "<") for sign in reversed(signs)]
    if any(sign[0] != "<" for sign in signs) or len(items) not in (2, 3):
        return node
    variables = [_is_variable(item) for item in items]
    open_, close = "[" if signs[0] == "<=" else "(", "]" if signs[-1] == "<=" else ")"
    if len(items) == 3 and variables == [False, True, False]:
        return Form("tuple", (items[0], items[2]), (open_, close))
    if variables == [True, False]:
        return Form("tuple", (Leaf(r"-\infty"), items[1]), ("(", close))
    if variables == [False, True]:
        return Form("tuple", (items[0], Leaf(r"\infty")), (open_, ")"))
    return node
