"""IFEval's instructions: each is kept by one text and broken by another, under IFEval's names and fields."""

from __future__ import annotations

from typing import Any

import pytest

from thinkery.constraints import read_rules
from thinkery.models.template import TEMPLATES
from thinkery.recipe.verification import Verification
from thinkery.rewards.ifeval import IFEVAL
from thinkery.rewards.instruction import ALL_RULES, InstructionVerifier
from thinkery.types import Outcome, Problem, UserError

ENGLISH = "The weather is fine today and all of us go for a walk along the river."
CASES: list[tuple[str, dict[str, Any], str, str]] = [
    ("keywords:existence", {"keywords": ["River", "walk"]}, ENGLISH, "We walk."),
    ("keywords:frequency", {"keyword": "fish", "frequency": 2, "relation": "at least"}, "Fish eat fish.", "A fish."),
    ("keywords:frequency", {"keyword": "fish", "frequency": 2, "relation": "less than"}, "A fish.", "Fish eat fish."),
    ("keywords:frequency", {"keyword": "fish", "frequency": 1, "relation": "exactly"}, "Fishy fish.", "Fish eat fish."),
    ("keywords:forbidden_words", {"forbidden_words": ["art", "b.c"]}, "He starts.", "Modern ART."),
    ("keywords:letter_frequency", {"letter": "z", "let_frequency": 2, "let_relation": "at least"}, "Zz", "z"),
    ("keywords:letter_frequency", {"letter": "!", "let_frequency": 1, "let_relation": "less than"}, "No", "No!"),
    ("language:response_language", {"language": "de"}, "Das Wetter ist heute schön, wir gehen spazieren.", ENGLISH),
    ("length_constraints:number_sentences", {"num_sentences": 2, "relation": "at least"}, "One. Two!", "Mr. Lee goes."),
    ("length_constraints:number_sentences", {"num_sentences": 3, "relation": "less than"}, "1. Go!", "A. B? C! D."),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "a\n***\nb", "a\n***\nb\n***\nc"),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "a\n\n* * *\n\nb", "a ****** b"),
    ("length_constraints:number_words", {"num_words": 3, "relation": "at least"}, "one two, three", "one two"),
    ("length_constraints:number_words", {"num_words": 20, "relation": "around"}, "w " * 18, "w " * 17),
    ("length_constraints:number_words", {"num_words": 2, "relation": "at most"}, "one two", "one two three"),
    (
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "second"},
        "First it is.\n\n'Second', it is.",
        "First.\n\nThen second.",
    ),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[name], [street]", "[name], street"),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "Bye.\n\np. s. Write soon.", "Bye. PS soon"),
    ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, "Bye.\nP.P.S one more", "Bye.\nP.S. one more"),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "So:\n* one\n - two", "* one\n* two\n* three"),
    ("detectable_format:number_bullet_lists", {"num_bullets": 1}, "**bold**\n* one", "**bold**"),
    ("detectable_format:constrained_response", {}, "My answer is no.", "No."),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 2}, "*one* and **two**", "*one* and **"),
    (
        "detectable_format:multiple_sections",
        {"section_spliter": "SECTION", "num_sections": 2},
        "SECTION 1\na\nSECTION 2\nb",
        "Section 1\na\nSection 2\nb",
    ),
    ("detectable_format:json_format", {}, '```json\n{"a": 1}\n```', 'Here: {"a": 1}'),
    ("detectable_format:title", {}, "<<a day>>\nIt was.", "<< >> It was."),
    ("combination:two_responses", {}, "Yes.\n******\nNo.", "Yes.\n******\nYes."),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Say hi."}, "say hi. Hi!", "Hi! Say hi."),
    ("startend:end_checker", {"end_phrase": "Any questions?"}, '"So it is. any questions?"', "Any questions? No."),
    ("startend:quotation", {}, '"So it is."', '"So" it is.'),
    (
        "change_case:capital_word_frequency",
        {"capital_frequency": 2, "capital_relation": "at least"},
        "GO OUT",
        "Go OUT",
    ),
    ("change_case:english_capital", {}, ENGLISH.upper(), ENGLISH),
    ("change_case:english_capital", {}, ENGLISH.upper(), "DAS WETTER IST HEUTE SEHR SCHÖN UND WIR GEHEN SPAZIEREN."),
    ("change_case:english_lowercase", {}, ENGLISH.lower(), ENGLISH),
    ("punctuation:no_comma", {}, "One and two.", "One, two."),
]


@pytest.mark.parametrize(("name", "fields", "kept", "broken"), CASES)
def test_an_instruction_is_kept_or_broken(name: str, fields: dict[str, Any], kept: str, broken: str) -> None:
    [rule] = read_rules([{"type": name, **fields}], ALL_RULES)
    assert rule.holds(kept)
    assert not rule.holds(broken)


def test_all_25_are_there_and_tried() -> None:
    assert len(IFEVAL) == 25
    assert {name for name, *_ in CASES} == set(IFEVAL)


def problem(*constraints: dict[str, Any]) -> Problem:
    return Problem("x", "Write.", "", verifier="instruction", columns={"constraints": list(constraints)})


def test_the_verifier_judges_what_follows_the_thinking_by_all_of_them() -> None:
    verifier = InstructionVerifier(TEMPLATES["r1-zero"], Verification())
    asked = problem(
        {"type": "punctuation:no_comma"},
        {"type": "length_constraints:number_words", "num_words": 4, "relation": "at least"},
    )
    assert verifier.begin("<think>Well, well, well.</think>It is fine today.", asked).correct
    wrong = verifier.begin("<think>Well.</think>Well, it is.", asked)
    assert wrong.outcome is Outcome.WRONG
    assert "punctuation:no_comma" in wrong.reason
    assert "number_words num_words=4 relation='at least'" in wrong.reason


@pytest.mark.parametrize(
    ("constraint", "expected"),
    [
        ({"type": "keywords:rhymes"}, "type = 'keywords:rhymes'; allowed: "),
        ({"type": "length_constraints:number_words", "num_words": 4}, "relation: Field required; fields: num_words, "),
        ({"type": "punctuation:no_comma", "keyword": "a"}, "keyword: "),
        ({"type": "language:response_language", "language": "xx"}, "language 'xx'"),
    ],
)
def test_what_can_not_be_checked_is_refused(constraint: dict[str, Any], expected: str) -> None:
    with pytest.raises(UserError, match=r"problem x|language") as caught:
        InstructionVerifier(TEMPLATES["r1-zero"], Verification()).reference_completion(problem(constraint))
    assert expected in str(caught.value)
