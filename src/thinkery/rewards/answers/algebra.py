r"""Expressions without outer form: read with math-verify's grammar, compared by their values.

Two expressions are the same if they have the same value at several points, to 40 digits; points where they differ in
the first digits refute most wrong answers at once. That is stricter than math-verify's own comparison, which rounds to
six decimals (2^-99 passes for 2^-98, 0.333333 for 1/3), and faster than simplification, which proves less. Decimals are
read as the fractions that they are written as. Runs in worker processes only: it may hang, or eat memory. Left out:
what needs assumptions about a variable (``\ln x^2`` is not ``2 \ln x``), and undefined functions beyond their looks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from fractions import Fraction
from functools import lru_cache
from typing import Any

import sympy  # type: ignore[import-untyped]
from latex2sympy2_extended.latex2sympy2 import (  # type: ignore[import-untyped]
    ConversionConfig,
    NormalizationConfig,
    latex2sympy,
    normalize_latex,
)

from thinkery.rewards.answers.statements import is_prose

DIGITS = 40
_NORMALISE = NormalizationConfig(
    basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="none", equations=False
)
_CONVERT = ConversionConfig(lowercase_symbols=False)
# What the grammar would read in its own way: two numbers side by side are added, dots and primes left out, a colon
# divides, and of an approximation the first side counts.
_UNREADABLE = re.compile(
    r"""(?<![_\d])\d+\s+\d|\.\.|\\[lcd]?dots|[…:'\"]|\\(?:approx|sim|simeq|cong|equiv)(?![A-Za-z])"""
)
# What a variable is replaced with: neither special values nor each other's, both signs, small and large.
_POINTS = ((7, 11), (-23, 13), (31, 17), (-5, 19), (53, 29))
_BINDERS = (sympy.Sum, sympy.Product, sympy.Integral, sympy.Limit, sympy.Derivative)


@lru_cache(maxsize=4096)
def parse(text: str) -> Any:
    """The expression (a sympy object: sympy carries no types), or None."""
    if not text or _UNREADABLE.search(text) or is_prose(text):
        return None
    try:
        found = latex2sympy(
            normalize_latex(text, _NORMALISE), is_real=None, normalization_config=None, conversion_config=_CONVERT
        )
        return _plain(found) if isinstance(found, sympy.Expr) else found
    except MemoryError:
        raise
    except Exception:  # the grammar and sympy fail in many ways on nonsense
        return None


def _plain(expression: Any) -> Any:
    """Symbols by name alone (i is the imaginary unit), decimals as fractions."""
    names = {symbol: symbol.name.replace("{", "").replace("}", "") for symbol in expression.free_symbols}
    swaps = {symbol: sympy.I if name == "i" else sympy.Symbol(name) for symbol, name in names.items()}
    swaps |= {number: sympy.Rational(str(number)) for number in expression.atoms(sympy.Float)}
    swaps |= {percent: percent.args[0] for percent in expression.atoms(sympy.UnevaluatedExpr)}
    return expression.xreplace(swaps)


def same(gold: Any, given: Any) -> bool:
    """Whether two expressions have the same value wherever they have one."""
    if not (isinstance(gold, sympy.Expr) and isinstance(given, sympy.Expr)):
        return bool(type(gold) is type(given) and gold == given)
    if gold == given:
        return not gold.has(sympy.nan, sympy.zoo)
    if gold.is_Rational and given.is_Rational:
        return False
    compared = 0
    for one, other in zip(_values(gold, given), _values(given, gold), strict=True):
        if (one is None) != (other is None):
            return False
        if one is not None and other is not None:
            if not _close(one, other):
                return False
            compared += 1
    return compared > 0


def is_expression(found: Any) -> bool:
    """Whether what was parsed has a value: not a set, a relation, a matrix or None."""
    return isinstance(found, sympy.Expr)


def unevaluated(expression: Any) -> bool:
    """Whether a sum, product, integral, limit or derivative is left to be worked out."""
    return isinstance(expression, sympy.Basic) and bool(expression.has(*_BINDERS))


def proportional(gold: Any, given: Any) -> int:
    """The sign of c where ``gold = c * given`` for a real constant c; 0 if there is none, or both vanish."""
    ratio = None
    for one, other in zip(_values(gold, given), _values(given, gold), strict=True):
        if one is None or other is None or _vanishes(one) or _vanishes(other):
            if (one is None) != (other is None) or (one and other and _vanishes(one) != _vanishes(other)):
                return 0
            continue
        quotient = (one / other).evalf(DIGITS)
        if ratio is not None and not _close(ratio, quotient):
            return 0
        ratio = quotient
    if ratio is None or not ratio.is_real:
        return 0
    return 1 if ratio > 0 else -1


def rounds_to(expression: Any, decimal: Fraction, places: int) -> bool:
    """Whether an expression's value is ``decimal`` when rounded to that many places."""
    if not isinstance(expression, sympy.Expr) or expression.free_symbols:
        return False
    value = expression.evalf(DIGITS)
    if not value.is_real or not value.is_finite:
        return False
    return bool(abs(value - sympy.Rational(decimal.numerator, decimal.denominator)) * 2 * 10**places <= 1)


def _values(expression: Any, other: Any) -> Iterable[Any]:
    """The values at the points, None where there is none; a single one where no variable occurs on either side."""
    symbols = sorted(expression.free_symbols | other.free_symbols, key=lambda symbol: str(symbol.name))
    for top, bottom in _POINTS if symbols else _POINTS[:1]:
        point = {s: sympy.Rational(top + 2 * k * k, bottom + 3 * k) for k, s in enumerate(symbols)}
        value = _at(expression, point).evalf(DIGITS)
        yield value if value.is_number and not value.has(sympy.nan, sympy.zoo) and _is_value(value) else None


def _at(expression: Any, point: dict[Any, Any]) -> Any:
    if unevaluated(expression):  # only substitution respects that a sum's own variable is not free
        return expression.subs({symbol: value for symbol, value in point.items() if symbol in expression.free_symbols})
    return expression.xreplace(point)


def _is_value(value: Any) -> bool:
    real, imaginary = value.as_real_imag()
    return all(part.is_Float or part.is_Rational or part in (sympy.oo, -sympy.oo) for part in (real, imaginary))


def _vanishes(value: Any) -> bool:
    """Whether a value is zero, or all that is left of it is rounding error."""
    return all(part == 0 or (part.is_Float and part._prec == 1) for part in value.as_real_imag())


def _close(one: Any, other: Any) -> bool:
    """Equal to all digits but the last ten: relatively, never absolutely."""
    if _vanishes(one) or _vanishes(other):
        return _vanishes(one) and _vanishes(other)
    if not (one.is_finite and other.is_finite):
        return bool(one == other)
    return bool(abs(one - other) <= sympy.Float(10, DIGITS) ** (10 - DIGITS) * abs(one))


_CHEAP = 60  # operations


def canonical(expression: Any) -> str:
    """One text for equal expressions, as far as cheap rewriting reaches; for other numbers their first digits."""
    if not isinstance(expression, sympy.Expr) or unevaluated(expression):
        return str(expression)[:512]
    cheap = expression.count_ops() <= _CHEAP and all(
        not power.exp.is_Integer or abs(power.exp) <= 12 for power in expression.atoms(sympy.Pow)
    )
    expanded = sympy.expand(expression) if cheap else expression
    if expression.free_symbols:
        return str(expanded)[:512]
    expanded = sympy.sqrtdenest(sympy.radsimp(expanded)) if cheap else expanded
    return str(expanded)[:512] if _is_linear_in_roots(expanded) else str(expression.evalf(15))


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
