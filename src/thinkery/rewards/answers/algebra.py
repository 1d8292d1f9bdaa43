r"""Expressions without outer form: read once, compared by ``comparison``, spelt in a normal form.

Decimals are read as the fractions that they are written as. Runs in worker processes only: it may hang, or eat memory.
Left out: what needs assumptions about a variable beyond that it is real (``2 \ln x`` for ``\ln x^2``), and integrals.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache
from typing import Any

import sympy  # type: ignore[import-untyped]

from thinkery.rewards.answers import comparison
from thinkery.rewards.answers.grammar import read_expression
from thinkery.rewards.answers.statements import is_prose
from thinkery.rewards.answers.tokens import UnreadableError

# Dots and doubts in a text are no part of an expression.
_UNREADABLE = re.compile(r"\.\.|\\[lcd]?dots|[…:\"]|\\(?:approx|sim|simeq|cong|equiv)(?![A-Za-z])")
_BINDERS = (sympy.Sum, sympy.Product)
_CHEAP = 60  # operations
_SHOWN = 512  # characters


@lru_cache(maxsize=4096)
def parse(text: str) -> Any:
    """The expression (a sympy object: sympy carries no types), or None."""
    if not text or _UNREADABLE.search(text) or is_prose(text):
        return None
    try:
        found = read_expression(text)
    except (UnreadableError, ValueError, TypeError, NotImplementedError, OverflowError, ZeroDivisionError):
        return None
    return found if isinstance(found, sympy.Expr) else None


def same(expected: Any, given: Any) -> bool:
    """Whether two expressions have the same value wherever they have one."""
    return comparison.same(expected, given)


def is_expression(found: Any) -> bool:
    """Whether a text could be read."""
    return isinstance(found, sympy.Expr)


def is_constant(found: Any) -> bool:
    """Whether an expression holds no variable."""
    return (
        isinstance(found, sympy.Expr) and not found.free_symbols and not found.atoms(sympy.core.function.AppliedUndef)
    )


def unevaluated(expression: Any) -> bool:
    """Whether a sum or product is left to be worked out."""
    return isinstance(expression, sympy.Basic) and bool(expression.has(*_BINDERS))


def proportional(expected: Any, given: Any) -> int:
    """The sign of c where ``expected = c * given`` for a real constant c; 0 if there is none, or one is constant."""
    return comparison.factor_between(expected, given)


def rounds_to(expression: Any, decimal: Fraction, places: int) -> bool:
    """Whether an expression's value is ``decimal`` when rounded to that many places."""
    return isinstance(expression, sympy.Expr) and comparison.rounds_to(expression, decimal, places)


def canonical(expression: Any) -> str:
    """One text for equal expressions, as far as cheap rewriting reaches; for other numbers their first digits."""
    try:
        return _canonical(expression)[:_SHOWN]
    except ValueError:  # a number of more digits than Python prints
        return "a number of many digits"


def _canonical(expression: Any) -> str:
    if not isinstance(expression, sympy.Expr) or unevaluated(expression):
        return str(expression)
    cheap = expression.count_ops() <= _CHEAP and all(
        not power.exp.is_Integer or abs(power.exp) <= 12 for power in expression.atoms(sympy.Pow)
    )
    expanded = sympy.expand(expression) if cheap else expression
    if expression.free_symbols:
        return str(expanded)
    expanded = sympy.sqrtdenest(sympy.radsimp(expanded)) if cheap else expanded
    return str(expanded) if _is_linear_in_roots(expanded) else str(expression.evalf(15))


def _is_linear_in_roots(expression: Any) -> bool:
    """Whether sympy's own rewriting has one text for a number's value: rationals, square roots, pi, i."""
    return (
        all(atom.is_Rational or atom in (sympy.pi, sympy.I) for atom in expression.atoms())
        and all(
            power.base is sympy.pi or (power.base.is_Integer and power.exp == sympy.S.Half)
            for power in expression.atoms(sympy.Pow)
        )
        and not expression.atoms(sympy.Function)
    )


def half(places: int) -> Any:
    """Half a unit of the last of so many decimals."""
    return sympy.Rational(1, 2 * 10**places)
