"""reasoning-gym's verifier: only an exact 1.0 counts, in every template, and answers are never run as code."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from reasoning_gym import create_dataset
from reasoning_gym.factory import DATASETS

from thinkery.models.template import TEMPLATES
from thinkery.recipe.verification import Verification
from thinkery.rewards.gym import GymVerifier
from thinkery.rewards.gym_scorer import is_formula, score
from thinkery.rewards.interfaces import gold_completion
from thinkery.types import Outcome, Problem, Verdict

# No own answers, or entries that are no plain literals; all of them are refused as sources.
BROKEN = {"boxnet", "composite", "graph_color", "knights_knaves", "propositional_logic", "rubiks_cube", "rush_hour"}
FAMILIES = sorted(set(DATASETS) - BROKEN - {"knight_swap", "sokoban"})  # these two take seconds to make


def problem_of(family: str, seed: int = 11, index: int = 0) -> Problem:
    entry = create_dataset(family, seed=seed, size=500)[index]
    return Problem(f"{family}-{index}", entry["question"], entry["answer"].strip(), verifier="gym",
                   columns={"gym_entry": repr(entry)})  # fmt: skip


@pytest.fixture(params=["r1-zero", "chat-think"])
def verifier(request: pytest.FixtureRequest) -> Iterator[GymVerifier]:
    made = GymVerifier(TEMPLATES[request.param], Verification(deadline_s=20))
    yield made
    made.close()


def settled(verifier: GymVerifier, completion: str, problem: Problem) -> Verdict:
    verdict = verifier.begin(completion, problem)
    return verdict if isinstance(verdict, Verdict) else verdict.result(timeout=90)


def test_every_family_accepts_its_own_answer_in_every_template(verifier: GymVerifier) -> None:
    problems = [problem_of(family) for family in FAMILIES]
    begun = [(problem, verifier.begin(verifier.gold(problem) or "", problem)) for problem in problems]
    verdicts = {p.id: v if isinstance(v, Verdict) else v.result(timeout=90) for p, v in begun}
    assert {name: verdict for name, verdict in verdicts.items() if not verdict.correct} == {}


def test_a_part_of_the_credit_is_no_credit(verifier: GymVerifier) -> None:
    problem = problem_of("caesar_cipher")
    template = TEMPLATES["r1-zero"] if verifier._template.answer_tag else TEMPLATES["chat-think"]
    wrong = settled(verifier, gold_completion(template, f"{problem.reference} or so"), problem)
    assert (wrong.outcome, wrong.reason.startswith("scored 0.")) == (Outcome.WRONG, True)


def test_what_is_no_answer_or_no_entry_says_so() -> None:
    verifier = GymVerifier(TEMPLATES["r1-zero"], Verification())
    problem = problem_of("chain_sum")
    try:
        assert settled(verifier, "<think>on and on", problem).reason == "the thinking never ends"
        assert settled(verifier, "<think>t</think><answer> </answer>", problem).outcome is Outcome.NO_ANSWER
        assert settled(verifier, f"<think>t</think><answer>{'9' * 20_000}</answer>", problem).outcome is Outcome.WRONG
        bare = Problem("x", "p", "1", verifier="gym")
        assert settled(verifier, "<think>t</think><answer>1</answer>", bare).outcome is Outcome.GOLD_UNPARSEABLE
        for entry in ("{", "1", "{'metadata': {'source_dataset': 'none'}}", "__import__('os')"):
            damaged = Problem("x", "p", "1", verifier="gym", columns={"gym_entry": entry})
            verdict = settled(verifier, "<think>t</think><answer>1</answer>", damaged)
            assert verdict.outcome is Outcome.GOLD_UNPARSEABLE, entry
    finally:
        verifier.close()


def test_a_scorer_that_hangs_is_a_timeout() -> None:
    verifier = GymVerifier(TEMPLATES["r1-zero"], Verification(deadline_s=2, workers=1))
    try:
        problem = problem_of("countdown")
        hanging = settled(verifier, "<think>t</think><answer>9**9**9**9**9</answer>", problem)
        assert hanging.outcome is Outcome.TIMEOUT
        assert settled(verifier, verifier.gold(problem) or "", problem).correct
    finally:
        verifier.close()


EVALUATING = ("binary_matrix", "n_queens", "spiral_matrix", "string_insertion")
PARSING = ("countdown", "intermediate_integration", "polynomial_multiplication", "puzzle24", "simple_integration")


@pytest.mark.parametrize("family", EVALUATING + PARSING)
def test_an_answer_is_never_run_as_code(family: str, tmp_path: Path) -> None:
    entry = repr(create_dataset(family, seed=1, size=5)[0])
    witness = tmp_path / "ran"
    attacks = (
        f"__import__('pathlib').Path({str(witness)!r}).touch()",
        f"[open({str(witness)!r}, 'w')]",
        f"exec(\"open({str(witness)!r}, 'w')\")",
        f"(lambda: open({str(witness)!r}, 'w'))()",
    )
    for attack in attacks:
        assert score(attack, entry)["outcome"] == "wrong"
    assert not witness.exists()


def test_an_unevaluated_integral_is_no_answer_to_an_integral() -> None:
    entry = create_dataset("simple_integration", seed=1, size=5)[0]
    asked = entry["metadata"]["integrand"]
    variable = entry["metadata"]["variable"]
    assert score(f"Integral({asked}, {variable})", repr(entry))["outcome"] == "wrong"
    assert score(entry["answer"], repr(entry))["outcome"] == "correct"


@pytest.mark.parametrize("text", ["2*x**3/3 + C", "sin(2*x)*exp(-x)", "(1 + 2) * 3 / .5", "x^2", "", "sqrt(2)*pi"])
def test_formulas_are_let_through(text: str) -> None:
    assert is_formula(text)


@pytest.mark.parametrize(
    "text", ["x.y", "__x", "a[0]", "'a'", "lambda: 1", "Symbol(x)", "1;2", "x=1", "f'a'", "ａｂ", "open(x)"]
)
def test_anything_else_is_no_formula(text: str) -> None:
    assert not is_formula(text)
