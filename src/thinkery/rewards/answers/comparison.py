r"""Whether two expressions are the same, with a proof as far as there is one.

Constants: equal fractions, else intervals with digits for every number that is written. Rational functions of
variables: equal values at random points modulo large primes (Schwartz 1980, Zippel 1979), which proves it but for a
chance of about 10^-50. All else: equal values at points that tell expressions apart: whole numbers about every number
that is written (for floors, divisors, rests), negative numbers, and fractions. Left out: reading (``grammar``).
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from typing import Any

import mpmath  # type: ignore[import-untyped]
import sympy  # type: ignore[import-untyped]

from thinkery.rewards.answers.evaluation import (
    PRIMES,
    NoWayError,
    Point,
    TooLargeError,
    UndefinedError,
    digits,
    exact,
    interval,
    modular,
)
from thinkery.rewards.answers.tokens import Gcd, Lcm

GUARD_DIGITS = 60  # beyond those that the numbers written need
_STEPS = (sympy.floor, sympy.ceiling, sympy.Mod, Gcd, Lcm, sympy.Abs, sympy.Max, sympy.Min, sympy.sign)
_ROUNDINGS = (sympy.floor, sympy.ceiling, sympy.Mod)
_COUNTS = (sympy.factorial, sympy.factorial2, sympy.binomial, Gcd, Lcm)  # of whole numbers
_WHOLE_NAMES = frozenset("nmkNMKijl")
_REALS = (Fraction(7, 11), Fraction(-23, 13), Fraction(31, 17), Fraction(-5, 19), Fraction(53, 29), Fraction(17, 2))
_MAX_POINTS = 60


def same(expected: Any, given: Any) -> bool:
    """Whether two expressions have the same value wherever they have one, and have one somewhere."""
    if expected == given:
        return not expected.has(sympy.nan, sympy.zoo)
    symbols = _symbols(expected, given)
    if not symbols:
        return _same_at(expected, given, {}) is True
    if (proof := _rational_functions(expected, given, symbols)) is not None:
        return proof
    compared = 0
    for point in _points(expected, given, symbols):
        equal = _same_at(expected, given, point)
        if equal is False:
            return False
        compared += equal is True
    return compared > 1


def factor_between(expected: Any, given: Any) -> int:
    """The sign of c where ``gold = c * given`` for a real constant c; 0 if there is none, or if one is a constant."""
    symbols = _symbols(expected, given)
    if expected.free_symbols != given.free_symbols or not symbols:
        return 0
    quotient: Any = None
    for point in _points(expected, given, symbols):
        values = [_value(expression, point) for expression in (expected, given)]
        if any(value is None for value in values):
            if any(value is not None for value in values):
                return 0
            continue
        zero = [_is_zero(value) for value in values]
        if zero[0] != zero[1]:
            return 0
        if zero[0]:
            continue
        if quotient is None:
            quotient = _real(values[0] / values[1])
            if quotient is None:
                return 0
        elif _is_zero(values[0] / values[1] - quotient) is False:
            return 0
    if quotient is None:
        return 0
    scale = (
        sympy.nsimplify(sympy.Rational(quotient.numerator, quotient.denominator))
        if isinstance(quotient, Fraction)
        else None
    )
    if scale is not None and not same(expected, scale * given):
        return 0
    return 1 if quotient > 0 else -1


def rounds_to(expression: Any, decimal: Fraction, places: int) -> bool:
    """Whether a constant's value is ``decimal`` when rounded to that many places."""
    if expression.free_symbols:
        return False
    try:
        value, _ = digits(expression, {}, 60)
    except (NoWayError, UndefinedError, TooLargeError):
        value = _by_sympy(expression)
    if value is None or isinstance(value, mpmath.mpc) or not mpmath.isfinite(value):
        return False
    with mpmath.workdps(60):
        gap = abs(value - mpmath.mpf(decimal.numerator) / decimal.denominator)
        return bool(gap * 2 * mpmath.mpf(10) ** places <= 1)


def constant(expression: Any) -> Any:
    """A constant's value, a fraction or a number of mpmath's, or None."""
    return None if expression.free_symbols else _value(expression, {})


def is_real(value: Any) -> bool:
    """Whether a constant's value is real, but for rounding."""
    return _real(value) is not None


def _symbols(expected: Any, given: Any) -> list[Any]:
    return sorted(expected.free_symbols | given.free_symbols, key=lambda symbol: str(symbol.name))


def _same_at(expected: Any, given: Any, point: Point) -> bool | None:
    """Whether both have the same value at a point; None if neither has one there."""
    one, other = _exact_or_none(expected, point), _exact_or_none(given, point)
    if isinstance(one, Fraction) and isinstance(other, Fraction):
        return one == other
    if (one is UNDEFINED) != (other is UNDEFINED) and (one is not None and other is not None):
        return None if point and (expected.has(sympy.factorial) or given.has(sympy.factorial)) else False
    if one is UNDEFINED and other is UNDEFINED:
        return None
    if not point and (rests := _same_rests(expected, given)) is not None:
        return rests
    return _same_digits(expected, given, point)


UNDEFINED = object()


def _exact_or_none(expression: Any, point: Point) -> Any:
    try:
        return exact(expression, point)
    except UndefinedError:
        return UNDEFINED
    except (NoWayError, KeyError, TypeError):
        return None


def _same_rests(expected: Any, given: Any) -> bool | None:
    """Whether two huge numbers have the same rests; None where a rest says nothing."""
    try:
        return all(modular(expected, {}, prime) == modular(given, {}, prime) for prime in PRIMES)
    except (NoWayError, UndefinedError):
        return None


def _same_digits(expected: Any, given: Any, point: Point) -> bool | None:
    try:
        (one, span), (other, other_span) = digits(expected, point, 40), digits(given, point, 40)
    except UndefinedError:
        return False if _defined(expected, point) != _defined(given, point) else None
    except NoWayError:
        return _same_by_sympy(expected, given, point)
    if not (mpmath.isfinite(one) and mpmath.isfinite(other)):
        return bool(one == other)
    if point and _real(one) is None and not expected.has(sympy.I):
        return None  # variables are real, and here the reference has no value
    if not (_vanishes(one, 30) and _vanishes(other, 30)) and not _close(one, other, 15):
        return False
    places = GUARD_DIGITS + int(2 * (span + other_span))
    return _same_interval(expected, given, point, places)


def _defined(expression: Any, point: Point) -> bool:
    try:
        digits(expression, point, 40)
    except UndefinedError:
        return False
    return True


def _same_interval(expected: Any, given: Any, point: Point, places: int) -> bool:
    """Whether the difference is an interval about zero that is narrower than the numbers written could tell apart."""
    working = 2 * places
    try:
        gap = interval(expected, point, working) - interval(given, point, working)
        return bool(0 in gap and mpmath.mpf(gap.delta.b) < mpmath.mpf(10) ** -places)
    except (NoWayError, UndefinedError):
        pass
    gaps = []
    for precision in (working, working + 40):
        with mpmath.workdps(precision):
            one, other = digits(expected, point, precision)[0], digits(given, point, precision)[0]
            gaps.append(abs(one - other))
    return all(gap < mpmath.mpf(10) ** -places for gap in gaps)


def _close(one: Any, other: Any, places: int) -> bool:
    return bool(abs(one - other) <= mpmath.mpf(10) ** -places * (abs(one) + abs(other)))


def _vanishes(value: Any, places: int) -> bool:
    return bool(abs(value) < mpmath.mpf(10) ** -places)


def _value(expression: Any, point: Point) -> Any:
    """The value at a point, None if there is none: a fraction where it is one, else to a hundred digits."""
    found = _exact_or_none(expression, point)
    if found is UNDEFINED:
        return None
    if isinstance(found, Fraction):
        return found
    try:
        value, span = digits(expression, point, 40)
        value = (
            digits(expression, point, GUARD_DIGITS + int(2 * span))[0]
            if span > 10
            else digits(expression, point, 100)[0]
        )
    except UndefinedError:
        return None
    except NoWayError:
        return _by_sympy(expression.subs(_rational(point)))
    return value if mpmath.isfinite(value) else None


def _is_zero(value: Any) -> bool:
    return value == 0 if isinstance(value, Fraction) else _vanishes(value, 35)


def _real(value: Any) -> Any:
    if isinstance(value, mpmath.mpc):
        return value.real if _vanishes(value.imag, 35) else None
    return value


def _rational_functions(expected: Any, given: Any, symbols: list[Any]) -> bool | None:
    """Whether two rational functions are identical; None if one of them is none."""
    drawn = random.Random(61)
    compared = 0
    try:
        for prime in PRIMES:
            point = {symbol: drawn.randrange(2, prime) for symbol in symbols}
            try:
                if modular(expected, point, prime) != modular(given, point, prime):
                    return False
                compared += 1
            except UndefinedError:
                continue
    except NoWayError:
        return None
    return compared > 0


def _points(expected: Any, given: Any, symbols: list[Any]) -> Iterator[dict[Any, Fraction]]:
    """Points for all symbols: fractions of both signs, and whole numbers; more of them where values jump."""
    jumps = expected.has(*_STEPS, *_COUNTS) or given.has(*_STEPS, *_COUNTS)
    discrete = (
        _alternates(expected) or _alternates(given) or expected.has(*_ROUNDINGS) or given.has(*_ROUNDINGS, *_COUNTS)
    )
    counts = expected.has(*_COUNTS) or (discrete and _whole(symbols))
    if not counts:
        yield from _fractions(symbols)
    drawn = random.Random(0)
    wholes = _wholes(expected, given) if jumps or counts else [2, 3, 5, 6, 11]
    limit = _MAX_POINTS if jumps else 8
    if len(symbols) == 1:
        yield from ({symbols[0]: Fraction(whole)} for whole in wholes[:limit])
        return
    for _ in range(limit):
        yield {symbol: Fraction(drawn.choice(wholes)) for symbol in symbols}


def _whole(symbols: list[Any]) -> bool:
    return all(str(symbol.name)[:1] in _WHOLE_NAMES for symbol in symbols)


def _alternates(expression: Any) -> bool:
    """Whether there is a power like (-1)^n, whose exponent is meant to be whole."""
    return any(power.base.is_negative and power.exp.free_symbols for power in expression.atoms(sympy.Pow))


def _fractions(symbols: list[Any]) -> Iterator[dict[Any, Fraction]]:
    for base in _REALS:
        yield {s: Fraction(base.numerator + 2 * k * k, base.denominator + 3 * k) for k, s in enumerate(symbols)}


def _wholes(expected: Any, given: Any) -> list[int]:
    """Whole numbers about and between the numbers that are written, those first where a step may lie."""
    written = {
        abs(int(part))
        for one in (expected, given)
        for number in one.atoms(sympy.Rational)
        for part in (number.p, number.q)
    }
    steps = sorted(number for number in written if 1 < number < 10**9)[:8]
    near = [number + shift for number in steps for shift in (0, -1, 1)] + [2 * number for number in steps]
    if len(steps) > 1:
        near += [steps[-1] * steps[-2], steps[-1] * steps[-2] + 1]
    small = [6, 4, 12, 7, 10, 5, 9, 16, 15, 3, 8, 30, 25, 1, 2, 36, 27, 100, 64, 210, 97, 1001]
    return list(dict.fromkeys([*near, *small]))


def _rational(point: Point) -> dict[Any, Any]:
    return {symbol: sympy.Rational(value.numerator, value.denominator) for symbol, value in point.items()}


@lru_cache(maxsize=512)
def _by_sympy(expression: Any) -> Any:
    """The value of what only sympy works out: sums without end, integrals, limits; None if it can't."""
    value = expression.evalf(40)
    if not value.is_number or not value.is_finite:
        return None
    real, imaginary = value.as_real_imag()
    if not (real.is_Float or real.is_Rational) or not (imaginary.is_Float or imaginary.is_Rational):
        return None
    with mpmath.workdps(40):
        return mpmath.mpc(mpmath.mpf(str(real)), mpmath.mpf(str(imaginary))) if imaginary else mpmath.mpf(str(real))


def _same_by_sympy(expected: Any, given: Any, point: Point) -> bool | None:
    values = [_by_sympy(expression.subs(_rational(point))) for expression in (expected, given)]
    if values[0] is None or values[1] is None:
        return None if values[0] is values[1] else False
    with mpmath.workdps(40):
        return _close(values[0], values[1], 30) or (_vanishes(values[0], 35) and _vanishes(values[1], 35))
