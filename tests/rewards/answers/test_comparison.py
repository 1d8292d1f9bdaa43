"""Equal and different expressions are told apart, however close they come."""

from __future__ import annotations

import pytest

from thinkery.rewards.answers.comparison import factor_between, same
from thinkery.rewards.answers.evaluation import PRIMES, TooLargeError, modular
from thinkery.rewards.answers.grammar import read_expression

DIFFERENT = [
    # more digits than a rounded comparison sees
    ("2^{2024}-1", "2^{2024}+1"), ("1-\\frac{1}{2^{200}}", "1"), ("100!", "100!+1"), ("10^{50}", "10^{50}+1"),
    ("5^{50}+3^{50}", "5^{50}"), ("\\sqrt{2}", "\\sqrt{2}+10^{-50}"), ("\\pi+10^{-300}", "\\pi"),
    ("e^{100}", "e^{100}+1"),
    ("\\frac{10^{40}}{10^{40}+1}", "1"), ("2^{20000}", "2^{20000}+1"), ("\\sin x", "\\sin x+10^{-40}"),
    # between the points that an expression is usually tried at
    ("\\lfloor n/2\\rfloor", "\\lfloor n/4\\rfloor"), ("\\lfloor\\sqrt n\\rfloor", "\\lfloor\\sqrt[3]n\\rfloor"),
    ("mn-\\lfloor m/2\\rfloor", "mn-\\lfloor m/7\\rfloor"), ("\\lceil n/100\\rceil", "\\lceil n/99\\rceil"),
    ("m+n-\\gcd(m,n)", "m+n-1"), ("n\\bmod 3", "n\\bmod 2"), ("\\lfloor x\\rfloor", "x"), ("|x|", "x"),
    ("\\max(a,b)", "a"), ("\\sqrt{x^2}", "x"), ("f(x+1)", "f(x)+f(1)"), ("n!", "n"), ("\\lfloor n/1000\\rfloor", "0"),
]  # fmt: skip
SAME = [
    ("2^{20000}", "4^{10000}"), ("2024!", "2024\\cdot 2023!"), ("\\sqrt{3+2\\sqrt2}", "1+\\sqrt2"),
    ("3^{500}", "9^{250}"),
    ("m+n-\\gcd(m,n)", "m-\\gcd(n,m)+n"), ("\\lfloor\\frac{n+1}2\\rfloor", "\\lceil\\frac n2\\rceil"),
    ("\\max(a,b)", "\\frac{a+b+|a-b|}2"), ("n\\bmod 2", "\\frac{1-(-1)^n}2"), ("\\binom n2", "\\frac{n(n-1)}2"),
    ("\\frac{n!}{(n-2)!}", "n(n-1)"), ("\\frac1{\\sqrt n}", "\\sqrt{1/n}"), ("\\cos(n\\pi)", "(-1)^n"),
    ("3^{2x}", "9^x"),
    ("\\lg 2", "\\frac{\\ln 2}{\\ln 10}"), ("e^{i\\pi}", "-1"), ("x^{2016}-1", "(x^{1008}-1)(x^{1008}+1)"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_different_expressions_differ(one: str, other: str) -> None:
    a, b = read_expression(one), read_expression(other)
    assert not same(a, b)
    assert not same(b, a)


@pytest.mark.parametrize(("one", "other"), SAME)
def test_equal_expressions_are_equal(one: str, other: str) -> None:
    assert same(read_expression(one), read_expression(other))


def test_numbers_too_large_to_write_down_are_compared_by_their_rests() -> None:
    one, other = (read_expression(text) for text in ("(x+1)^{99999}", "(x+1)^{33333}\\cdot((x+1)^{33333})^2"))
    symbol = next(iter(one.free_symbols))
    for prime in PRIMES:
        assert modular(one, {symbol: 12345}, prime) == modular(other, {symbol: 12345}, prime)
    assert same(one, other)
    assert not same(one, read_expression("(x+1)^{99998}"))


def test_what_no_digits_can_hold_is_refused() -> None:
    with pytest.raises(TooLargeError):
        same(read_expression("\\sin(e^{e^{13}})"), read_expression("\\sqrt 2"))


@pytest.mark.parametrize(
    ("one", "other", "sign"),
    [("10x-14y+8", "5x-7y+4", 1), ("x-5", "5-x", -1), ("y-2x-1", "x-2y-1", 0), ("x", "0x", 0), ("x", "y", 0)],
)
def test_finds_the_factor_between_equations(one: str, other: str, sign: int) -> None:
    assert factor_between(read_expression(one), read_expression(other)) == sign
