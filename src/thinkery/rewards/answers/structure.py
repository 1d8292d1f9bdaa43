r"""The outer form of an answer: lists, sets, tuples, intervals, unions, matrices, ratios, equations and inequalities.

Computer algebra is asked about the expressions between them only, so that the form is compared by rules that are
written down here and in ``symbolic``. Text in, plain data out; any text has a reading. Left out: what the leaves mean.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, TypeGuard

from thinkery.rewards.answers.cleaning import clean

Kind = Literal["list", "set", "tuple", "union", "without", "matrix", "cases", "ratio", "relation", "in"]
MAX_ITEMS = 64


@dataclass(frozen=True, slots=True)
class Leaf:
    """An expression to be read by computer algebra."""

    text: str


@dataclass(frozen=True, slots=True)
class CompoundAnswer:
    """Several answers and how they belong together.

    ``marks``: of a tuple its two brackets; of a relation the signs between its items; of a matrix its column count; of
    a list ``or`` where its items are alternatives. ``without`` is a set without the items of another.
    """

    kind: Kind
    items: tuple[Node, ...]
    marks: tuple[str, ...] = ()


Node = Leaf | CompoundAnswer

_MATRIX = re.compile(
    r"(?P<open>[(\[|]?)\s*\\begin\{(?P<kind>[pbvBV]?matrix|smallmatrix|array)\}(?:\{[lcr|]*\})?(?P<cells>.*)"
    r"\\end\{(?P=kind)\}\s*(?P<close>[)\]|]?)",
    re.DOTALL,
)
_CASES = re.compile(
    r"(?:\\\{)?\s*\\begin\{(cases|array|aligned|dcases)\}(?:\{[lcr|]*\})?(.*)\\end\{\1\}\s*\.?", re.DOTALL
)
_AND = re.compile(
    r"\\(?:text|mbox|mathrm)\s*\{\s*,?\s*and\s*\}|(?<![A-Za-z\\])and(?![A-Za-z])|\\(?:text|mbox)\s*\{\s*[,;]\s*\}"
)
_OR = re.compile(
    r"\\(?:text|mbox|mathrm)\s*\{\s*,?\s*or\s*\}|(?<![A-Za-z\\])or(?![A-Za-z])|(?<=\))or(?=\()|\\(?:lor|vee)(?![A-Za-z])"
)
_SIGNS = {
    "=": "=", "<": "<", ">": ">", "<=": "<=", ">=": ">=", r"\lt": "<", r"\gt": ">", r"\le": "<=", r"\leq": "<=",
    r"\leqslant": "<=", r"\ge": ">=", r"\geq": ">=", r"\geqslant": ">=", r"\ne": "!=", r"\neq": "!=", "!=": "!=",
    r"\in": "in", r"\approx": "~", r"\simeq": "~", r"\doteq": "~", r"\coloneqq": "=",
}  # fmt: skip
_TOKEN = re.compile(r"\\[A-Za-z]+|\\.|[<>!]=|[()\[\]{},;:=<>|]|(?:[^\\()\[\]{},;:=<>!|]+)|.", re.DOTALL)
_OPENERS = frozenset(["(", "[", "{", r"\{", r"\langle", r"\lbrace"])
_CLOSERS = frozenset([")", "]", "}", r"\}", r"\rangle", r"\rbrace"])
_SETS = frozenset([r"\{", r"\lbrace"])
_LEVELS: tuple[tuple[Kind, frozenset[str]], ...] = (
    ("union", frozenset([r"\cup"])), ("without", frozenset([r"\setminus", r"\backslash"])), ("ratio", frozenset([":"])),
)  # fmt: skip
# Plain notation -> LaTeX.
_NAMES = "pi|theta|alpha|beta|sqrt|sin|cos|tan|cot|sec|csc|ln|log|exp|arcsin|arccos|arctan"
_PLAIN = (
    (re.compile(r"\*\*"), "^"),
    (re.compile(r"(?<!\\)\*"), r"\\cdot "),
    (re.compile(rf"(?<![A-Za-z\\])({_NAMES})(?![A-Za-z])"), r"\\\1 "),
    (re.compile(r"(?<![A-Za-z\\])(?:oo|inf|infinity)(?![A-Za-z])"), r"\\infty "),
    (re.compile(r"\^\s*(-?\s*\d{2,}|-\s*[A-Za-z\d])"), r"^{\1}"),
    (re.compile(r"\\sqrt\s*\(([^()]*)\)"), r"\\sqrt{\1}"),
    (re.compile(r"(?<![\d,.])(\d{1,3})((?:,\d{3})+)(?=\s*\\?[A-Za-z])"), lambda m: m[1] + m[2].replace(",", "")),
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
    alternatives = _OR.split(text) if depth == 0 else [text]
    if len(alternatives) > 1:
        items = tuple(_read(part.strip().rstrip(",;"), depth + 1) for part in alternatives if part.strip())
        return CompoundAnswer("list", _flat(items), ("or",)) if 1 < len(items) <= MAX_ITEMS else Leaf(text)
    tokens = _TOKEN.findall(text)
    parts, _ = _split(tokens, frozenset([";"]))
    if len(parts) > 1 and all("=" in part for part in parts):  # p=5, q=2; p=7, q=2
        pairs = [_read(part, depth + 1) for part in parts]
        return CompoundAnswer(
            "list", tuple(CompoundAnswer("tuple", one.items, ("(", ")")) if _is_list(one) else one for one in pairs)
        )
    parts, _ = _split(tokens, frozenset([",", ";"]))
    if len(parts) > 1:
        if not all(part.strip() for part in parts[:-1]):
            return Leaf(text)
        items = tuple(_read(part, depth + 1) for part in parts if part.strip())
        return CompoundAnswer("list", _flat(items)) if 1 < len(items) <= MAX_ITEMS else Leaf(text)
    parts, signs = _split(tokens, frozenset(_SIGNS))
    if len(parts) > 1:
        return _relation([_read(part, depth + 1) for part in parts], [_SIGNS[sign] for sign in signs])
    for kind, separators in _LEVELS:
        parts, _ = _split(tokens, separators)
        if len(parts) > 1 and all(part.strip() for part in parts):
            return CompoundAnswer(kind, tuple(_read(part, depth + 1) for part in parts))
    return _bracketed(text, tokens, depth) or _two_signs(text, depth) or Leaf(text)


def _is_list(node: Node) -> TypeGuard[CompoundAnswer]:
    return isinstance(node, CompoundAnswer) and node.kind == "list"


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
    if signs == ["in"] and is_variable(items[0]):
        return CompoundAnswer("in", tuple(items))  # x \in [1, 2]
    return CompoundAnswer("relation", tuple(items), tuple(signs))


def _bracketed(text: str, tokens: list[str], depth: int) -> Node | None:
    """A set, tuple, interval or matrix, where the whole text is one; brackets around a single expression go."""
    if (matrix := _MATRIX.fullmatch(text)) and bool(matrix["open"]) == bool(matrix["close"]):
        cells = _rows(matrix["cells"], depth)
        if cells and len({len(row) for row in cells}) == 1 and len(cells) * len(cells[0]) <= MAX_ITEMS:
            bars = matrix["open"] == "|" or matrix["kind"] in ("vmatrix", "Vmatrix")  # a determinant
            marks = (str(len(cells[0])), "|") if bars else (str(len(cells[0])),)
            return CompoundAnswer("matrix", tuple(cell for row in cells for cell in row), marks)
        return None
    if cases := _CASES.fullmatch(text):
        rows = tuple(CompoundAnswer("list", tuple(row), ("row",)) for row in _rows(cases[2], depth))
        return CompoundAnswer("cases", rows) if 0 < len(rows) <= MAX_ITEMS else None
    tokens = [token for token in tokens if token.strip()]
    if len(tokens) < 3 or tokens[0] not in _OPENERS or tokens[-1] not in _CLOSERS or not _one_pair(tokens):
        return None
    inside = text[len(tokens[0]) : -len(tokens[-1])]
    if tokens[0] in _SETS and (described := _described(text, inside, depth)):
        return described
    parts, _ = _split(_TOKEN.findall(inside), frozenset([",", ";"]))
    items = tuple(_read(part, depth + 1) for part in parts)
    if len(items) > MAX_ITEMS:
        return None
    if tokens[0] in _SETS or (tokens[0] == "{" and len(items) > 1):
        return CompoundAnswer("set", _flat(items))
    if len(items) > 2 and (tokens[0], tokens[-1]) in (("(", "]"), ("[", ")")):
        return None  # neither an interval nor a point
    if len(items) > 1:
        return CompoundAnswer("tuple", items, ("(", ")") if tokens[0] == r"\langle" else (tokens[0], tokens[-1]))
    return items[0] if tokens[0] in ("(", "{") and tokens[-1] in (")", "}") else None


def _described(text: str, inside: str, depth: int) -> Node | None:
    r"""``\\{x \\mid 1 < x \\le 2\\}``: its inequality, or all of it as one text; None if a set lists its items."""
    parts, _ = _split(_TOKEN.findall(inside), frozenset([r"\mid", "|", ":"]))
    if len(parts) != 2 or not re.match(r"\s*\(?[A-Za-z]", parts[0]):
        return None
    node = _read(parts[1], depth + 1)
    is_range = (
        isinstance(node, CompoundAnswer) and node.kind == "relation" and set(node.marks) <= {"<", "<=", ">", ">=", "!="}
    )
    return node if is_range else Leaf(text)


def _rows(text: str, depth: int) -> list[list[Node]]:
    rows = [row for row in re.split(r"\\\\(?:\[[^\]]*\])?", text) if row.strip() and row.strip() != r"\hline"]
    return [[_read(cell.strip().rstrip(",."), depth + 1) for cell in row.split("&")] for row in rows]


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
    return CompoundAnswer("list", (_read(upper, depth + 1), _read(lower, depth + 1)))


def _flat(items: tuple[Node, ...]) -> tuple[Node, ...]:
    """Lists within a list or set, which come of plus-minus, as its own items."""
    flat: list[Node] = []
    for item in items:
        flat.extend(item.items if isinstance(item, CompoundAnswer) and item.kind == "list" else [item])
    return tuple(flat)


def is_variable(node: Node) -> bool:
    """Whether a node is the name of a variable, like ``x``, ``a_1`` or ``f(x)``."""
    return isinstance(node, Leaf) and _VARIABLE.fullmatch(node.text) is not None


def unwrapped(node: Node) -> tuple[Node, str]:
    """The set in ``x \\in [1, 2]``, or a node as it is; and the name of the variable whose values it describes."""
    if not isinstance(node, CompoundAnswer):
        return node, ""
    if node.kind == "in":
        return node.items[1], str(getattr(node.items[0], "text", ""))
    if node.kind == "relation" and set(node.marks) <= {"<", "<=", ">", ">=", "!="}:
        names = [item.text for item in node.items if isinstance(item, Leaf) and is_variable(item)]
        return node, names[0] if len(names) == 1 else ""
    return node, ""


def names_and_values(node: Node) -> tuple[list[str], list[Node]] | None:
    """``x=1, y=2`` and ``(x,y)=(1,2)`` as names and values; None for anything else."""
    if not isinstance(node, CompoundAnswer):
        return None
    if node.kind == "relation" and node.marks == ("=",):
        left, right = node.items
        if not (
            isinstance(left, CompoundAnswer)
            and isinstance(right, CompoundAnswer)
            and {left.kind, right.kind} <= {"tuple", "list"}
        ):
            return None
        if len(left.items) == len(right.items) and all(map(is_variable, left.items)):
            return [str(getattr(name, "text", "")) for name in left.items], list(right.items)
        return None
    pairs = [
        item.items
        for item in node.items
        if isinstance(item, CompoundAnswer) and item.kind == "relation" and item.marks == ("=",)
    ]
    if node.kind not in ("list", "tuple") or len(pairs) != len(node.items) or node.marks == ("or",):
        return None
    names = ["".join(name.text.split()) for name, _ in pairs if isinstance(name, Leaf)]
    return (names, [value for _, value in pairs]) if len(names) == len(pairs) == len(set(names)) else None
