"""The math verifier as a whole: right, wrong and tricky answers, hangs, threads, GSM8K and MATH-500."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thinkery.models.template import TEMPLATES
from thinkery.recipe.verification import MathPolicy, Verification
from thinkery.rewards import grade_math
from thinkery.rewards.math import JUDGE, MathVerifier, PendingMathVerdict, submit_math
from thinkery.rewards.workers.pool import ProcessPool
from thinkery.types import Outcome, Problem, Verdict

pytestmark = pytest.mark.slow

# Passes the guard, since its numbers are small, and keeps sympy busy for minutes.
HANG = "\\sin(e^{{e^{{13.{}}}}})"
R1 = TEMPLATES["r1-zero"]


@pytest.fixture
def no_worker() -> Iterator[ProcessPool]:
    """A pool that cannot start: what is graded with it needs no process."""
    pool = ProcessPool("no_such_module:judge")
    yield pool
    pool.close()


def boxed(answer: str) -> str:
    return f"<think>\nLet me see.\n</think>\n\\boxed{{{answer}}}"


def tagged(answer: str) -> str:
    return f"<think>\nLet me see.\n</think>\n<answer>{answer}</answer>"


@pytest.mark.parametrize("reference", [r"\frac{1}{", "(1, 2", "5 +"])
def test_a_reference_that_cannot_be_read_accepts_nothing_not_even_itself(reference: str) -> None:
    for answer in (reference, "5", r"\sqrt{2}"):
        assert grade_math(boxed(answer), reference).outcome is Outcome.REFERENCE_UNPARSEABLE
        assert grade_math(f"<think>hm</think><answer>{answer}</answer>", reference).correct is False


def test_an_answer_in_the_reference_s_own_words_is_right_even_where_comparing_would_fail() -> None:
    assert grade_math(boxed(r"\sqrt{2}+x"), r"\sqrt{2} + x").correct
    assert grade_math(boxed("1/0"), "1/0").correct


@pytest.mark.parametrize(
    ("answer", "reference", "outcome"),
    [
        ("42", "42", Outcome.CORRECT),
        ("43", "42", Outcome.WRONG),
        ("4,200", "4200", Outcome.CORRECT),
        ("0.5", "\\frac{1}{2}", Outcome.CORRECT),
        ("6*7", "42", Outcome.WRONG),  # the question repeated is not an answer
        ("84/2", "42", Outcome.WRONG),
        ("1=42", "42", Outcome.WRONG),
        ("1=2=42", "42", Outcome.WRONG),
        ("x=42", "42", Outcome.CORRECT),
        ("0.333333", "1/3", Outcome.WRONG),
        ("1/3", "0.333333", Outcome.CORRECT),  # the reference is rounded, the answer exact
        ("0.3333331", "0.333333", Outcome.WRONG),
        ("1/2", "0.5001", Outcome.WRONG),
        ("6/11", "0.5", Outcome.WRONG),
        ("evelyn", "\\text{Evelyn}", Outcome.CORRECT),
        ("Navin", "\\text{Evelyn}", Outcome.WRONG),
        ("B", "(B)", Outcome.CORRECT),
        ("42", "", Outcome.REFERENCE_UNPARSEABLE),
        ("9" * 600, "9" * 500, Outcome.WRONG),
        ("2^{1000}!", "2^{1000}!", Outcome.CORRECT),  # the reference as it is written
        ("5", "2^{1000}!", Outcome.REFERENCE_UNPARSEABLE),
        ("5^(5^(5^(5^5)))", "42", Outcome.TIMEOUT),  # an attempt at hanging shows, whatever the reference is
        ("5^(5^(5^(5^5)))", "\\sqrt{2}", Outcome.TIMEOUT),
        ("((9!)!)!", "\\text{east}", Outcome.TIMEOUT),
    ],
)
def test_settles_plain_answers_without_a_worker(
    no_worker: ProcessPool, answer: str, reference: str, outcome: Outcome
) -> None:
    verdict = submit_math(boxed(answer), reference, no_worker)
    assert isinstance(verdict, Verdict)
    assert verdict.outcome is outcome
    assert verdict.reason.startswith("refused before evaluation: ") == (
        outcome is Outcome.TIMEOUT or (reference == "2^{1000}!" and answer == "5")
    )


# Pairs of the kinds that are published with other verifiers, all of them through the public function.
ACCEPTED = [
    ("\\frac12", "\\frac{1}{2}"), ("7.", "7"), ("1e3", "1000"), ("１８", "18"), ("√2", "\\sqrt{2}"), ("√-1", "i"),
    ("\\text{The answer is }x", "x"), ("2*pi", "2\\pi"), ("1 000", "1000"), ("1\\,000", "1000"), ("1’000", "1000"),
    ("½", "0.5"), ("1½", "1.5"), ("x²", "x^2"), ("\\dfrac{1}{2}", "\\tfrac12"), ("0.\\overline{3}", "\\frac13"),
    ("3:4", "3:4"), ("6:8", "3:4"), ("30°", "30"), ("\\$5", "5"), ("5€", "5"), ("50\\%", "1/2"), ("2 1/2", "5/2"),
    ("(B) 42", "B"), ("Option B", "B"), ("an ellipse", "\\text{ellipse}"), ("The answer is $\\boxed{5}$", "5"),
    ("(3, π/2)", "\\left( 3, \\frac{\\pi}{2} \\right)"), ("18 dollars", "\\$18"), ("5cm", "5"), ("52₈", "52_8"),
    ("5", "x=5"), ("\\left\\{1,2\\right\\}", "\\{2,1\\}"), ("2^{2016}", "2^{2016}"), ("-\\frac{1}{2}", "\\frac{-1}{2}"),
    ("0<x<1", "(0,1)"), ("120 degrees", "120^\\circ"), ("\\textbf{5}", "5"), ("\\sqrt{3}\\text{ units}", "\\sqrt3"),
    ("\\infty", "+\\infty"), ("\\sqrt{50}", "5\\sqrt{2}"), ("2y=x+2", "y=\\frac{1}{2}x+1"), ("10:30", "10:30"),
    ("x=-1, y=2", "y=2,x=-1"), ("2sin(x)", "2\\sin x"), ("(−1,2)", "(-1,2)"), ("x ≥ 2", "[2,\\infty)"), ("10!", "10!"),
    ("Janet makes 18 dollars every day.", "18"), ("\\boxed{41} wait \\boxed{42}", "42"), ("$42$", "42"),
]  # fmt: skip
# What a policy would try that is paid by this verifier, and what other verifiers let pass.
REFUSED = [
    ("5, 6, 7", "5"), ("5 or 6", "5"), ("\\{5,6\\}", "5"), ("\\boxed{5}\\boxed{6}", "5"), ("x=5=6", "5"),
    ("x=5=6", "6"),
    ("1=5", "5"), ("1=2=3=4=5", "5"), ("5 kg", "5 cm"), ("3.14159265", "\\pi"), ("6:3", "2"), ("2:5", "12:30"),
    ("5 million", "5"), ("half of 10", "5"), ("-5", "5"), ("±5", "5"), ("not 5", "5"), ("5?", "5"), ("5 6", "5"),
    ("5;6", "5"),
    ("5|6", "5"), ("{5}{6}", "5"), ("５６", "5"), ("5\u200b6", "5"), ("A or B", "A"), ("A, B", "A"),
    ("(A)(B)", "(A)"), ("ABCD", "A"),
    ("(B) not (A)", "A"), ("yes and no", "yes"), ("yes/no", "yes"), ("2^{99}", "2^{100}"), ("11!", "10!"), ("0/0", "x"),
    ("\\frac{1}{0}", "x"), ("х", "x"), ("Ⅴ", "5"), ("①", "5"), ("5\u202e6", "5"), ("0x5", "5"), ("5e", "5"),
    ("1,23", "123"),
    ("1.000", "1000"), ("3,5", "3.5"), ("52_9", "52_8"), ("5 \\phantom{6}", "5"), ("5!", "120"), ("≈5", "5"),
    ("<5", "5"),
    ("5+", "5"), ("5不", "5"), ("It is 5 or 6.", "5"), ("The answer is not 5.", "5"), ("5\n6", "5"),
    ("5 \\text{ or } 6", "5"),
    ("5 \\lor 6", "5"), ("\\text{5, 6}", "5"), ("\\frac{5}{1}", "5"), ("five", "5"), ("\\sqrt{25}", "5"), ("", "5"),
    ("\\boxed{5} \\boxed{}", "5"),
]  # fmt: skip


ACCEPTED += [
    *((dressed, "33") for dressed in (
        "\\text{33}", "(33)", "{33}", "\\mathrm{33}", "\\underline{33}", "m+n = 33", "f(5) = 33", "|AB| = 33",
        "AB=33", "33\\",
        "\\left(33\\right)", "\\large 33", "a+b+c=33", "\\text{Area} = 33", "\\dfrac{66}{2} = 33")),
    ("\\frac37 \\approx 0.4286", "\\frac37"), ("\\frac38 = 0.375", "\\frac38"), ("(1101)_2", "1101_2"),
    ("4{:}30", "4:30"),
    ("1101_{\\text{two}}", "1101_2"), ("15\\ \\text{kg}\\cdot\\text{m/s}", "15"), ("A and C", "A, C"),
    ("6", "6\\text{ zorgs}"),
    ("\\text{No solution.}", "no solution"), ("C. 42", "C"), ("12\\text{ h }", "12"),
]  # fmt: skip
REFUSED += [
    *((f"5\\text{{ {words}}}", "5") for words in ("is wrong", "tens", "lakh", "halves", "except zero", "or so")),
    ("5打", "5"), ("C", "C = 2\\pi r"), ("D = (5, 9)", "D = (0, 1)"), ("A square", "A circle"), ("0=0", "x+y=0"),
    ("x+y=0", "0"),
    ("5", "x+y=5"), ("a=7", "x=7"), ("7=8", "7"), ("8=7", "7"), ("0.4286", "\\frac37"),
    ("\\frac37 \\approx 9", "\\frac37"),
    ("\\text{not} = 5", "5"), ("\\boxed{7\\boxed{8}}", "8"), ("\\boxed{7}, \\boxed{8}", "8"),
]  # fmt: skip


@pytest.mark.parametrize(
    "reference", ["proof", "notfound", "Not found", "-", "N/A", "?", "\\text{proof}", "see solution", "…"]
)
def test_a_placeholder_is_no_reference_and_is_named(no_worker: ProcessPool, reference: str) -> None:
    verdict = submit_math(boxed(reference), reference, no_worker)
    assert isinstance(verdict, Verdict)
    assert verdict.outcome is Outcome.REFERENCE_UNPARSEABLE
    assert "placeholder" in verdict.reason
    assert reference in verdict.reason


@pytest.mark.parametrize(
    "reference",
    ["\\text{No such } n", "\\forall x>0, f(x)=0", "a \\mid b", "E_{1}", "3 \\pmod 7",
    "\\textcircled{1}\\textcircled{3}", "-3./2",
     "\\text{(B) and (C)}", "12 \\text{ hours } 30 \\text{ minutes}", "\\overline{AB}", "x \\equiv 3 \\pmod 7",
     "\\boxed{24}"],
)  # fmt: skip
def test_a_reference_that_is_whole_accepts_itself_and_nothing_else(reference: str) -> None:
    own = reference.removeprefix("\\boxed{").removesuffix("}") if "boxed" in reference else reference
    assert grade_math(boxed(own), reference).correct
    for other in (own + "1", own.replace("1", "2").replace("3", "4").replace("x", "y") + "+1", "5", "\\text{no}"):
        assert grade_math(boxed(other), reference).outcome is not Outcome.CORRECT


def test_the_boxes_of_one_answer_are_read_together() -> None:
    pair = "<think>t</think> $\\boxed{(1, 2)}$ and $\\boxed{(3, 4)}$"
    assert grade_math(pair, "(1,2), (3,4)").correct
    assert not grade_math(pair, "(3,4)").correct
    assert grade_math("<think>t</think> \\boxed 7", "7").correct


def test_where_the_problem_lists_options_letter_and_text_are_right() -> None:
    verifier = MathVerifier(R1, Verification())
    problem = Problem("p", "Which?", "B", columns={"choices": ["4", "12", "20"]})
    for answer, right in (
        ("B", True),
        ("12", True),
        ("\\text{(B) }12", True),
        ("C", False),
        ("20", False),
        ("A or B", False),
    ):
        begun = verifier.begin(boxed(answer), problem)
        assert (begun if isinstance(begun, Verdict) else begun.result()).correct is right
    verifier.close()


@pytest.mark.parametrize(("answer", "reference"), ACCEPTED)
def test_accepts_right_answers_as_people_write_them(answer: str, reference: str) -> None:
    assert grade_math(tagged(answer), reference).outcome is Outcome.CORRECT


@pytest.mark.parametrize(("answer", "reference"), REFUSED)
def test_never_accepts_wrong_or_several_answers(answer: str, reference: str) -> None:
    assert grade_math(tagged(answer), reference).outcome in (Outcome.WRONG, Outcome.NO_ANSWER)


def test_the_policy_reaches_numbers_and_workers() -> None:
    assert grade_math(boxed("50\\%"), "50").correct
    assert not grade_math(boxed("50\\%"), "50", policy=MathPolicy(percent="literal")).correct
    assert grade_math(boxed("[0, \\pi)"), "(0, \\pi)", policy=MathPolicy(interval_ends="ignored")).correct
    assert not grade_math(boxed("[0, \\pi)"), "(0, \\pi)").correct


def test_equal_answers_have_equal_text() -> None:
    for rendered in ("3/2", "1.5", "\\frac{3}{2}", "\\frac32", "1\\frac12", "6/4"):
        assert grade_math(boxed(rendered), "7").answer == "3/2"
    for rendered in ("\\frac{\\sqrt{12}}{4}", "\\frac{\\sqrt{3}}{2}", "\\frac{3}{2\\sqrt{3}}"):
        assert grade_math(boxed(rendered), "\\pi").answer == "sqrt(3)/2"


def test_without_an_answer() -> None:
    verdict = grade_math("<think>\\boxed{42}", "42")
    assert verdict.outcome is Outcome.NO_ANSWER
    assert verdict.answer is None
    assert verdict.reason


def test_the_verifier_accepts_its_own_reference_unless_it_is_unreadable() -> None:
    verifier = MathVerifier(R1, Verification())
    problem = Problem("p", "", "2\\sqrt{2}")
    reference = verifier.reference_completion(problem)
    assert reference is not None
    begun = verifier.begin(reference, problem)
    assert begun.correct if isinstance(begun, Verdict) else begun.result().correct
    for unreadable in (" ", "\\frac{", "}"):
        problem = Problem("p", "", unreadable)
        begun = verifier.begin(str(verifier.reference_completion(problem)), problem)
        assert isinstance(begun, Verdict)
        assert begun.outcome is Outcome.REFERENCE_UNPARSEABLE
    verifier.close()


def test_what_is_late_is_a_timeout_and_not_an_error() -> None:
    verifier = MathVerifier(R1, Verification(deadline_s=30.0))
    begun = verifier.begin(tagged(HANG.format(1)), Problem("p", "", "x+\\sqrt{2}"))
    assert isinstance(begun, PendingMathVerdict)
    assert begun.result(0.0).outcome is Outcome.TIMEOUT
    verifier.close()
    assert begun.result().outcome is Outcome.TIMEOUT


def test_one_hang_costs_one_deadline_however_often_it_is_given() -> None:
    pool = ProcessPool(JUDGE, deadline_s=1.5)
    try:
        hanging = [submit_math(boxed(HANG.format(1)), "x+\\sqrt{2}", pool) for _ in range(16)]
        after = submit_math(boxed("\\sqrt{8}"), "2\\sqrt{2}", pool)
        assert len({verdict.future for verdict in hanging if isinstance(verdict, PendingMathVerdict)}) == 1
        assert isinstance(after, PendingMathVerdict)
        assert after.result().correct
        assert {verdict.result().outcome for verdict in hanging if isinstance(verdict, PendingMathVerdict)} == {
            Outcome.TIMEOUT
        }
    finally:
        pool.close()


def test_among_a_thousand_answers_ten_different_hangs_harm_no_other() -> None:
    cases: list[tuple[str, str, Outcome]] = [(HANG.format(k), "x+\\sqrt{2}", Outcome.TIMEOUT) for k in range(1, 11)]
    for k in range(390):
        a, b, right = k // 12 + 2, 2 + k % 12, k % 2
        answer = f"\\sqrt{{{(a + 1 - right) ** 2 * b}}}+{b}x"
        cases.append((answer, f"{b}x+{a}\\sqrt{{{b}}}", Outcome.CORRECT if right else Outcome.WRONG))
    cases += [(f"{k},000", str(1000 * k + k % 2), Outcome.WRONG if k % 2 else Outcome.CORRECT) for k in range(1, 601)]
    random.Random(0).shuffle(cases)
    verifier = MathVerifier(R1, Verification(deadline_s=2.0))
    begun = [verifier.begin(tagged(answer), Problem("p", "", reference)) for answer, reference, _ in cases]
    deadline = time.monotonic() + 300
    verdicts = [one if isinstance(one, Verdict) else one.result(deadline - time.monotonic()) for one in begun]
    verifier.close()
    assert [case for case, verdict in zip(cases, verdicts, strict=True) if verdict.outcome is not case[2]] == []


def test_works_off_the_main_thread() -> None:
    verdicts: list[Verdict] = []
    thread = threading.Thread(target=lambda: verdicts.append(grade_math(boxed("\\sqrt{8}"), "2\\sqrt{2}")))
    thread.start()
    thread.join(timeout=300)
    assert [verdict.correct for verdict in verdicts] == [True]


def test_works_in_a_script_without_a_main_guard_and_in_a_fork(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import os\n"
        "from thinkery.rewards import grade_math\n"
        "print(grade_math(r'\\boxed{\\sqrt8}', r'2\\sqrt2').correct, flush=True)\n"
        "child = os.fork()\n"
        "print(grade_math(r'\\boxed{\\sqrt{18}}', r'3\\sqrt2').correct, flush=True)\n"
        "os.waitpid(child, 0) if child else None\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=300, check=True)
    assert (done.stdout, done.stderr) == ("True\nTrue\nTrue\n", "")


PIECES = [
    "\\frac", "\\sqrt", "{", "}", "(", ")", "[", "]", "^", "_", "!", "=", "<", "\\le", ",", ";", "\\pm", "\\cup",
    "\\in", "1",
    "23", "4.5", "0", "x", "y", "i", "e", "\\pi", "\\infty", "+", "-", "*", "/", "\\cdot", "\\sin", "\\log",
    "\\text{ or }", "%",
    "^\\circ", "$", "\\begin{pmatrix}", "\\end{pmatrix}", "\\\\", "&", "|", "\\{", "\\}", "\\sum_{k=1}^{5}", "\\int",
    "½", "²", "√",
    "é", "五", "\u200b", " ", "\n",
]  # fmt: skip
TEXTS = st.lists(st.sampled_from(PIECES), max_size=20).map("".join) | st.text(max_size=60)


# Numbers and words are settled here for any completion but a chain; what needs algebra is a worker's, as below.
@given(TEXTS, st.integers().map(str) | st.fractions().map(str) | st.sampled_from(["(B)", "\\text{east}", ""]))
@settings(deadline=None, max_examples=300)
def test_any_completion_gets_a_verdict(text: str, reference: str) -> None:
    pool = ProcessPool("no_such_module:judge")
    for completion in (text, boxed(text), tagged(text), f"<think>a</think>{text}"):
        settled = isinstance(submit_math(completion, reference, pool), Verdict)
        assert settled or "=" in completion
    pool.close()


@given(TEXTS, TEXTS | st.sampled_from(["\\sqrt{2}", "x+1", "(1, \\pi]", "\\{1, x\\}", "y = 2x", "x < \\pi"]))
@settings(deadline=None, max_examples=120)
def test_any_expression_gets_a_verdict_from_real_workers(answer: str, reference: str) -> None:
    verdict = grade_math(tagged(answer), reference)
    assert isinstance(verdict.outcome, Outcome)
    assert verdict.correct or verdict.reason


def test_a_very_long_completion_is_read_in_linear_time(no_worker: ProcessPool) -> None:
    for piece in ("1,", "\\boxed{", "<answer>", "answer is ", "$", "{", "^", "5 or ", "\\frac", "</think>", "五"):
        verdict = submit_math("<think>a</think>" + piece * 100_000, "42", no_worker)
        assert isinstance(verdict, Verdict)
        assert not verdict.correct


NUMBERS = ("%s", "<answer>%s</answer>", "\\boxed{%s}", "The answer is %s.", "<answer>The answer is %s.</answer>",
           "In the end she has %s dollars left.",
           "<answer>She makes $%s every day at the market.</answer>")  # fmt: skip
EXPRESSIONS = ("<answer>%s</answer>", "\\boxed{%s}", "<answer>$%s$</answer>", "<answer>The answer is $%s$.</answer>",
               "So it is $\\boxed{%s}$.", "<answer>%s.</answer>", "The final answer is $%s$.")  # fmt: skip


def gsm8k(shared: Path) -> list[str]:
    rows = [json.loads(line) for line in (shared / "data" / "gsm8k_test.jsonl").read_text().splitlines()]
    return [row["answer"].rpartition("####")[2].strip() for row in rows]


def math_500(shared: Path) -> list[str]:
    return [row["answer"] for row in json.loads((shared / "data" / "rllm_math.json").read_text())]


@pytest.mark.shared
def test_accepts_every_reference_of_gsm8k_in_every_form(shared: Path, no_worker: ProcessPool) -> None:
    references = gsm8k(shared)
    assert len(references) == 1319
    for reference in references:
        value = int(reference.replace(",", ""))
        for written in {reference, str(value), f"{value:,}", f"{value}.", f"{value}.00"}:
            for form in NUMBERS:
                verdict = submit_math("<think>a</think>" + form % written, reference, no_worker)
                assert isinstance(verdict, Verdict)
                assert verdict.correct, (form % written, reference, verdict)


@pytest.mark.shared
def test_accepts_every_reference_of_math_500_in_every_form(shared: Path) -> None:
    references = math_500(shared)
    assert len(references) == 500
    refused = []
    for reference in references:
        sized = re.sub(r"(?<!\\right)([)\]])", r"\\right\1", re.sub(r"(?<!\\left)([(\[])", r"\\left\1", reference))
        for written in {reference, sized.replace("\\frac", "\\dfrac")}:
            refused += [
                f % written for f in EXPRESSIONS if not grade_math("<think>a</think>" + f % written, reference).correct
            ]
    assert refused == []


def worth(reference: str) -> object:
    """A reference's value by other means than the verifier's: a fraction, or the bare text, items in order.

    What may be left out where the other side writes it (unit, degree, currency, base, ``x=``) does not count.
    """
    text = re.sub(r"\\text\{ ?[a-z]+\}|\\mbox\{.*|\^\\circ|\\\$|\\!|\\left|\\right|_\{?\d\}?$|^x=|\s", "", reference)
    text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text.replace("\\dfrac", "\\frac"))
    if fraction := re.fullmatch(r"(-?)(\d*)\\frac\{?(-?\d+?)\}?\{?(\d+)\}?", text):
        sign, whole, top, bottom = fraction.groups()
        return (Fraction(int(top), int(bottom)) + int(whole or 0)) * (-1 if sign else 1)
    if re.fullmatch(r"-?\d*\.?\d+", text):
        return Fraction(text)
    return text if "(" in text else ",".join(sorted(text.split(",")))


@pytest.mark.shared
def test_accepts_none_of_twenty_thousand_wrong_answers(shared: Path) -> None:
    rng = random.Random(1)
    pools = (gsm8k(shared), math_500(shared))
    accepted, tried = [], 0
    while tried < 20_000:
        answer, reference = rng.choice(rng.choice(pools)), rng.choice(rng.choice(pools))
        if worth(answer) != worth(reference):
            tried += 1
            if grade_math(boxed(answer), reference).correct:
                accepted.append((answer, reference))
    assert accepted == []
