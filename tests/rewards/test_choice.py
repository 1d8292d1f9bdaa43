from __future__ import annotations

import itertools
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thinkery.models.template import TEMPLATES
from thinkery.recipe.verification import Verification
from thinkery.rewards.answers.options import LABELS
from thinkery.rewards.choice import ChoiceVerifier
from thinkery.types import Outcome, Problem, Verdict

CITIES = {"choices": ["London", "Paris", "Rome", "Berlin"]}
TAGGED = ChoiceVerifier(TEMPLATES["r1-zero"], Verification())
PLAIN = ChoiceVerifier(TEMPLATES["chat-think"], Verification())


def problem(reference: str, columns: dict[str, Any] = CITIES) -> Problem:
    return Problem("p", "Which is the capital of France?", reference, verifier="choice", columns=columns)


def judge(answer: str, reference: str = "B", columns: dict[str, Any] = CITIES) -> Verdict:
    return TAGGED.begin(f"<think>\nhm\n</think>\n<answer>{answer}</answer>", problem(reference, columns))


def judge_plain(summary: str, reference: str = "B") -> Verdict:
    return PLAIN.begin(f"hm\n</think>\n{summary}", problem(reference))


RIGHT = [
    *("B", "(B)", "B.", "b)", "b", "(b)", "[B]", " B \n", "Ｂ", "（B）", "**B**", "$B$", "`B`"),
    *("\\text{B}", "\\text{(B)}", "\\boxed{B}", "\\boxed{\\text{B}}", "\\mathrm{B}", "\\textbf{(B)}"),
    *("Option B", "option b", "Choice B", "Answer: B", "The answer is B", "the answer is (B).", "The answer is: **B**"),
    *("The final answer is $\\boxed{B}$.", "The correct option is B.", "I choose B", "B is correct"),
    *("Option B is the correct answer.", "So the answer is B.", "Hence, the correct answer is B) Paris."),
    *(
        "选B",
        "选 B",
        "应选B",
        "故选B。",
        "答案是B",
        "答案：B",
        "正确答案为B。",
        "选项B正确",
        "答えはB",
        "La réponse est B.",
    ),
    *("Die Antwort ist B", "Ответ: B", "La respuesta es B."),
    *("Paris", "paris.", "PARIS", "\\text{Paris}", "B) Paris", "B. Paris", "(B) Paris", "B: Paris", "B - Paris"),
    *("The answer is Paris.", "B, because it lies in France", "B, because London is in England"),
]
WRONG = [
    *(
        "A",
        "C",
        "E",
        "",
        "?",
        "A or B",
        "B or C",
        "Either A or B",
        "A and B",
        "B, C",
        "B C",
        "B/C",
        "(A)(B)",
        "A B C D",
    ),
    *("ABCD", "A, B, C, D", "B. C. D.", "all of them", "not B", "B?", "Maybe B", "B is wrong", "It could be B"),
    *("The answer is not B", "The answer isn't B", "The answer is either B or C", "The answer is B. The answer is C."),
    *("The answer is B, but A is also right", "B, but A is also right", "B and not A", "I think A, but maybe B"),
    *(
        "The answer is B but it could be A",
        "B. Not A.",
        "It is wrong that the answer is B",
        "If I must, the answer is A or B",
    ),
    *("C) Paris", "B) Rome", "B Rome", "London, Paris", "Paris or London", "not Paris", "Paris Rome", "B Paris London"),
    *("A train", "the answer is a", "选A或B", "不选B", "答案不是B", "可能选B", "A或B", "BB", "AB", "BAD", "b or not b"),
]


@pytest.mark.parametrize("answer", RIGHT)
def test_a_choice_is_read_however_it_is_dressed(answer: str) -> None:
    verdict = judge(answer)
    assert verdict.correct, verdict
    assert verdict.answer == "B"


@pytest.mark.parametrize("answer", WRONG)
def test_hedges_negations_and_other_choices_are_not_the_choice(answer: str) -> None:
    assert not judge(answer).correct


@pytest.mark.parametrize("answer", ["A train", "An apple", "A-level", "A Roman town", "a train", "Always", "Ä"])
def test_an_article_is_no_choice(answer: str) -> None:
    assert not judge(answer, "A").correct


@pytest.mark.parametrize("answer", [answer for answer in RIGHT if "aris" not in answer.lower()])
def test_options_need_not_be_listed(answer: str) -> None:
    assert judge(answer, columns={}).correct


@pytest.mark.parametrize("answer", [a for a in WRONG if not any(city in a for city in ("Paris", "Rome", "London"))])
def test_without_listed_options_hedges_are_wrong_all_the_same(answer: str) -> None:
    assert not judge(answer, columns={}).correct


@pytest.mark.parametrize(
    "summary",
    [
        *(
            "B",
            "\\boxed{B}",
            "The answer is B.",
            "答案是B。",
            "故选：B",
            "**Answer: B**",
            "Paris is in France.\n\n**B**",
        ),
        *(
            "**B. Paris**",
            "(B) Paris",
            "It is in France.\n\n**B. Paris**",
            "The answer is B. Note that A is a common distractor.",
        ),
        *("ANSWER IS B. A is incorrect.", "Answer: It is not C, the answer is B", "\\boxed{x^2 + 1}\n\n**Answer: B**"),
        *("So Paris it is.\n\nThe answer is B.", "Since A lies in England and C in Italy, the answer is B."),
        *("London is in England.\n\nThe correct answer is (B) Paris, because it lies in France, unlike A.",),
    ],
)
def test_without_a_tag_a_box_or_a_plain_statement_counts(summary: str) -> None:
    assert judge_plain(summary).correct


@pytest.mark.parametrize(
    ("summary", "outcome"),
    [
        ("The answer is A. Wait, the answer is B.", Outcome.NO_ANSWER),
        ("The answer is B.\nOr A.", Outcome.NO_ANSWER),
        ("B is correct. Actually, it might be C.", Outcome.NO_ANSWER),
        ("We have the options A, B, C and D.", Outcome.NO_ANSWER),
        ("A train goes to B", Outcome.NO_ANSWER),
        ("B is nice but so is A", Outcome.NO_ANSWER),
        ("I don't know.", Outcome.NO_ANSWER),
        ("", Outcome.NO_ANSWER),
        ("\\boxed{B", Outcome.NO_ANSWER),
        ("A or B", Outcome.NO_ANSWER),
        ("A. London\nB. Paris", Outcome.NO_ANSWER),
        ("The answer is B. Note that A is also right.", Outcome.NO_ANSWER),
        ("\\boxed{A or B}\n\nAnswer: B", Outcome.WRONG),
        ("The answer is A.", Outcome.WRONG),
        ("\\boxed{B} or \\boxed{C}", Outcome.WRONG),
    ],
)
def test_a_summary_that_chooses_nothing_or_something_else_is_not_right(summary: str, outcome: Outcome) -> None:
    assert judge_plain(summary).outcome is outcome


@pytest.mark.parametrize(
    ("reference", "answer", "correct"),
    [
        ("A, C", "A, C", True),
        ("A, C", "C and A", True),
        ("A, C", "(A), (C)", True),
        ("AC", "A和C", True),
        ("A,C", "AC", True),
        ("['A', 'C']", "A; C", True),
        ("A and C", "The answer is A and C.", True),
        ("A, C", "A", False),
        ("A, C", "C", False),
        ("A, C", "A, B, C", False),
        ("A, C", "A or C", False),
        ("A", "A, C", False),
    ],
)
def test_of_several_letters_exactly_the_set_is_asked_for(reference: str, answer: str, correct: bool) -> None:
    assert judge(answer, reference).correct is correct


@pytest.mark.parametrize("reference", ["B", "b", "(B)", "B.", "B) Paris", "Paris", " paris ", "\\text{B}", "Ｂ"])
def test_a_reference_may_be_a_letter_or_the_options_text(reference: str) -> None:
    assert judge("B", reference).correct
    assert judge("Paris", reference).correct
    assert judge("C", reference).outcome is Outcome.WRONG


@pytest.mark.parametrize("reference", ["", "Madrid", "E", "1", "Z", "B or C", "not B", "BA", "B, E", "?"])
def test_a_reference_that_is_no_option_is_reported_whatever_the_answer(reference: str) -> None:
    for answer in ("B", reference or "nothing"):
        verdict = judge(answer, reference)
        assert verdict.outcome is Outcome.REFERENCE_UNPARSEABLE
        assert verdict.reason


@pytest.mark.parametrize(
    "columns",
    [
        {"options": ["London", "Paris"]},
        {"choices": ("A) London", "B) Paris")},
        {"choices": ["(a) London", "(b) Paris"]},
        {"choices": {"A": "London", "B": "Paris"}},
        {"options": {"a": "London", "b": "Paris"}},
        {"choices": {"text": ["London", "Paris"], "label": ["A", "B"]}},
        {"choices": {"text": ["London", "Paris"], "label": ["1", "2"]}},
        {"choices": None, "options": ["London", "Paris"]},
    ],
)
def test_columns_of_many_shapes_are_read(columns: dict[str, Any]) -> None:
    for reference, answer in itertools.product(("B", "Paris"), ("B", "Paris", "B) Paris", "The answer is Paris.")):
        assert judge(answer, reference, columns).correct
    assert judge("C", "B", columns).outcome is Outcome.WRONG
    assert judge("C", "C", columns).outcome is Outcome.REFERENCE_UNPARSEABLE


def test_numbered_options_are_known_by_number_too() -> None:
    columns = {"choices": {"text": ["London", "Paris"], "label": ["1", "2"]}}
    assert judge("2", "2", columns).correct
    assert not judge("1", "2", columns).correct


@pytest.mark.parametrize("columns", [{"choices": "A) London B) Paris"}, {"options": ["x"] * 11}, {"options": 4}])
def test_columns_that_are_no_options_make_the_reference_unreadable(columns: dict[str, Any]) -> None:
    assert judge("B", "B", columns).outcome is Outcome.REFERENCE_UNPARSEABLE


def test_options_that_are_numbers_or_letters_themselves_are_told_from_labels() -> None:
    numbers = {"choices": [2, 3, 5, 7]}
    assert judge("5", "C", numbers).correct
    assert judge("C", "5", numbers).correct
    letters = {"choices": ["B", "A"]}
    assert judge("A", "A", letters).correct
    assert judge("B", "A", letters).outcome is Outcome.WRONG


@pytest.mark.parametrize(
    ("completion", "outcome"),
    [
        ("<think>the answer is B", Outcome.NO_ANSWER),
        ("<think><answer>B</answer></think>", Outcome.NO_ANSWER),
        ("<think>\\boxed{B}</think>", Outcome.NO_ANSWER),
        ("<think>B</think><answer>C</answer>", Outcome.WRONG),
        ("<think>C</think><answer>B</answer>", Outcome.CORRECT),
        ("<think>C</think><answer>B", Outcome.NO_ANSWER),
        ("<think>C</think><answer></answer>", Outcome.NO_ANSWER),
        ("The answer is B.", Outcome.NO_ANSWER),
        ("<think>C</think><answer>" + "B " * 2000 + "</answer>", Outcome.WRONG),
    ],
)
def test_only_what_follows_the_thinking_counts(completion: str, outcome: Outcome) -> None:
    assert TAGGED.begin(completion, problem("B")).outcome is outcome


@pytest.mark.parametrize("verifier", [TAGGED, PLAIN])
@pytest.mark.parametrize("reference", [*LABELS, "A, C", "BDJ", "(A) and (B)"])
def test_the_reference_completion_is_accepted_and_no_other_letter_is(verifier: ChoiceVerifier, reference: str) -> None:
    given = problem(reference, {})
    completion = verifier.reference_completion(given)
    assert completion is not None
    assert verifier.begin(completion, given).correct
    for letter in LABELS:
        assert verifier.begin(completion, problem(letter, {})).correct is (letter == reference)
    verifier.close()


@pytest.mark.shared
def test_the_multiple_choice_problem_of_math500_is_read(shared: Path) -> None:
    rows = json.loads((shared / "data" / "rllm_math.json").read_text(encoding="utf-8"))
    letters = [row["answer"] for row in rows if row["answer"] in {f"\\text{{({letter})}}" for letter in LABELS}]
    assert letters
    for answer in letters:
        assert judge(answer, answer, {}).correct


FRAGMENTS = [
    "A",
    "B",
    "b",
    " or ",
    " and ",
    ",",
    "not ",
    "(",
    ")",
    "Paris",
    "London",
    "The answer is ",
    "选",
    "\n",
    ". ",
    " ",
]


@pytest.mark.slow
@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=10))
def test_whatever_is_put_together_at_most_one_reference_accepts_it(pieces: list[str]) -> None:
    """So no text hedges: what one letter accepts, no other letter and no set of letters does."""
    answer = "".join(pieces)
    references = ["A", "B", "C", "D", "A, B", "B, C", "A, B, C, D"]
    assert sum(judge(answer, reference).correct for reference in references) <= 1
    if " or " in answer and judge(answer).correct:
        assert not re.search(r"(?<![A-Za-z])A(?![A-Za-z]| [a-z])", answer.partition("B")[2])


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(st.text(max_size=200), st.text(max_size=30), st.lists(st.text(max_size=20), max_size=12))
def test_any_text_gets_a_verdict(answer: str, reference: str, choices: list[str]) -> None:
    for verifier in (TAGGED, PLAIN):
        for completion in (answer, f"<think>x</think><answer>{answer}</answer>", f"x</think>{answer}"):
            given = problem(reference, {"choices": choices})
            assert isinstance(verifier.begin(completion, given), Verdict)
            assert isinstance(verifier.reference_completion(given), str)


@pytest.mark.slow
@pytest.mark.parametrize(
    "piece",
    [
        "A",
        "A ",
        "A, ",
        "(",
        "(A) ",
        " ",
        "\n",
        "so ",
        "选",
        "选 ",
        "answer is ",
        "the answer",
        "\\text{",
        "**",
        "$",
        "ﷺ",
    ],
)
def test_long_answers_end_in_bounded_time(piece: str) -> None:
    text = piece * (100_000 // len(piece))
    began = time.process_time()
    for completion in (
        f"x</think>{text}",
        f"x</think><answer>{text[:1990]}</answer>",
        f"x</think>{text} the answer is B",
    ):
        PLAIN.begin(completion, problem("B"))
    TAGGED.begin("<think>x</think><answer>B</answer>", problem(text))
    assert time.process_time() - began < 5.0
