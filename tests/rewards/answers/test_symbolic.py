"""What is the same answer beyond plain numbers and words, what is not, and what the policy decides."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from thinkery.rewards.answers.symbolic import judge

SAME = [
    # the answer, the reference
    ("\\sqrt{8}", "2\\sqrt{2}"), ("√2", "\\sqrt{2}"), ("√-1", "i"), ("2^(1/2)", "\\sqrt{2}"),
    ("sqrt(2)/2", "\\frac{1}{\\sqrt{2}}"),
    ("2*pi", "2\\pi"), ("2 pi", "2\\pi"), ("\\frac{1}{2}\\pi", "\\pi/2"), ("7\\pi \\text{ cm}", "7\\pi"),
    ("4^{50}", "2^{100}"),
    ("10!\\pi", "3628800\\pi"), ("\\pi", "3.14159"), ("\\frac{\\sqrt2}{2}", "0.70711"), ("e^{i\\pi}+\\pi", "\\pi-1"),
    ("\\log_2 8 + \\pi", "3+\\pi"), ("\\ln(2)+\\ln(3)", "\\ln 6"),
    ("\\frac{-1+i\\sqrt{3}}{2}", "-1/2 + \\frac{\\sqrt3}{2}i"),
    ("(x+1)(x-1)", "x^2-1"), ("x²+1", "x^2+1"), ("½x", "\\frac{x}{2}"), ("0.5x", "\\frac{x}{2}"), ("p - q", "-(q-p)"),
    ("x^{\\frac12}", "\\sqrt{x}"), ("\\sqrt[3]{8}x", "2x"), ("|x|", "|-x|"), ("\\binom{5}{2}x", "10x"),
    ("x^10", "x^{10}"),
    ("2\\cos^2 x - 1", "\\cos 2x"), ("\\frac{\\sin x}{\\cos x}", "\\tan x"), ("\\arctan(1)+x", "x+\\frac{\\pi}{4}"),
    ("f(x)=2x", "2x"), ("2x", "f(x)=2x"), ("y-3=2x", "y=2x+3"), ("2x+3", "y=2x+3"), ("x_1 + 1", "1 + x_{1}"),
    ("10x-14y+22z+8=0", "5x - 7y + 11z + 4 = 0"), ("x^2+y^2=1", "y^2+x^2-1=0"), ("-x>-5", "x<5"), ("5 > x", "x<5"),
    ("1, -2", "-2, 1"), ("x=1, x=-2", "1,-2"), ("x=1 or x=-2", "1,-2"), ("1 and -2", "1,-2"), ("\\{1,-2\\}", "1,-2"),
    ("1,-2", "\\{-2, 1\\}"), ("1+\\sqrt{19}, 1-\\sqrt{19}", "1 \\pm \\sqrt{19}"),
    ("x = 1 \\pm \\sqrt{19}", "1 \\pm \\sqrt{19}"),
    ("-2, 1+\\sqrt5, 1-\\sqrt5", "\\{1\\pm\\sqrt{5},-2\\}"), ("2\\pi\\text{ and }3", "3, 2\\pi"),
    ("\\left( 3, \\frac{\\pi}{2} \\right)", "(3, \\pi/2)"), ("(x,y)=(1,2)", "(1,2)"),
    ("\\langle 1,2 \\rangle", "(1,2)"),
    ("\\begin{pmatrix}1\\\\2\\end{pmatrix}", "(1,2)"), ("(1,2)", "\\begin{pmatrix}1\\\\2\\end{pmatrix}"),
    ("\\begin{bmatrix}1 & 2\\\\3 & \\sqrt{16}\\end{bmatrix}", "\\begin{pmatrix}1 & 2\\\\3 & 4\\end{pmatrix}"),
    ("[1,2,3]", "(1,2,3)"), ("x>5", "(5,\\infty)"), ("x ≥ 5", "[5,\\infty)"), ("(-2,3)", "-2<x<3"),
    ("[-2,7]", "x \\in [-2,7]"),
    ("x \\in [-2,7]", "[-2,7]"), ("7 \\ge x \\ge -2", "x \\in [-2,7]"),
    ("x<2 \\text{ or } x>3", "(-\\infty,2)\\cup(3,\\infty)"),
    ("\\mathbb{R}\\setminus\\{1\\}", "(-\\infty,1)\\cup(1,\\infty)"),
    ("x \\ne 1", "(-\\infty,1)\\cup(1,\\infty)"), ("(-\\infty,\\infty)", "\\mathbb R"), ("\\varnothing", "\\emptyset"),
    ("\\{x \\mid -2 \\le x < 1\\}", "[-2,1)"), ("\\{x|x=3k,k\\in \\mathbb{Z}\\}", "\\{x|x=3k, k\\in\\mathbb Z\\}"),
    ("2:4:6", "1:2:3"), ("y=2, x=1", "x=1, y=2"), ("(1,2)", "x=1, y=2"), ("x=1, y=2", "(x,y)=(1,2)"),
    ("7, 9", "AB=7, CD=9"),
    ("(5,3),(11,3)", "p=5,q=3;p=11,q=3"), ("2, 1", "x_1=1, x_2=2"), ("z=2", "z=1+1=2"), ("C=2\\pi r", "C = 2r\\pi"),
    ("\\frac{\\sqrt5}{5} \\approx 0.447", "\\frac{1}{\\sqrt5}"), ("y=x^2", "f(x)=x^2"), ("11:21", "V_1:V_2=11:21"),
    ("\\frac{1}{\\sqrt6}", "\\frac{NO}{BO}=\\frac{1}{\\sqrt6}"), ("f'", "f'"),
    ("\\vec{v} = (1,2)", "(1,2)"), ("\\frac{dy}{dx}=2x", "2x"),
    ("\\bar{x}=\\sqrt2", "\\sqrt2"), ("\\text{A and C}", "\\text{A and C}"),
    ("\\begin{cases}0&x\\le0\\\\1&x>0\\end{cases}", "\\begin{cases}1&x>0\\\\0&x\\le0\\end{cases}"),
    ("\\left[\\begin{array}{c}1\\\\2\\end{array}\\right]", "\\begin{pmatrix}1\\\\2\\end{pmatrix}"), ("2hgm", "2mgh"),
    ("(-\\infty,2)\\cup(3,\\infty)", "(3,\\infty)\\cup(-\\infty,2)"), ("x<2 or x>3", "x>3 or x<2"),
]  # fmt: skip
DIFFERENT = [
    ("2^{-99}", "2^{-98}"), ("10^{-80}\\pi", "10^{-90}\\pi"), ("1.41421356", "\\sqrt2"), ("3.14159265358979", "\\pi"),
    ("\\pi", "3.14"), ("\\frac{22}{7}\\pi", "3.1416\\pi"), ("\\sqrt{2}\\sqrt{3}", "\\sqrt5"), ("x", "y"), ("x+1", "x"),
    ("3r^2", "3R^2"), ("\\sqrt{x^2}", "x"), ("E", "e"), ("2 3\\pi", "5\\pi"), ("7\\pi\\text{ cm}", "7\\pi\\text{ kg}"),
    ("1=\\sqrt{2}", "\\sqrt{2}"), ("x=5=\\sqrt2", "\\sqrt2"), ("x=\\sqrt2=5", "\\sqrt2"), ("x\\sqrt2=2", "x=\\sqrt2"),
    ("x^2=2", "x=\\sqrt2"), ("x=x", "\\sqrt2"), ("0=0", "y=2x+3"), ("2x+3=2x+3", "y=2x+3"), ("y=2x+3, y=2x", "y=2x+3"),
    ("\\sqrt2, \\sqrt3", "\\sqrt2"), ("\\sqrt2 or \\sqrt3", "\\sqrt2"), ("\\pm\\sqrt2", "\\sqrt2"),
    ("\\{\\sqrt2,\\sqrt3\\}", "\\sqrt2"),
    ("\\sqrt2 \\text{(or }\\sqrt3)", "\\sqrt2"), ("\\sqrt2\\vee\\sqrt3", "\\sqrt2"),
    ("\\max(\\sqrt2,\\sqrt3)", "\\sqrt2"),
    ("\\begin{cases}\\sqrt2\\\\\\sqrt3\\end{cases}", "\\sqrt2"), ("\\sqrt2 & \\sqrt3", "\\sqrt2"),
    ("\\sqrt2 | \\sqrt3", "\\sqrt2"),
    ("\\sqrt2\\\\\\sqrt3", "\\sqrt2"), ("\\sqrt2 : \\sqrt3", "\\sqrt2"), ("\\sqrt{3} \\in \\sqrt{2}", "\\sqrt2"),
    ("\\sqrt{2} \\approx \\sqrt{3}", "\\sqrt2"), ("\\sqrt2 \\neq 1", "\\sqrt2"), ("not \\sqrt2", "\\sqrt2"),
    ("\\sqrt{2}\\ldots", "\\sqrt2"),
    ("\\text{not }\\sqrt2", "\\sqrt2"), ("\\sqrt2'", "\\sqrt2"), ("\\sum_{k=1}^{3} k\\sqrt{2}", "6\\sqrt2"),
    ("\\int_0^1 \\pi dx", "\\pi"),
    ("(2, 1)", "(1, 2)"), ("1,2", "(1,2)"), ("(1,2)", "1,2"), ("(1,2,3)", "(1,2)"), ("1,1,2", "1,2"),
    ("1,2,2", "1,1,2"),
    ("3,5,7,9", "3,5,7"), ("[0,1)", "(0,1)"), ("(0,1)", "[0,1)"), ("(2,\\infty]", "(2,\\infty)"),
    ("\\infty", "-\\infty"),
    ("x>5", "x<5"), ("x\\le5", "x<5"), ("5", "x<5"), ("x>5 or x<2", "x>5"),
    ("\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}", "\\begin{pmatrix}1&3\\\\2&4\\end{pmatrix}"),
    ("1=2", "\\frac13=0.333"), ("0=0", "\\frac13=0.333"), ("2=2", "1+1=2"), ("0", "a+3z=0"), ("5", "x+y=5"),
    ("2,1", "x=1,y=2"), ("(2,1)", "x=1, y=2"), ("y=1,x=2", "x=1,y=2"), ("x_1=2, x_2=1", "x_1=1, x_2=2"),
    ("D", "D=(0,1)"),
    ("D=(5,9)", "D=(0,1)"), ("C=\\pi r^2", "C=2\\pi r"), ("q\\in[-2,7]", "x\\in[-2,7]"), ("y<5", "x<5"),
    ("1:3:2", "1:2:3"),
    ("\\sqrt2\\approx 1.9", "\\sqrt2"), ("z=3+3=2", "z=1+1=2"), ("x=7, x=8", "x=7"), ("\\mathbb{Z}", "\\mathbb{R}"),
    ("x>3 \\text{ or } x\\le-3", "(-\\infty,-3]\\cup[3,\\infty)"), ("f''", "f'"),
    ("G\\cong\\mathbb{Z}_5", "G\\cong\\mathbb{Z}_4"),
    ("\\begin{cases}2&x>0\\\\0&x\\le0\\end{cases}", "\\begin{cases}1&x>0\\\\0&x\\le0\\end{cases}"), ("2mg", "2mgh"),
    ("(1,2,3]", "(1,2,3)"), ("a=\\sqrt2", "x=\\sqrt2"),
    ("a n s w e r", "answer"), ("+/*", "x"),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "reference"), SAME)
def test_accepts_the_same_answer_in_other_words(answer: str, reference: str) -> None:
    assert judge(answer, reference, {})["outcome"] == "correct"


@pytest.mark.parametrize(("answer", "reference"), DIFFERENT)
def test_refuses_another_answer(answer: str, reference: str) -> None:
    assert judge(answer, reference, {})["outcome"] == "wrong"


@pytest.mark.parametrize(
    ("policy", "answer", "reference", "outcome"),
    [
        ({"order": "same"}, "1, -2", "-2, 1", "wrong"),
        ({"order": "same"}, "-2, 1", "-2, 1", "correct"),
        ({"order": "same"}, "\\{1, -2\\}", "\\{-2, 1\\}", "correct"),  # a set has no order
        ({"braces": "required"}, "1, 2", "\\{1, 2\\}", "wrong"),
        ({"braces": "required"}, "\\{2, 1\\}", "\\{1, 2\\}", "correct"),
        ({"interval_ends": "ignored"}, "[0, \\pi)", "(0, \\pi]", "correct"),
        ({"units": "required"}, "7\\pi", "7\\pi \\text{ cm}", "wrong"),
        ({"units": "ignored"}, "7\\pi \\text{ kg}", "7\\pi \\text{ cm}", "correct"),
        ({"percent": "literal"}, "7\\pi \\%", "7\\pi", "wrong"),
    ],
)
def test_the_policy_decides(policy: dict[str, Any], answer: str, reference: str, outcome: str) -> None:
    assert judge(answer, reference, policy)["outcome"] == outcome


@pytest.mark.parametrize("reference", ["\\frac{", "x +", "(1, 2", "\\begin{cases} 1"])
def test_says_so_when_it_cannot_read_the_reference(reference: str) -> None:
    assert judge("x", reference, {})["outcome"] == "reference_unparseable"


@pytest.mark.parametrize(
    "answers",
    [
        ("\\frac{\\sqrt{12}}{4}", "\\frac{\\sqrt{3}}{2}", "\\frac{3}{2\\sqrt{3}}"),
        ("(x+1)(x-1)", "x^2-1", "y=x^2-1"),
        ("\\sqrt{5+2\\sqrt{6}}", "\\sqrt{2}+\\sqrt{3}"),
        ("2\\sin(1)", "\\sin(1)+\\sin 1"),
        ("1, \\pi", "\\{\\pi, 1\\}"),
        ("-2<x<\\pi", "(-2, \\pi)"),
    ],
)
def test_equal_answers_have_equal_text(answers: tuple[str, ...]) -> None:
    assert len({judge(answer, "x^3 + \\pi", {})["answer"] for answer in answers}) == 1


@pytest.mark.shared
def test_every_reference_of_math_500_is_readable_and_itself(shared: Path) -> None:
    references = {row["answer"] for row in json.loads((shared / "data" / "rllm_math.json").read_text())}
    refused = [reference for reference in references if judge(reference + " ", reference, {})["outcome"] != "correct"]
    assert refused == []
