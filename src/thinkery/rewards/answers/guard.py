r"""What must not be evaluated: towers of powers, factorials of factorials, sums without end, in every notation.

Computer algebra evaluates numbers exactly and eagerly, so ``5^{5^{5^5}}`` costs all time there is. The guard reads an
expression with a small operator-precedence parser (Pratt 1973) that computes no value but two bounds: how large it can
be, and how many digits it takes to write down. A variable counts as 2. Microseconds, linear in the text, and any text
has a reading. Left out: work that is hard although its numbers are small; that is what the workers' deadline is for.
"""

from __future__ import annotations

import math
import re
from typing import NamedTuple

MAX_DEPTH = 40  # of brackets and of right-hand operands
MAX_DIGITS = 20_000  # of any exact number
MAX_EXPONENT = 10**6
MAX_TERMS = 10**4  # of a sum or product that must be added up term by term
MAX_INTEGRALS = 3
MAX_LENGTH = 4096  # characters; longer text is not even read


class _RefusedError(Exception):
    """Evaluation would take too long. Says why."""


class _Bounds(NamedTuple):
    """Of a subexpression: log10 of the largest and smallest magnitude that it can have, and its digits when exact."""

    high: float
    low: float
    digits: float


_VARIABLE = _Bounds(math.log10(2), 0.0, 0.0)
_ONE = _Bounds(0.0, 0.0, 0.0)
_CONSTANTS = {r"\pi": 0.498, "e": 0.435, r"\infty": 0.0, r"\e": 0.435}
_TOKEN = re.compile(
    r"\\(?P<name>[A-Za-z]+)\*?|(?P<number>[0-9][0-9,]*(?:\.[0-9]*)?|\.[0-9]+)(?:[eE](?P<e>[+-]?[0-9]+))?"
    r"|(?P<word>exp|gamma|Gamma|sqrt|factorial|binom|sum|prod)(?![A-Za-z])|(?P<letter>[^\W\d_])"
    r"|(?P<operator>\*\*|[-+*/^_!(){}\[\]|=<>,;&])|(?P<escaped>\\.)",
    re.DOTALL,
)
_DIGITS = frozenset("0123456789.")
_OPENERS, _CLOSERS = frozenset("([{"), frozenset(")]}")
_SEPARATORS = frozenset(["=", "<", ">", ",", ";", "&", r"\\", r"\le", r"\ge", r"\leq", r"\geq", r"\ne", r"\neq", r"\in",
                         r"\cup", r"\cap", r"\to", r"\pm", r"\mp"])  # fmt: skip
_PLUS = frozenset(["+", "-", r"\pm", r"\mp"])
_TIMES = frozenset(["*", r"\cdot", r"\times", r"\ast"])
_OVER = frozenset(["/", r"\div", r"\over"])
_POWERS = frozenset(["^", "**"])
_ARROWS = frozenset([r"\uparrow", r"\Uparrow", r"\upuparrows"])
_FRACTIONS = frozenset([r"\frac", r"\dfrac", r"\tfrac", r"\cfrac"])
_BINOMIALS = frozenset([r"\binom", r"\dbinom", r"\tbinom", r"\choose"])
_SUMS = frozenset([r"\sum", r"\prod"])


def refusal(text: str) -> str | None:
    """Why a cleaned expression must not be evaluated, or None if it may be."""
    if len(text) > MAX_LENGTH:
        return f"longer than {MAX_LENGTH} characters"
    try:
        _Reader(text).everything()
    except _RefusedError as refused:
        return str(refused)
    return None


def _tokens(text: str) -> list[str]:
    """Commands with their backslash, numbers with their exponent, letters and signs. What is none of them is left out.

    ``exp`` and its like without a backslash become commands.
    """
    tokens = []
    for match in _TOKEN.finditer(text):
        tokens.append(f"\\{match['word']}" if match["word"] else f"\\{match['name']}" if match["name"] else match[0])
    return tokens


class _Reader:
    """Reads a list of tokens once, from left to right."""

    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self._at = 0
        self._depth = 0
        self._terms = 1.0  # the product over all sums and products of how many terms they have
        self._integrals = 0

    def everything(self) -> None:
        """All expressions in the text, whatever stands between them."""
        while self._at < len(self._tokens):
            before = self._at
            self._sum()
            if self._at == before:
                self._at += 1  # a closing bracket too many, or a separator

    def _next(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _take(self) -> str:
        token = self._next()
        self._at += 1
        return token

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _RefusedError(f"nested deeper than {MAX_DEPTH}")

    def _sum(self) -> _Bounds:
        total = self._product()
        while self._next() in _PLUS:
            self._take()
            term = self._product()
            total = _checked(_Bounds(max(total.high, term.high) + 0.302, -math.inf, total.digits + term.digits))
        return total

    def _product(self) -> _Bounds:
        product = self._signed()
        while token := self._next():
            if token in _PLUS or token in _SEPARATORS or token in _CLOSERS or token == "|":
                break
            if token in _OVER:
                self._take()
                product = _quotient(product, self._signed())
            else:
                if token in _TIMES:
                    self._take()
                factor = self._signed()
                product = _checked(
                    _Bounds(product.high + factor.high, product.low + factor.low, product.digits + factor.digits)
                )
        return product

    def _signed(self) -> _Bounds:
        while self._next() in _PLUS:
            self._take()
        return self._power()

    def _power(self) -> _Bounds:
        base = self._postfix()
        if self._next() in _ARROWS:
            raise _RefusedError("Knuth's arrows")
        if self._next() not in _POWERS:
            return base
        self._take()
        self._deeper()
        while self._next() in _PLUS:
            self._take()
        exponent = self._power()
        self._depth -= 1
        if self._next() == "!":  # 2^3! is 2^6, or 8!: whichever is worse
            exponent = self._factorials(exponent)
        return self._factorials(_power(base, exponent))

    def _postfix(self) -> _Bounds:
        value = self._factorials(self._atom())
        if self._next() == "_":
            self._take()
            self._atom()
        return self._factorials(value)

    def _factorials(self, value: _Bounds) -> _Bounds:
        while self._next() == "!":  # n!! may mean (n!)!
            self._take()
            value = _factorial(value)
        return value

    def _atom(self) -> _Bounds:
        token = self._next()
        if not token or token in _CLOSERS or token in _SEPARATORS or token in _PLUS:
            return _VARIABLE
        self._take()
        if token in _OPENERS:
            return self._group()
        if token[0] in _DIGITS:
            return _literal(token)
        if token in _CONSTANTS:
            return _Bounds(_CONSTANTS[token], _CONSTANTS[token], 0.0)
        return self._command(token) if token[0] == "\\" else _VARIABLE

    def _group(self) -> _Bounds:
        """What stands between brackets; of several expressions the bounds of all."""
        self._deeper()
        inside = self._sum()
        while self._next() and self._next() not in _CLOSERS:
            before = self._at
            item = self._sum()
            inside = _Bounds(max(inside.high, item.high), -math.inf, max(inside.digits, item.digits))
            if self._at == before:
                self._take()
        self._take()
        self._depth -= 1
        return inside

    def _command(self, token: str) -> _Bounds:
        self._deeper()
        value = self._function(token)
        self._depth -= 1
        return value

    def _function(self, token: str) -> _Bounds:
        if token in _FRACTIONS:
            return _quotient(self._argument(), self._argument())
        if token in _BINOMIALS:
            return _binomial(self._argument(), self._argument())
        if token in _SUMS:
            return self._series(token)
        if token in (r"\int", r"\iint", r"\iiint", r"\oint"):
            self._integrals += 1
            if self._integrals > MAX_INTEGRALS:
                raise _RefusedError(f"more than {MAX_INTEGRALS} integrals")
            return _VARIABLE
        if token == r"\exp":
            return _power(_Bounds(0.435, 0.435, 0.0), self._argument())
        if token in (r"\Gamma", r"\gamma", r"\factorial"):
            return _factorial(self._argument()) if self._next() in _OPENERS else _VARIABLE
        if token == r"\sqrt" and self._next() == "[":
            self._take()
            self._group()
        return self._argument() if token == r"\sqrt" else _VARIABLE

    def _argument(self) -> _Bounds:
        """What a command takes: a group, or one digit of what follows (``\\frac12``)."""
        token = self._next()
        if len(token) > 1 and token[0] in _DIGITS:
            self._tokens[self._at] = token[1:]
            return _literal(token[0])
        return self._atom()

    def _series(self, token: str) -> _Bounds:
        """A sum or product: at most ``MAX_TERMS`` terms unless it has no end, which is left to algebra."""
        start, end = _ONE, _VARIABLE
        endless = False
        for _ in range(2):
            if self._next() == "_":
                self._take()
                start = self._argument()
            elif self._next() in _POWERS:
                self._take()
                begin = self._at
                end = self._argument()
                endless = r"\infty" in self._tokens[begin : self._at]
        if not endless:
            self._terms *= 10 ** min(max(end.high, start.high), 9.0)
            if self._terms > MAX_TERMS * 1.01:
                raise _RefusedError(f"a sum or product of more than {MAX_TERMS} terms")
        body = self._product()
        if token == r"\prod" and not endless:
            terms = 10 ** max(end.high, 0.0)
            return _checked(_Bounds(body.high * terms, -math.inf, body.digits * terms))
        return _Bounds(body.high + 4, -math.inf, body.digits)


def _checked(value: _Bounds) -> _Bounds:
    if value.digits > MAX_DIGITS:
        raise _RefusedError(f"a number of more than {MAX_DIGITS} digits")
    return value


def _literal(token: str) -> _Bounds:
    mantissa, _, exponent = token.lower().replace(",", "").partition("e")
    if len(mantissa) > 300 or len(exponent) > 5:
        raise _RefusedError("a number of more than 300 digits, or with an exponent of more than 5")
    shift = int(exponent or 0)
    whole, _, decimals = mantissa.partition(".")
    written = int(whole + decimals or 0)
    size = math.log10(written) if written else 0.0
    magnitude = size - len(decimals) + shift
    return _checked(_Bounds(magnitude, magnitude if written else -math.inf, size + len(decimals) + abs(shift) + 0.01))


def _quotient(top: _Bounds, bottom: _Bounds) -> _Bounds:
    low = bottom.low if bottom.low > -math.inf else -bottom.digits
    return _checked(_Bounds(top.high - low, top.low - bottom.high, top.digits + bottom.digits))


def _power(base: _Bounds, exponent: _Bounds) -> _Bounds:
    if exponent.high > math.log10(MAX_EXPONENT):
        raise _RefusedError(f"an exponent above {MAX_EXPONENT:,}")
    times = 10**exponent.high
    high = max(base.high, 0.0) * times
    digits = max(base.digits, 0.0) * times
    if base.digits:
        return _checked(_Bounds(high, -high - digits, digits))
    return _Bounds(min(high, MAX_EXPONENT), -math.inf, 0.0)  # x^{1000} is no number


def _factorial(value: _Bounds) -> _Bounds:
    if value.high > math.log10(MAX_EXPONENT) or (size := math.lgamma(10**value.high + 1) / math.log(10)) > MAX_DIGITS:
        raise _RefusedError(f"a factorial of more than {MAX_DIGITS} digits")
    return _Bounds(size, 0.0, size if value.digits else 0.0)


def _binomial(top: _Bounds, bottom: _Bounds) -> _Bounds:
    size = min(10 ** min(top.high, 9.0) * 0.302, 10 ** min(bottom.high, 9.0) * max(top.high, 0.0))
    if size > MAX_DIGITS:
        raise _RefusedError(f"a binomial coefficient of more than {MAX_DIGITS} digits")
    return _Bounds(size, 0.0, size if top.digits else 0.0)
