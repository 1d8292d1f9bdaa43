from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thinkery.models.template import TEMPLATES
from thinkery.recipe.verification import Verification
from thinkery.rewards.instruction import InstructionVerifier
from thinkery.types import Outcome, Problem, UserError, Verdict

TAGGED = InstructionVerifier(TEMPLATES["r1-zero"], Verification())
PLAIN = InstructionVerifier(TEMPLATES["chat-think"], Verification())
THREE: list[dict[str, Any]] = [{"type": "items", "count": 3, "separator": ","}, {"type": "case", "value": "upper"}]


def problem(constraints: object = THREE, reference: str = "CAT, DOG, COW") -> Problem:
    return Problem("p7", "Name three animals.", reference, verifier="instruction", columns={"constraints": constraints})


def judge(answer: str, constraints: object = THREE) -> Verdict:
    return TAGGED.begin(f"<think>\nhm\n</think>\n<answer>{answer}</answer>", problem(constraints))


def test_an_answer_that_keeps_every_constraint_is_correct() -> None:
    verdict = judge("CAT, DOG, PIG")
    assert verdict.outcome is Outcome.CORRECT
    assert verdict.answer == judge(" CAT,  DOG, PIG\n").answer


def test_one_broken_constraint_is_enough_and_is_named() -> None:
    verdict = judge("cat, dog, pig")
    assert verdict.outcome is Outcome.WRONG
    assert "case value='upper'" in verdict.reason
    assert "items" not in verdict.reason


def test_what_stands_in_the_thinking_neither_helps_nor_harms() -> None:
    assert TAGGED.begin("<think>no, one, TWO!</think><answer>CAT, DOG, PIG</answer>", problem()).correct
    assert not TAGGED.begin("<think>CAT, DOG, PIG</think><answer>CAT</answer>", problem()).correct


def test_without_an_answer_tag_all_that_follows_the_thinking_is_judged() -> None:
    assert PLAIN.begin("hm\n</think>\nCAT, DOG, PIG", problem()).correct
    assert not PLAIN.begin("hm\n</think>\nSure: CAT, DOG, PIG", problem()).correct


def test_a_box_is_part_of_what_the_reader_sees() -> None:
    constraints = [{"type": "words", "max": 4}]
    assert not PLAIN.begin(r"hm</think>one two three four five \boxed{six}", problem(constraints)).correct


@pytest.mark.parametrize(
    "completion",
    ["<think>CAT, DOG, PIG", "<think>hm</think><answer>CAT, DOG, PIG", "<think>hm</think><answer> </answer>"],
)
def test_without_an_answer_there_is_none_to_judge(completion: str) -> None:
    assert TAGGED.begin(completion, problem()).outcome is Outcome.NO_ANSWER


@pytest.mark.slow
def test_languages_are_told_apart_even_within_a_script() -> None:
    french, german = [{"type": "language", "value": "fr"}], [{"type": "language", "value": "de", "share": 0.5}]
    text = "Je voudrais une tasse de café et un petit gâteau, s'il vous plaît."
    assert judge(text, french).correct
    assert not judge(text, german).correct
    assert judge("我想要一杯咖啡。", [{"type": "language", "value": "zh"}]).correct


@pytest.mark.parametrize("constraints", [None, [{"type": "rhyme"}], [{"type": "words", "most": 3}]])
def test_a_mistake_in_the_constraints_names_the_problem(constraints: object) -> None:
    for attempt in (lambda: judge("a", constraints), lambda: TAGGED.reference_completion(problem(constraints))):
        with pytest.raises(UserError, match="problem p7: constraints"):
            attempt()


def test_an_unknown_language_is_a_users_mistake() -> None:
    with pytest.raises(UserError, match="xx"):
        judge("a", [{"type": "language", "value": "xx"}])


@pytest.mark.parametrize("name", sorted(TEMPLATES))
def test_the_reference_is_accepted_in_every_template(name: str) -> None:
    verifier = InstructionVerifier(TEMPLATES[name], Verification())
    completion = verifier.reference_completion(problem())
    assert completion is not None
    assert verifier.begin(completion, problem()).correct
    assert verifier.reference_completion(problem(reference="")) is None


def test_an_endless_answer_is_wrong() -> None:
    assert judge("CAT, " * 10_000).outcome is Outcome.WRONG


@given(st.text(max_size=200), st.booleans())
@settings(max_examples=150, deadline=None)
def test_any_completion_gets_a_verdict(text: str, inside: bool) -> None:
    completion = f"<think>a</think><answer>{text}</answer>" if inside else text
    constraints = [*THREE, {"type": "language", "value": "en"}]
    assert TAGGED.begin(completion, problem(constraints)).outcome in set(Outcome)
