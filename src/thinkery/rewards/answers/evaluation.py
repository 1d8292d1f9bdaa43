r"""What an expression is worth at a point: as an exact fraction, modulo a prime, as an interval, or to many digits.

One walk over sympy's tree, four ways to count. Where all is rational the fraction decides, or, where that would
have too
many digits, its rest modulo large primes. Everything else is compared by intervals (or, for complex values, by two
precisions) with as many digits as the numbers written could need to tell two values apart: a value that a term of size
10^-200 can change is computed to far more than 200 digits. Left out: sums without end, integrals (``algebra``).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import mpmath  # type: ignore[import-untyped]
import sympy  # type: ignore[import-untyped]

from thinkery.rewards.answers.tokens import Gcd, Lcm

MAX_BITS = 1 << 17  # of an exact number: 40,000 digits
MAX_SPAN = 20_000  # decimal orders of magnitude between the largest and the smallest number on the way to a value
MAX_TERMS = 10_000  # of sums and products
PRIMES = (2**61 - 1, 2**61 - 31, 2**60 - 93)

Point = Mapping[Any, Any]


class UndefinedError(Exception):
    """There is no value at this point: a division by zero, a fraction of a factorial."""


class NoWayError(Exception):
    """This way of counting cannot say the value; another may."""


class TooLargeError(Exception):
    """The value has too many digits for any way of counting."""


class Exact:
    """Fractions: the four operations, whole powers, rounding, divisors, factorials."""

    def number(self, value: Any) -> Any:
        """A number that stands in the expression."""
        if not value.is_Rational:
            raise NoWayError
        return Fraction(int(value.p), int(value.q))

    def power(self, base: Any, exponent: Any) -> Any:
        """``base`` to a whole ``exponent``."""
        if exponent.denominator != 1:
            raise NoWayError
        if base == 0 and exponent < 0:
            raise UndefinedError
        bits = max(abs(base.numerator).bit_length(), base.denominator.bit_length())
        if bits > 1 and bits * abs(exponent) > MAX_BITS:
            raise NoWayError
        return base ** int(exponent)

    def divide(self, top: Any, bottom: Any) -> Any:
        """A quotient."""
        if bottom == 0:
            raise UndefinedError
        return top / bottom

    def apply(self, function: Any, arguments: list[Any]) -> Any:
        """A function's value."""
        known = _EXACT.get(function.func)
        if known is None:
            return self.unknown(function, arguments)
        value = known(*arguments)
        if value.numerator.bit_length() > MAX_BITS:
            raise NoWayError
        return value

    def unknown(self, function: Any, arguments: list[Any]) -> Any:
        """A function that nobody defined: a value of its own for every name and argument."""
        if not isinstance(function, sympy.core.function.AppliedUndef):
            raise NoWayError
        drawn = hashlib.sha256(repr((str(function.func), arguments)).encode()).digest()
        return Fraction(int.from_bytes(drawn[:4], "big") + 1, 10**6 + 3)


class Modular:
    """Rests modulo a prime. Exponents and arguments of factorials are exact and may be large."""

    def __init__(self, prime: int) -> None:
        self.prime = prime
        self.exact = Exact()

    def number(self, value: Any) -> Any:
        """A number that stands in the expression."""
        if not value.is_Rational:
            raise NoWayError
        return self.divide(int(value.p), int(value.q))

    def divide(self, top: Any, bottom: Any) -> Any:
        """A quotient."""
        if bottom % self.prime == 0:
            raise UndefinedError
        return top * pow(bottom, -1, self.prime) % self.prime


def exact(expression: Any, point: Point) -> Fraction:
    """The exact value. Raises ``NoWayError``, ``UndefinedError``."""
    return _walk(expression, point, Exact())  # type: ignore[no-any-return]


def modular(expression: Any, point: Point, prime: int) -> int:
    """The rest modulo a prime of a rational function's value; ``point`` holds rests. Raises as ``exact`` does."""
    field = Modular(prime)

    def value(node: Any) -> int:
        if node.is_Symbol:
            return int(point[node])
        if node.is_Rational:
            return int(field.number(node))
        if node.is_Add:
            return sum(value(argument) for argument in node.args) % prime
        if node.is_Mul:
            product = 1
            for argument in node.args:
                product = product * value(argument) % prime
            return product
        if node.is_Pow:
            exponent = _whole(node.exp)
            base = value(node.base)
            if exponent < 0 and base == 0:
                raise UndefinedError
            return pow(base, exponent, prime)
        if node.func in (sympy.factorial, sympy.binomial) and not node.free_symbols:
            return _modular_product(node, prime)
        raise NoWayError

    return value(expression)


def _whole(exponent: Any) -> int:
    if exponent.free_symbols:
        raise NoWayError
    value = exact(exponent, {})
    if value.denominator != 1:
        raise NoWayError
    return int(value)


def _modular_product(node: Any, prime: int) -> int:
    numbers = [_whole(argument) for argument in node.args]
    if numbers[0] > 10**6 or numbers[0] < 0:
        raise TooLargeError
    if node.func is sympy.factorial:
        return _modular_factorial(numbers[0], prime)
    below = numbers[0] - numbers[1]
    if below < 0 or numbers[1] < 0:
        return 0
    bottom = _modular_factorial(numbers[1], prime) * _modular_factorial(below, prime)
    return _modular_factorial(numbers[0], prime) * pow(bottom, -1, prime) % prime


def _modular_factorial(number: int, prime: int) -> int:
    product = 1
    for factor in range(2, number + 1):
        product = product * factor % prime
    return product


def _walk(node: Any, point: Point, way: Exact) -> Any:
    if node.is_Symbol:
        return point[node]
    if node.is_number and node.is_Atom:
        return way.number(node)
    if isinstance(node, sympy.Sum | sympy.Product):
        return _series(node, point, way)
    values = [_walk(argument, point, way) for argument in node.args]
    if node.is_Add:
        return sum(values[1:], values[0])
    if node.is_Mul:
        return math.prod(values[1:], start=values[0])
    if node.is_Pow:
        return way.power(*values)
    return way.apply(node, values)


def _series(node: Any, point: Point, way: Exact) -> Any:
    if len(node.limits) != 1:
        raise NoWayError
    name, start, end = node.limits[0]
    if start.free_symbols or end.free_symbols:
        raise NoWayError
    first, last = (exact(bound, {}) for bound in (start, end))
    if first.denominator != 1 or last.denominator != 1 or not 0 <= last - first < MAX_TERMS:
        raise NoWayError
    terms = [_walk(node.function, {**point, name: way.number(sympy.Integer(k))}, way)
             for k in range(int(first), int(last) + 1)]  # fmt: skip
    return sum(terms[1:], terms[0]) if isinstance(node, sympy.Sum) else math.prod(terms[1:], start=terms[0])


def _of_wholes(function: Callable[..., int]) -> Callable[..., Fraction]:
    def value(*arguments: Fraction) -> Fraction:
        if any(one.denominator != 1 for one in arguments):
            raise NoWayError
        return Fraction(function(*map(int, arguments)))

    return value


def _factorial(number: int) -> int:
    if number < 0:
        raise UndefinedError
    if number > 20_000:
        raise NoWayError
    return math.factorial(number)


def _double_factorial(number: int) -> int:
    if not 0 <= number <= 20_000:
        raise NoWayError
    return math.prod(range(number, 0, -2))


def _binomial(top: int, bottom: int) -> int:
    if bottom < 0:
        return 0
    if abs(top) > 20_000:
        raise NoWayError
    return math.comb(top, bottom) if top >= 0 else (-1) ** bottom * math.comb(bottom - top - 1, bottom)


def _modulo(number: Fraction, divisor: Fraction) -> Fraction:
    if divisor == 0:
        raise UndefinedError
    return number - divisor * math.floor(number / divisor)


def _sign(number: Fraction) -> Fraction:
    return Fraction((number > 0) - (number < 0))


_EXACT: dict[Any, Callable[..., Fraction]] = {
    sympy.floor: lambda x: Fraction(math.floor(x)), sympy.ceiling: lambda x: Fraction(math.ceil(x)), sympy.Abs: abs,
    sympy.factorial: _of_wholes(_factorial), sympy.factorial2: _of_wholes(_double_factorial),
    sympy.binomial: _of_wholes(_binomial), Gcd: _of_wholes(math.gcd), Lcm: _of_wholes(math.lcm),
    sympy.Mod: _modulo, sympy.Max: lambda *x: max(x), sympy.Min: lambda *x: min(x), sympy.sign: _sign,
    sympy.re: lambda x: x, sympy.im: lambda x: Fraction(0), sympy.conjugate: lambda x: x,
}  # fmt: skip


class Digits(Exact):
    """mpmath's numbers, real or complex, to its precision; notes the span of magnitudes that it meets."""

    context: Any = mpmath.mp

    def __init__(self) -> None:
        self.span = 0.0

    def number(self, value: Any) -> Any:
        """A number that stands in the expression."""
        context = self.context
        if value.is_Rational:
            size = max(abs(int(value.p)).bit_length(), int(value.q).bit_length())
            self._note(size * 0.302)
            return context.mpf(int(value.p)) / int(value.q)
        constants = {sympy.pi: context.pi, sympy.E: context.e}
        if value in constants:
            return +constants[value]
        if value is sympy.I and context is mpmath.mp:
            return context.mpc(0, 1)
        if value is sympy.EulerGamma or value is sympy.GoldenRatio or value is sympy.Catalan:
            raise NoWayError
        if value in (sympy.oo, -sympy.oo) and context is mpmath.mp:
            return context.inf if value is sympy.oo else -context.inf
        raise NoWayError if value.is_finite is not False else UndefinedError

    def power(self, base: Any, exponent: Any) -> Any:
        """Any power."""
        if self._size(exponent) > 12:
            raise TooLargeError
        value = base**exponent
        return self._checked(value)

    def apply(self, function: Any, arguments: list[Any]) -> Any:
        """A function's value."""
        name = _NAMES.get(function.func)
        if isinstance(function, sympy.core.function.AppliedUndef):
            raise NoWayError
        if function.func in (sympy.exp, sympy.cosh, sympy.sinh) and self._size(arguments[0]) > 5:
            raise TooLargeError
        if name is not None and (known := getattr(self.context, name, None)) is not None:
            return self._checked(known(*arguments))
        if self.context is not mpmath.mp:
            raise NoWayError
        if function.func in (sympy.floor, sympy.ceiling):
            return self._rounded(function, arguments[0])
        if function.func in (sympy.Max, sympy.Min, sympy.Mod, sympy.sign) and not any(
            isinstance(one, mpmath.mpc) for one in arguments
        ):
            return self._checked(_OF_REALS[function.func](*arguments))
        raise NoWayError

    def _rounded(self, function: Any, value: Any) -> Any:
        if isinstance(value, mpmath.mpc):
            raise NoWayError
        nearest = mpmath.nint(value)
        if value != nearest and abs(value - nearest) < mpmath.mpf(10) ** (10 - mpmath.mp.dps) * max(1, abs(value)):
            value = nearest  # a root that is whole
        return mpmath.floor(value) if function.func is sympy.floor else mpmath.ceil(value)

    def _size(self, value: Any) -> float:
        magnitude = abs(value)
        top = getattr(magnitude, "b", magnitude)  # an interval's upper end
        return float(mpmath.mp.log10(mpmath.mpf(top))) if top != 0 and mpmath.isfinite(mpmath.mpf(top)) else 0.0

    def _note(self, span: float) -> None:
        self.span = max(self.span, span)
        if self.span > MAX_SPAN:
            raise TooLargeError

    def _checked(self, value: Any) -> Any:
        if self.context is mpmath.mp:
            if mpmath.isnan(value):
                raise UndefinedError
            self._note(abs(self._size(value)))
        return value


class Intervals(Digits):
    """mpmath's intervals, of real numbers only."""

    context = mpmath.iv

    def power(self, base: Any, exponent: Any) -> Any:
        """A power of a positive number, or a whole one."""
        if exponent.a == exponent.b and exponent.a == int(exponent.a):
            whole = int(exponent.a)
            if whole < 0 and 0 in base:
                raise NoWayError
            return base**whole
        if not base.a > 0:
            raise NoWayError
        return mpmath.iv.exp(exponent * mpmath.iv.log(base))


_NAMES = {
    sympy.sin: "sin", sympy.cos: "cos", sympy.tan: "tan", sympy.cot: "cot", sympy.sec: "sec", sympy.csc: "csc",
    sympy.asin: "asin", sympy.acos: "acos", sympy.atan: "atan", sympy.acot: "acot", sympy.sinh: "sinh",
    sympy.cosh: "cosh", sympy.tanh: "tanh", sympy.coth: "coth", sympy.exp: "exp", sympy.log: "log", sympy.Abs: "fabs",
    sympy.factorial: "factorial", sympy.binomial: "binomial", sympy.gamma: "gamma", sympy.re: "re", sympy.im: "im",
    sympy.factorial2: "fac2", sympy.zeta: "zeta",
}  # fmt: skip
_OF_REALS: dict[Any, Callable[..., Any]] = {
    sympy.Max: max, sympy.Min: min, sympy.Mod: lambda x, y: x - y * mpmath.floor(x / y), sympy.sign: mpmath.sign,
}  # fmt: skip


def digits(expression: Any, point: Point, places: int) -> tuple[Any, float]:
    """The value to ``places`` digits, real or complex, and the span of magnitudes on the way to it."""
    return _counted(expression, point, places, Digits())


def interval(expression: Any, point: Point, places: int) -> Any:
    """An interval that holds the value, computed with ``places`` digits."""
    return _counted(expression, point, places, Intervals())[0]


def _counted(expression: Any, point: Point, places: int, way: Digits) -> tuple[Any, float]:
    context = way.context
    before = context.dps
    context.dps = places
    try:
        numbers = {
            name: way.number(sympy.Rational(value.numerator, value.denominator)) for name, value in point.items()
        }
        return _walk(expression, numbers, way), way.span
    except (ZeroDivisionError, ValueError) as error:
        raise UndefinedError from error
    except (TypeError, AttributeError, NotImplementedError, mpmath.libmp.ComplexResult) as error:
        raise NoWayError from error
    except OverflowError as error:
        raise TooLargeError from error
    finally:
        context.dps = before
