r"""The grammar of expressions: LaTeX, or plain text like it, into sympy.

A small operator-precedence parser (Pratt 1973) that reads all of a text or nothing: what it does not know makes the
text unreadable, so that no sign is passed over. Letters side by side are a product (``mgh``), a fraction after a whole
number makes a mixed number, ``f(x)`` applies a function that nobody defined. Nothing is simplified beyond what sympy
does by itself. Left out: the outer form of an answer (``structure``), words and units.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import sympy  # type: ignore[import-untyped]

from thinkery.rewards.answers.tokens import (
    APPLIED,
    BINOMIALS,
    CONSTANTS,
    ENDS,
    FRACTIONS,
    FUNCTIONS,
    GREEK,
    INVERSES,
    OF_SEVERAL,
    OVER,
    PAIRS,
    SIGMA,
    STYLES,
    TIMES,
    VARIANTS,
    UnreadableError,
    tokens,
)

MAX_DEPTH = 60


@lru_cache(maxsize=4096)
def read_expression(text: str) -> Any:
    """The sympy expression; raises ``UnreadableError``."""
    parser = _Parser(text)
    expression = parser.sum()
    if parser.next():
        raise UnreadableError(f"{parser.next()!r} is left over")
    return expression


def _applied(function: Callable[..., Any], argument: Any) -> Any:
    """A function's value as it stands: of numbers sympy works out only the simplest, since it may take for ever."""
    simple = argument.free_symbols or argument.is_Rational or (argument / sympy.pi).is_Rational
    if simple or not isinstance(function, type):
        return function(argument)
    return function(argument, evaluate=False)


class _Parser:
    """Reads tokens once, from left to right; all that is read is worth what sympy makes of it."""

    def __init__(self, text: str) -> None:
        self._tokens = tokens(text)
        self._at = 0
        self._depth = 0
        self._bars = 0  # absolute values that are open
        self._bound: list[str] = []  # variables of sums, which are never the imaginary unit

    def next(self) -> str:
        """The next token that is no space, empty at the end."""
        at = self._at
        while at < len(self._tokens) and self._tokens[at] == " ":
            at += 1
        return self._tokens[at] if at < len(self._tokens) else ""

    def _take(self) -> str:
        while self._at < len(self._tokens) and self._tokens[self._at] == " ":
            self._at += 1
        if self._at == len(self._tokens):
            raise UnreadableError("the text breaks off")
        self._at += 1
        return self._tokens[self._at - 1]

    def _expect(self, token: str) -> None:
        found = self._take()
        if found != token:
            raise UnreadableError(f"{found!r} stands where {token!r} should")

    def sum(self) -> Any:
        """Terms with plus and minus between them."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise UnreadableError("nested too deeply")
        total = self._product()
        while self.next() in ("+", "-"):
            total = total + self._product() if self._take() == "+" else total - self._product()
        self._depth -= 1
        return total

    def _product(self) -> Any:
        sign = 1
        while self.next() in ("+", "-"):
            sign = -sign if self._take() == "-" else sign
        product = self._implicit()
        while True:
            token = self.next()
            if token in TIMES:
                self._take()
                product = product * self._signed(self._implicit)
            elif token in OVER:
                self._take()
                divisor = self._signed(self._power if self._is_number(product) else self._implicit)
                product = product / divisor
            elif token in (r"\bmod", r"\mod"):
                self._take()
                product = sympy.Mod(product, self._implicit())
            elif self._goes_on():
                product = product * self._implicit()  # (1/2) x
            else:
                return sign * product

    def _signed(self, read: Callable[[], Any]) -> Any:
        sign = 1
        while self.next() in ("+", "-"):
            sign = -sign if self._take() == "-" else sign
        return sign * read()

    @staticmethod
    def _is_number(value: Any) -> bool:
        return bool(value.is_Rational)

    def _goes_on(self) -> bool:
        """Whether a factor follows without a sign between."""
        token = self.next()
        if token == "|":
            return self._bars == 0
        return not (token in ENDS or token in TIMES or token in OVER or token in (r"\bmod", r"\mod"))

    def _implicit(self) -> Any:
        """Factors side by side; a number is followed by none, but for the fraction of a mixed number."""
        product = self._power()
        while self._goes_on():
            token = self.next()
            if token[0].isdigit() or token[0] == ".":
                raise UnreadableError("a number follows a factor without a sign")
            whole = self._previous_number()
            begin = self._at
            factor = self._power()
            if whole is not None and token[1:] in FRACTIONS and factor.is_Rational:
                if (
                    product != whole
                    or not 0 < factor < 1
                    or not whole.is_Integer
                    or "-" in self._tokens[begin : self._at]
                ):
                    raise UnreadableError("a fraction follows a number")
                product = whole + factor
            else:
                product = product * factor
        return product

    def _previous_number(self) -> Any:
        at = self._at - 1
        while at >= 0 and self._tokens[at] == " ":
            at -= 1
        token = self._tokens[at] if at >= 0 else ""
        return sympy.Rational(token) if token and (token[0].isdigit() or token[0] == ".") else None

    def _power(self) -> Any:
        base = self._postfix(self._atom())
        if self.next() not in ("^", "**"):
            return base
        self._take()
        if self.next() == r"\circ" or self._tokens[self._at : self._at + 3] == ["{", r"\circ", "}"]:
            raise UnreadableError("degrees")
        exponent = self._exponent()
        return self._postfix(sympy.Pow(base, exponent))

    def _exponent(self) -> Any:
        """One group, or one sign, of a power; towers without braces bind to the right."""
        exponent = self._atom() if self.next() == "{" else self._signed(self._argument)
        if self.next() in ("^", "**"):
            self._take()
            exponent = sympy.Pow(exponent, self._exponent())
        return exponent

    def _postfix(self, value: Any) -> Any:
        while self.next() == "!":
            self._take()
            if self.next() == "!":
                self._take()
                value = sympy.factorial2(value)
            else:
                value = sympy.factorial(value)
        return value

    def _argument(self) -> Any:
        r"""What a command takes: a group, or one digit or sign of what follows (``\frac12``)."""
        while self._at < len(self._tokens) and self._tokens[self._at] == " ":
            self._at += 1
        token = self.next()
        if len(token) > 1 and token.isdigit():
            self._tokens[self._at] = token[1:]
            return sympy.Integer(token[0])
        return self._atom()

    def _atom(self) -> Any:
        token = self._take()
        if token[0].isdigit() or token[0] == ".":
            return self._number(token)
        if token == "|":
            self._bars += 1
            inside = self.sum()
            self._expect("|")
            self._bars -= 1
            return sympy.Abs(inside)
        if token in PAIRS:
            return self._group(token)
        if token[0] == "\\" and len(token) > 1:
            return self._command(token[1:])
        if token.isalpha():
            return self._symbol(token)
        raise UnreadableError(f"{token!r} begins no expression")

    def _number(self, token: str) -> Any:
        if "\\" in token:
            head, _, period = token.partition("\\overline")
            period = period.strip("{} ")
            whole, _, stem = head.partition(".")
            shift = 10 ** len(stem)
            repeated = sympy.Rational(int(period), 10 ** len(period) - 1)
            return (sympy.Integer(int((whole + stem) or "0")) + repeated) / shift
        if token == ".":
            raise UnreadableError("a dot")
        if self.next() == "_":
            raise UnreadableError("a number in another base")
        return sympy.Rational(token)

    def _group(self, opening: str) -> Any:
        bars, self._bars = self._bars, 0
        inside = self.sum()
        self._bars = bars
        self._expect(PAIRS[opening])
        if opening == r"\lfloor":
            return sympy.floor(inside)
        if opening == r"\lceil":
            return sympy.ceiling(inside)
        return sympy.Abs(inside) if opening == r"\lvert" else inside

    def _command(self, name: str) -> Any:
        name = VARIANTS.get(name, name)
        if name in FRACTIONS:
            top = self._argument()
            return top / self._argument()
        if name in BINOMIALS:
            top = self._argument()
            return sympy.binomial(top, self._argument())
        if name == "sqrt":
            return self._root()
        if name in FUNCTIONS:
            return self._function(name)
        if name in OF_SEVERAL:
            return OF_SEVERAL[name](*self._arguments())
        if name in SIGMA:
            return self._series(SIGMA[name])
        if name in CONSTANTS:
            return CONSTANTS[name]
        if name in STYLES:
            return self._styled()
        if name in GREEK:
            return self._symbol(name)
        raise UnreadableError(f"\\{name} is not known")

    def _root(self) -> Any:
        degree: Any = 2
        if self.next() == "[":
            self._take()
            degree = self.sum()
            self._expect("]")
        radicand = self._argument()
        return sympy.Pow(radicand, sympy.Integer(1) / degree)

    def _function(self, name: str) -> Any:
        r"""``\sin 2x``, ``\sin^2 x``, ``\log_2 8``: brackets, or all factors up to the next sign or function."""
        function, power, base = FUNCTIONS[name], None, None
        for _ in range(2):
            if self.next() == "^" and power is None:
                self._take()
                power = self._exponent()
                if power == -1 and name in INVERSES:
                    function, power = FUNCTIONS[INVERSES[name]], None
            elif self.next() == "_" and name == "log" and base is None:
                self._take()
                base = self._argument()
        if self.next() in ("(", "[", "{", "|", r"\lfloor", r"\lceil", r"\lvert"):
            argument = self._power() if self.next() == "|" else self._postfix(self._atom())
        else:
            argument = self._power()
            while self._goes_on() and self.next()[1:] not in FUNCTIONS and self.next() not in ("(", "["):
                argument = argument * self._power()
        value = _applied(function, argument) if base is None else _applied(function, argument) / sympy.log(base)
        return value if power is None else sympy.Pow(value, power)

    def _arguments(self) -> list[Any]:
        self._expect("(")
        arguments = [self.sum()]
        while self.next() == ",":
            self._take()
            arguments.append(self.sum())
        self._expect(")")
        return arguments

    def _styled(self) -> Any:
        r"""``\mathrm{e}``, ``\operatorname{lcm}``: a letter or a name in upright type."""
        self._expect("{")
        inside = ""
        while self.next() != "}":
            inside += self._take()
        self._take()
        name = inside.replace("\\", "")
        if name in FUNCTIONS or name in OF_SEVERAL:
            return self._command(name)
        if len(name) == 1 and name.isalpha():
            return self._symbol(name)
        if name.isdigit():
            return sympy.Integer(name)
        raise UnreadableError(f"the words {name!r}")

    def _symbol(self, name: str) -> Any:
        name += self._subscript() + self._primes()
        if name in self._bound:
            return sympy.Symbol(name)
        if name in ("i", "e"):
            return sympy.I if name == "i" else sympy.E
        applied = name[0:1] in APPLIED or name.rstrip("'") in APPLIED or "'" in name
        if applied and self.next() == "(":
            return sympy.Function(name)(*self._arguments())
        return sympy.Symbol(name)

    def _primes(self) -> str:
        primes = ""
        while self.next() == "'" or (self.next() == "^" and self._tokens[self._at + 1 : self._at + 2] == [r"\prime"]):
            if self._take() == "^":
                self._at += 1
            primes += "'"
        return primes

    def _subscript(self) -> str:
        if self.next() != "_":
            return ""
        self._take()
        if self.next() != "{":
            token = self._take()
            if len(token) > 1 and token.isdigit():  # x_12 is x_1 times 2 in LaTeX, and x_{12} to whoever writes it
                return "_" + token
            if not token.isalnum() and token[1:] not in GREEK:
                raise UnreadableError("a subscript")
            return "_" + token.removeprefix("\\")
        self._take()
        inside, depth = "", 0
        while depth or self.next() != "}":
            token = self._take()
            depth += (token == "{") - (token == "}")
            inside += token if token not in ("{", "}") else ""
        self._take()
        return "_" + re.sub(r"\\(?:text|mathrm|mathit|rm)?", "", inside)

    def _series(self, kind: Any) -> Any:
        """A sum or product over a range; of its terms as many factors as a product has."""
        start, end, name = None, None, ""
        for _ in range(2):
            if self.next() == "_":
                self._take()
                self._expect("{")
                name = self._take()
                self._expect("=")
                start = self.sum()
                self._expect("}")
            elif self.next() == "^":
                self._take()
                end = self._exponent()
        if start is None or end is None or not name.isalpha():
            raise UnreadableError("a sum without its range")
        self._bound.append(name)
        body = self._product()
        self._bound.pop()
        return kind(body, (sympy.Symbol(name), start, end))
