r"""The words of expressions: numbers, commands, names of functions, letters; and what they stand for in sympy.

Left out: how they are put together (``grammar``).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import sympy  # type: ignore[import-untyped]


class UnreadableError(Exception):
    """The text is no expression of this grammar."""


class Gcd(sympy.Function):  # type: ignore[misc]
    """The greatest common divisor of integers; of anything else it is not worked out (sympy's is of polynomials)."""

    @classmethod
    def eval(cls, *arguments: Any) -> Any:
        """The value where all arguments are integers."""
        return sympy.igcd(*arguments) if all(one.is_Integer for one in arguments) else None


class Lcm(sympy.Function):  # type: ignore[misc]
    """The least common multiple of integers."""

    @classmethod
    def eval(cls, *arguments: Any) -> Any:
        """The value where all arguments are integers."""
        return sympy.ilcm(*arguments) if all(one.is_Integer for one in arguments) else None


_TOKEN = re.compile(
    r"(?P<repeating>\d*\.\d*\\overline\s*\{?\s*\d+\s*\}?)|(?P<number>\d+(?:\.\d*)?|\.\d+)(?!\.\d)"
    r"|(?P<command>\\[A-Za-z]+)|(?P<letters>[A-Za-z]+)|(?P<sign>\*\*|\\[|{}%]|[-+*/^_!(){}\[\]|'<>=,%])|(?P<space>[\s~]+)"
)
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "sin": sympy.sin, "cos": sympy.cos, "tan": sympy.tan, "cot": sympy.cot, "sec": sympy.sec, "csc": sympy.csc,
    "arcsin": sympy.asin, "arccos": sympy.acos, "arctan": sympy.atan, "arccot": sympy.acot, "asin": sympy.asin,
    "acos": sympy.acos, "atan": sympy.atan, "arctg": sympy.atan, "tg": sympy.tan, "ctg": sympy.cot,
    "sinh": sympy.sinh, "cosh": sympy.cosh, "tanh": sympy.tanh, "coth": sympy.coth, "ln": sympy.log,
    "log": sympy.log, "lg": lambda x: sympy.log(x, 10), "lb": lambda x: sympy.log(x, 2), "exp": sympy.exp,
    "abs": sympy.Abs, "sign": sympy.sign, "sgn": sympy.sign, "floor": sympy.floor, "ceil": sympy.ceiling,
    "Re": sympy.re, "Im": sympy.im,
}  # fmt: skip
INVERSES = {"sin": "arcsin", "cos": "arccos", "tan": "arctan", "cot": "arccot"}
OF_SEVERAL: dict[str, Callable[..., Any]] = {
    "gcd": Gcd, "lcm": Lcm, "max": sympy.Max, "min": sympy.Min,
}  # fmt: skip
_WORDS = frozenset([*FUNCTIONS, *OF_SEVERAL, "sqrt", "pi", "mod"])
CONSTANTS = {"pi": sympy.pi, "infty": sympy.oo, "e": sympy.E}
GREEK = frozenset(
    [
        "alpha",
        "beta",
        "gamma",
        "delta",
        "epsilon",
        "zeta",
        "eta",
        "theta",
        "iota",
        "kappa",
        "lambda",
        "mu",
        "nu",
        "xi",
        "rho",
        "sigma",
        "tau",
        "upsilon",
        "phi",
        "chi",
        "psi",
        "omega",
        "Gamma",
        "Delta",
        "Theta",
        "Lambda",
        "Xi",
        "Pi",
        "Sigma",
        "Upsilon",
        "Phi",
        "Psi",
        "Omega",
        "ell",
        "hbar",
    ]
)
VARIANTS = {"varphi": "phi", "varepsilon": "epsilon", "vartheta": "theta", "varrho": "rho", "varsigma": "sigma"}
APPLIED = frozenset("fghFGHP") | {"phi", "psi", "tau", "sigma", "mu"}  # letters that a bracket makes functions
STYLES = frozenset(
    ["text", "mathrm", "mathit", "mathbf", "mathsf", "mbox", "textrm", "textbf", "textit", "operatorname", "rm"]
)
_SILENT = frozenset(
    ["left", "right", "displaystyle", "limits", "nolimits", "quad", "qquad", "textstyle", "bigl", "bigr", "Bigl",
     "Bigr", "big", "Big", "thinspace"]
)  # fmt: skip
FRACTIONS, BINOMIALS = frozenset(["frac", "dfrac", "tfrac", "cfrac"]), frozenset(["binom", "dbinom", "tbinom"])
PAIRS = {"(": ")", "[": "]", "{": "}", r"\lfloor": r"\rfloor", r"\lceil": r"\rceil", r"\lvert": r"\rvert"}
TIMES = frozenset(["*", r"\cdot", r"\times", r"\ast"])
OVER = frozenset(["/", r"\div"])
ENDS = frozenset(["", ")", "]", "}", ",", "+", "-", "=", "<", ">", r"\rfloor", r"\rceil", r"\rvert", r"\pm", r"\mp"])
SIGMA = {"sum": sympy.Sum, "prod": sympy.Product}


def tokens(text: str) -> list[str]:
    """Numbers, commands, letters and signs; letters that are no name of a function one by one; spaces as ``' '``."""
    tokens: list[str] = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise UnreadableError(f"{text[position]!r} is no sign of an expression")
        position = match.end()
        kind, token = str(match.lastgroup), match[0]
        if kind == "letters" and token in _WORDS:
            tokens.append("\\" + token)
        elif kind == "letters":
            tokens.extend(_letters(token))
        elif kind == "space":
            if tokens and tokens[-1][-1].isdigit():
                tokens.append(" ")
        elif not (kind == "command" and token[1:] in _SILENT):
            tokens.append(token)
    return tokens


def _letters(run: str) -> list[str]:
    """``xsin`` -> x, sin: a name at the end of a run; else its letters."""
    name = next((name for name in sorted(_WORDS, key=len, reverse=True) if len(name) > 2 and run.endswith(name)), "")
    return [*run[: len(run) - len(name)], *(["\\" + name] if name else [])]
