"""F1 of words and spans: what is right, what is partly right, what counts as nothing."""

from __future__ import annotations

import json

import pytest

from thinkery.models.template import TEMPLATES
from thinkery.recipe.verification import Verification
from thinkery.rewards.f1 import F1Verifier, f1
from thinkery.types import Outcome, Problem, Verdict

VERIFIER = F1Verifier(TEMPLATES["r1-zero"], Verification())


def judge(answer: str, *accepted: list[str] | str) -> Verdict:
    reference = accepted[0] if isinstance(accepted[0], str) else json.dumps(accepted)
    return VERIFIER.begin(f"<think>t</think>{answer}", Problem("x", "?", str(reference), verifier="f1"))


@pytest.mark.parametrize(
    ("answer", "spans", "value"),
    [
        ("the Blue River", ["blue river"], 1.0),
        ("river", ["blue river"], 2 / 3),
        ("1,200.0", ["1200"], 1.0),
        ("12 yards", ["15 yards"], 0.0),  # a wrong number is worth nothing
        ("12", ["12 yards"], 2 / 3),
        ("Ann and Bob", ["Bob", "Ann"], 1.0),
        ("Ann; Bob; Cid", ["Ann", "Bob"], 2 / 3),
        ("Ann", ["Ann", "Bob"], 0.5),
        ("", ["Ann"], 0.0),
        ("of the the an", ["the"], 0.0),
        ("a 40-yard pass", ["40-yard pass"], 1.0),
        ("-", ["5"], 0.0),
    ],
)
def test_f1_is_that_of_drop(answer: str, spans: list[str], value: float) -> None:
    assert f1(answer, spans) == pytest.approx(value)


def test_a_verdict_is_correct_where_f1_is_one_and_pays_f1() -> None:
    right, partly = judge(r"\boxed{\text{Blue River}}", ["blue river"]), judge("The answer is: River", ["blue river"])
    assert (right.outcome, right.score) == (Outcome.CORRECT, 1.0)
    assert (partly.outcome, partly.score) == (Outcome.WRONG, pytest.approx(2 / 3))
    assert judge("It is long.\n**Answer:** 7", ["seven"], ["7"]).correct  # one of several people's answers
    assert judge("<answer>Paris</answer>", "Paris").correct  # a reference that is a text alone
    assert judge("", ["x"]).outcome is Outcome.NO_ANSWER
    assert judge("w " * 1500, ["w"]).outcome is Outcome.WRONG


@pytest.mark.parametrize("reference", ["", "[]", '[[""]]', "[[1]]", "the", json.dumps([["a b"] * 13])])
def test_a_reference_that_accepts_nothing_is_told(reference: str) -> None:
    problem = Problem("x", "?", reference, verifier="f1")
    assert (
        VERIFIER.begin(VERIFIER.reference_completion(problem) or "", problem).outcome is Outcome.REFERENCE_UNPARSEABLE
    )


@pytest.mark.parametrize("accepted", [["Ann", "Bob and Cid", "Paris, Texas"], ["3.50"], ["4-yard", "31-yard"]])
def test_its_own_answer_is_accepted(accepted: list[str]) -> None:
    problem = Problem("x", "?", json.dumps([accepted]), verifier="f1")
    assert VERIFIER.begin(VERIFIER.reference_completion(problem) or "", problem).correct
