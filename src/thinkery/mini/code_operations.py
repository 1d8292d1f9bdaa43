"""What the miniature world's functions do: operations on numbers, texts and lists, as words, Python and behaviour.

An operation is written into an expression and, apart from that, done: the tests' expected values never come from the
program that the world writes. Left out: which operations make a task (``code``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Literal, NamedTuple

SUM, PRODUCT, ATOM = 0, 1, 2  # how tightly an expression holds together


class Expression(NamedTuple):
    """A Python expression in ``x``. In a list's comprehension: of each item ``y``, with the conditions on it."""

    text: str
    rank: int = ATOM
    conditions: tuple[str, ...] = ()
    items: bool = False  # a comprehension still open to operations on its items

    def held(self, rank: int) -> str:
        """The text, in brackets where it holds together less tightly than ``rank``."""
        return self.text if self.rank >= rank else f"({self.text})"

    @property
    def source(self) -> str:
        """The whole expression."""
        if not self.items:
            return self.text
        where = f" if {' and '.join(self.conditions)}" if self.conditions else ""
        return f"[{self.text} for y in x{where}]"


Kind = Literal[
    "add", "subtract", "multiply", "square",
    "reverse", "upper", "lower", "repeat", "first", "last", "append", "prepend",
    "even", "odd", "greater", "less",
    "total", "count", "sort", "turn",
]  # fmt: skip

NUMBERS: tuple[Kind, ...] = ("add", "subtract", "multiply")
TEXTS: tuple[Kind, ...] = ("reverse", "upper", "lower", "repeat", "first", "last", "append", "prepend")
FILTERS: tuple[Kind, ...] = ("even", "odd", "greater", "less")
ENDS: tuple[Kind, ...] = ("total", "count", "sort", "turn")
SIMILAR: dict[Kind, tuple[Kind, ...]] = {
    "add": ("subtract", "multiply"),
    "subtract": ("add",),
    "multiply": ("add",),
    "square": ("multiply",),
    "reverse": ("upper",),
    "upper": ("lower",),
    "lower": ("upper",),
    "repeat": ("first",),
    "first": ("last",),
    "last": ("first",),
    "append": ("prepend",),
    "prepend": ("append",),
    "even": ("odd",),
    "odd": ("even",),
    "greater": ("less",),
    "less": ("greater",),
    "total": ("count",),
    "count": ("total",),
    "sort": ("turn",),
    "turn": ("sort",),
}
WORDS: dict[Kind, tuple[str, str]] = {
    "add": ("add {c}", "加{c}"),
    "subtract": ("subtract {c}", "减{c}"),
    "multiply": ("multiply by {c}", "乘以{c}"),
    "square": ("square", "平方"),
    "reverse": ("reverse", "反转"),
    "upper": ("make upper case", "变大写"),
    "lower": ("make lower case", "变小写"),
    "repeat": ("repeat {c} times", "重复{c}次"),
    "first": ("keep the first {c}", "取前{c}个"),
    "last": ("keep the last {c}", "取后{c}个"),
    "append": ("add '{c}' at the end", "末尾加'{c}'"),
    "prepend": ("add '{c}' at the front", "开头加'{c}'"),
    "even": ("keep the even", "取偶数"),
    "odd": ("keep the odd", "取奇数"),
    "greater": ("keep those above {c}", "取大于{c}的"),
    "less": ("keep those below {c}", "取小于{c}的"),
    "total": ("sum up", "求和"),
    "count": ("count", "计数"),
    "sort": ("sort", "排序"),
    "turn": ("reverse", "反转"),
}
_WRITTEN: dict[Kind, tuple[str, int, int]] = {  # Python, the rank that {e} needs, the rank of the whole
    "add": ("{e}+{c}", SUM, SUM),
    "subtract": ("{e}-{c}", SUM, SUM),
    "multiply": ("{e}*{c}", PRODUCT, PRODUCT),
    "square": ("{e}**2", ATOM, PRODUCT),
    "reverse": ("{e}[::-1]", ATOM, ATOM),
    "upper": ("{e}.upper()", ATOM, ATOM),
    "lower": ("{e}.lower()", ATOM, ATOM),
    "repeat": ("{e}*{c}", PRODUCT, PRODUCT),
    "first": ("{e}[:{c}]", ATOM, ATOM),
    "last": ("{e}[-{c}:]", ATOM, ATOM),
    "append": ("{e}+'{c}'", SUM, SUM),
    "prepend": ("'{c}'+{e}", SUM, SUM),
    "even": ("{e}%2==0", PRODUCT, SUM),
    "odd": ("{e}%2==1", PRODUCT, SUM),
    "greater": ("{e}>{c}", SUM, SUM),
    "less": ("{e}<{c}", SUM, SUM),
    "total": ("sum({e})", SUM, ATOM),
    "count": ("len({e})", SUM, ATOM),
    "sort": ("sorted({e})", SUM, ATOM),
    "turn": ("{e}[::-1]", ATOM, ATOM),
}
_DONE: dict[Kind, Callable[[Any, Any], Any]] = {
    "add": lambda v, c: v + c,
    "subtract": lambda v, c: v - c,
    "multiply": lambda v, c: v * c,
    "square": lambda v, c: v * v,
    "reverse": lambda v, c: "".join(reversed(v)),
    "upper": lambda v, c: v.upper(),
    "lower": lambda v, c: v.lower(),
    "repeat": lambda v, c: v * c,
    "first": lambda v, c: "".join(letter for i, letter in enumerate(v) if i < c),
    "last": lambda v, c: "".join(letter for i, letter in enumerate(v) if i >= len(v) - c),
    "append": lambda v, c: v + c,
    "prepend": lambda v, c: c + v,
    "even": lambda v, c: v % 2 == 0,
    "odd": lambda v, c: v % 2 == 1,
    "greater": lambda v, c: v > c,
    "less": lambda v, c: v < c,
    "total": lambda v, c: sum(v),
    "count": lambda v, c: len(v),
    "sort": lambda v, c: sorted(v),
    "turn": lambda v, c: list(reversed(v)),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation with its constant: a number, letters, or "" where it has none."""

    kind: Kind
    constant: int | str = ""

    def words(self, language: str) -> str:
        """``multiply by 3``."""
        return WORDS[self.kind][language == "zh"].format(c=self.constant)

    def condition(self, expression: str, rank: int = ATOM) -> str:
        """A filter as Python: ``y%2==0``."""
        return self._apply(Expression(expression, rank)).text

    def write(self, e: Expression) -> Expression:
        """The expression after this operation."""
        if e.items and self.kind in FILTERS:
            return e._replace(conditions=(*e.conditions, self._apply(Expression(e.text, e.rank)).text))
        if e.items and self.kind in ENDS:
            return self._apply(Expression(e.source))
        return self._apply(e)

    def write_loosely(self, e: Expression) -> Expression:
        """The same with the brackets forgotten."""
        return self.write(e._replace(rank=ATOM))

    def do(self, value: Any) -> Any:
        """The value after this operation. On a list: of each item, or those that pass, or of the whole."""
        act = _DONE[self.kind]
        if isinstance(value, list) and self.kind not in ENDS:
            if self.kind in FILTERS:
                return [item for item in value if act(item, self.constant)]
            return [act(item, self.constant) for item in value]
        return act(value, self.constant)

    def mistaken(self, rng: Random) -> Operation:
        """A similar one, taken for this one: another constant, or another operation."""
        if self.constant == "" or rng.random() < 0.5:
            kind = rng.choice(SIMILAR[self.kind])
            return Operation(kind, constant(rng, kind) if self.constant == "" else self.constant)
        if isinstance(self.constant, str):
            return replace(self, constant=constant(rng, self.kind))
        return replace(self, constant=max(1, self.constant + rng.choice((-10, -1, 1, 10))))

    def _apply(self, e: Expression) -> Expression:
        form, needs, rank = _WRITTEN[self.kind]
        return e._replace(text=form.format(e=e.held(needs), c=self.constant), rank=rank)


def constant(rng: Random, kind: Kind, largest: int = 99) -> int | str:
    """A constant of the size that an operation has."""
    match kind:
        case "add" | "subtract":
            return rng.randrange(1, largest + 1)
        case "multiply":
            return rng.randrange(2, 20 if largest < 100 else 100)
        case "repeat":
            return rng.randrange(2, 5)
        case "first" | "last":
            return rng.randrange(2, 7)
        case "greater" | "less":
            return rng.randrange(3, 50)
        case "append" | "prepend":
            return "".join(rng.choice("abcdxyz") for _ in range(rng.randrange(1, 3)))
        case _:
            return ""


def draw_operation(rng: Random, kinds: tuple[Kind, ...], largest: int = 99) -> Operation:
    """One of some kinds, with a constant up to about ``largest``."""
    kind = rng.choice(kinds)
    return Operation(kind, constant(rng, kind, largest))
