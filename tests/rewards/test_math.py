"""The math verifier: right and wrong answers, hangs, threads, and the golds of GSM8K and MATH-500."""

import json
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thinkery.rewards import grade_math
from thinkery.rewards.math import JUDGE, PendingVerdict, submit_math
from thinkery.rewards.worker import WorkerPool
from thinkery.types import Outcome, Verdict

HANG = "5^(5^(5^(5^5)))"


@pytest.fixture
def no_worker() -> Iterator[WorkerPool]:
    """A pool that cannot start: what is graded with it needs no process."""
    pool = WorkerPool("no_such_module:judge")
    yield pool
    pool.close()


def boxed(answer: str) -> str:
    return f"<think>\nLet me see.\n</think>\n\\boxed{{{answer}}}"


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
        ("evelyn", "\\text{Evelyn}", Outcome.CORRECT),
        ("Navin", "\\text{Evelyn}", Outcome.WRONG),
        ("B", "(B)", Outcome.CORRECT),
        ("42", "", Outcome.GOLD_UNPARSEABLE),
        ("9" * 600, "9" * 500, Outcome.WRONG),
    ],
)
def test_settles_plain_answers_without_a_worker(
    no_worker: WorkerPool, answer: str, reference: str, outcome: Outcome
) -> None:
    verdict = submit_math(boxed(answer), reference, no_worker)
    assert isinstance(verdict, Verdict)
    assert verdict.outcome is outcome


@pytest.mark.parametrize(
    ("answer", "reference", "outcome"),
    [
        ("\\sqrt{8}", "2\\sqrt{2}", Outcome.CORRECT),
        ("√2", "\\sqrt{2}", Outcome.CORRECT),
        ("2^(1/2)", "\\sqrt{2}", Outcome.CORRECT),
        ("x = \\sqrt{2}", "\\sqrt{2}", Outcome.CORRECT),
        ("\\left( 3, \\frac{\\pi}{2} \\right)", "(3, \\pi/2)", Outcome.CORRECT),
        ("1, -2", "-2, 1", Outcome.CORRECT),
        ("(2, 1)", "(1, 2)", Outcome.WRONG),
        ("(x+1)(x-1)", "x^2-1", Outcome.CORRECT),
        ("y = 2x+3", "y = 2x + 3", Outcome.CORRECT),
        ("2^{-99}", "2^{-98}", Outcome.WRONG),  # their difference is tiny, their ratio is not
        ("1=\\sqrt{2}", "\\sqrt{2}", Outcome.WRONG),
        ("\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}", "\\begin{pmatrix} 1 \\\\ 3 \\end{pmatrix}", Outcome.WRONG),
        ("+/*", "x", Outcome.WRONG),
        ("x", "\\frac{", Outcome.GOLD_UNPARSEABLE),
    ],
)
def test_judges_expressions(answer: str, reference: str, outcome: Outcome) -> None:
    assert grade_math(boxed(answer), reference).outcome is outcome


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


def test_a_hang_is_killed_and_the_worker_replaced() -> None:
    pool = WorkerPool(JUDGE, deadline_s=3.0)
    try:
        hanging = [submit_math(boxed(HANG), "\\sqrt{2}", pool) for _ in range(16)]  # they share one deadline
        after = submit_math(boxed("\\sqrt{8}"), "2\\sqrt{2}", pool)
        verdicts = [verdict.result() for verdict in hanging if isinstance(verdict, PendingVerdict)]
        assert [verdict.outcome for verdict in verdicts] == [Outcome.TIMEOUT] * 16
        assert isinstance(after, PendingVerdict)
        assert after.result().correct
    finally:
        pool.close()


def test_works_off_the_main_thread() -> None:
    verdicts: list[Verdict] = []
    thread = threading.Thread(target=lambda: verdicts.append(grade_math(boxed("\\sqrt{8}"), "2\\sqrt{2}")))
    thread.start()
    thread.join(timeout=300)
    assert [verdict.correct for verdict in verdicts] == [True]


def test_works_in_a_script_without_a_main_guard(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from thinkery.rewards import grade_math\nprint(grade_math(r'\\boxed{\\sqrt8}', r'2\\sqrt2').correct)"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=300, check=True)
    assert (done.stdout, done.stderr) == ("True\n", "")


# Numbers and words are settled here for any completion; what needs algebra is math-verify's to survive, in its process.
@given(
    st.text(max_size=80),
    st.integers().map(str) | st.fractions().map(str) | st.sampled_from(["(B)", "\\text{east}", ""]),
)
@settings(deadline=None, max_examples=300)
def test_any_completion_gets_a_verdict(text: str, reference: str) -> None:
    pool = WorkerPool("no_such_module:judge")
    for completion in (text, boxed(text), f"<think>a</think><answer>{text}</answer>"):
        assert isinstance(submit_math(completion, reference, pool), Verdict)
    pool.close()


RENDERINGS = ("\\boxed{%s}", "<answer>%s</answer>", "<answer>The answer is $%s$.</answer>", "So it is $\\boxed{%s}$.")


@pytest.mark.shared
def test_accepts_every_gold_of_gsm8k(shared: Path, no_worker: WorkerPool) -> None:
    rows = [json.loads(line) for line in (shared / "data" / "gsm8k_test.jsonl").read_text().splitlines()]
    golds = [row["answer"].rpartition("####")[2].strip() for row in rows]
    assert len(golds) == 1319
    for gold in golds:
        value = int(gold.replace(",", ""))
        for rendered in (gold, str(value), f"{value:,}", f"{value}.", f"\\${value}", f"{value}.00"):
            for rendering in RENDERINGS:
                verdict = submit_math("<think>a</think>" + rendering % rendered, gold, no_worker)
                assert isinstance(verdict, Verdict)
                assert verdict.correct, (gold, rendered, rendering, verdict)
    numbers = sorted({int(gold.replace(",", "")) for gold in golds})
    rng = random.Random(0)
    for _ in range(5000):
        one, other = rng.sample(numbers, 2)
        verdict = submit_math(boxed(str(one)), str(other), no_worker)
        assert isinstance(verdict, Verdict)
        assert not verdict.correct


@pytest.mark.shared
def test_accepts_every_gold_of_math_500(shared: Path) -> None:
    golds = [row["answer"] for row in json.loads((shared / "data" / "rllm_math.json").read_text())]
    assert len(golds) == 500
    refused = [
        (gold, rendering)
        for gold in golds
        for rendering in RENDERINGS
        if not grade_math("<think>a</think>" + rendering % gold, gold).correct
    ]
    assert refused == []
