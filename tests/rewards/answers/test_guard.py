"""The guard refuses what no computer could evaluate, lets large but harmless values pass, and reads any text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thinkery.rewards.answers.cleaning import clean
from thinkery.rewards.answers.guard import MAX_LENGTH, refusal

TOWERS = [
    "5^(5^(5^(5^5)))", "5^{5^{5^{5^{5}}}}", "9**9**9**9", "9^9^9^9", "10^{10^{10}}", "9⁹⁹⁹⁹⁹", "{9^{9}}^{9^9}",
    "exp(exp(exp(exp(9))))", "\\exp(\\exp(\\exp(10)))", "e^{e^{e^{9}}}", "2^{2^{2^{2^{2^{2}}}}}", "10^{-10^{10}}",
    "0.5^{10^{8}}", "sqrt(9)^{9^{9^9}}", "\\frac{1}{9^{9^{9}}}", "x^{x^{x^{x^{x^{x}}}}}", "9^-9^9^9", "7^{77777}",
    "2↑↑↑5", "3\\uparrow\\uparrow 3", "x^{10^{9}}", "(x+1)^{99999999}", "2^{99999999}", "1e999999", "9^{9!}",
]  # fmt: skip
FACTORIALS = [
    "99999!", "(20!)!", "20!!", "((5!)!)!", "2^3!!!", "(9!)^{9!}", "\\Gamma(10^9)", "\\Gamma(100000)",
    "factorial(100000)", "\\left(10^{100}\\right)!", "1000!^{1000}", "\\sqrt{(100!)!}", "\\binom{10^9}{500000000}",
    "\\binom{100000}{50000}",
]  # fmt: skip
SERIES = [
    "\\sum_{k=1}^{1000000000} k", "\\sum_{k=1}^{10^9} \\frac{1}{k}", "\\prod_{k=1}^{100000} k",
    "\\sum_{i=1}^{1000}\\sum_{j=1}^{1000} ij", "\\int\\int\\int\\int x dx",
]  # fmt: skip
HARMLESS = [
    "2^{100}", "10!", "2^{2016}", "\\binom{20}{10}", "10^{-9}", "6.72 \\times 10^{-5}", "e^{-x^2}", "x^{2016}-1",
    "(x+1)^{100}", "100!", "1000!", "2^{10000}", "\\sum_{k=1}^{100} k", "\\sum_{k=1}^\\infty \\frac{1}{k^2}",
    "\\int_0^1 x^2 dx", "e^{\\pi}", "x^{x^x}", "n!", "(n+1)!", "\\binom{n}{k}", "3^{3^3}", "2^{2^{2^2}}",
    "\\frac{2^{2014}-1}{3}", "10^{100}", "\\Gamma(5)", "7^{7^3}", "\\binom{2020}{3}", "a_{2024}", "99^{100}",
    "\\prod_{k=1}^{20} k", "3^{-2x}", "e^{i\\pi}", "5!!", "\\left(\\frac{1}{2}\\right)^{10}", "\\frac12", "",
]  # fmt: skip


@pytest.mark.parametrize("text", [*TOWERS, *FACTORIALS, *SERIES, "(" * 50 + "1" + ")" * 50, "9" * 401])
def test_refuses_what_no_computer_could_evaluate(text: str) -> None:
    assert refusal(clean(text))


@pytest.mark.parametrize("text", HARMLESS)
def test_lets_large_but_harmless_values_pass(text: str) -> None:
    assert refusal(clean(text)) is None


@pytest.mark.shared
def test_lets_all_references_of_math_500_and_aime_pass(shared: Path) -> None:
    references = [
        row["answer"]
        for name in ("rllm_math.json", "rllm_aime.json")
        for row in json.loads((shared / "data" / name).read_text())
    ]
    assert len(references) == 530
    assert [reference for reference in references if refusal(clean(reference))] == []


@pytest.mark.parametrize(
    "piece", ["(", "^", "9", "2^", "!", "-", "\\frac", "\\sum", "{", "\\sqrt[", "x", "1+", "\\sum_", "^{", "**", "①"]
)
def test_hostile_text_is_read_without_blowing_up(piece: str) -> None:
    refusal(piece * (MAX_LENGTH // len(piece)))
    assert refusal(piece * 100_000)


FRAGMENTS = ["^", "{", "}", "(", ")", "!", "\\frac", "\\binom", "\\sum_", "\\prod", "\\int", "\\sqrt[", "e", "9", "10",
             "1e9", "x", "+", "-", "*", "/", "**", "\\exp", "\\Gamma", "=", ",", "\\infty", "|", "_", "²"]  # fmt: skip


@pytest.mark.slow
@given(st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=3), max_size=80).map("".join))
@settings(deadline=None, max_examples=500)
def test_any_text_has_a_reading(text: str) -> None:
    reason = refusal(clean(text))
    assert reason is None or reason
