from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thinkery.constraints import RULES, read_rules

Constraint = dict[str, Any]

LIST: Constraint = {"type": "items", "count": 3, "separator": ",", "among": ["cat", "dog", "cow"]}
KEPT: list[tuple[Constraint, str]] = [
    ({"type": "equals", "any": ["three red apples"]}, " Three red apples. "),
    ({"type": "equals", "any": ["三个红苹果"]}, "三个红苹果。"),
    ({"type": "contains", "any": ["Paris"]}, "It is PARIS, of course."),
    ({"type": "contains", "any": ["猫"]}, "我喜欢猫。"),
    ({"type": "contains", "any": ["Thinkery"]}, "我是Thinkery。"),
    ({"type": "contains", "any": ["new york"]}, "New  York is large"),
    ({"type": "contains", "any": ["cat"], "count": 2}, "cat, cat and cat"),
    ({"type": "excludes", "any": ["cat"]}, "a category of dogs"),
    ({"type": "excludes", "any": ["are", "or"]}, "care for a story"),
    ({"type": "excludes_letters", "letters": "e"}, "cat, dog"),
    ({"type": "words", "max": 3}, "I don't know."),
    ({"type": "words", "count": 2}, "well-known cat"),
    ({"type": "words", "count": 5}, "我喜欢猫猫。"),
    ({"type": "characters", "max": 3}, " cat\n"),
    ({"type": "sentences", "count": 2}, "I pay 3.5 dollars. You don't!"),
    ({"type": "sentences", "count": 2}, "我喜欢猫。你呢？"),
    ({"type": "sentences", "count": 1}, "no stop at the end"),
    ({"type": "lines", "count": 2}, "a\n\nb\n"),
    ({"type": "paragraphs", "count": 2}, "a\nb\n \nc"),
    (LIST, "cow, cat,dog."),
    ({"type": "items", "min": 2, "separator": "；"}, "猫；狗；牛"),
    ({"type": "items", "count": 2, "separator": "\n"}, "a\nb"),
    ({"type": "items", "count": 2, "separator": ",", "distinct": False}, "a, a"),
    ({"type": "starts_with", "text": "Today"}, "today it rains"),
    ({"type": "starts_with", "text": "答："}, "答:巴黎"),
    ({"type": "ends_with", "text": "thanks"}, "That is all, thanks!"),
    ({"type": "ends_with", "text": "!"}, "谢谢！"),
    ({"type": "ends_with", "text": "."}, "好。"),
    ({"type": "case", "value": "upper"}, "RED CAT 3"),
    ({"type": "case", "value": "lower"}, "red cat"),
    ({"type": "repeats", "text": "yes", "count": 2}, "Yes, yes!"),
    ({"type": "repeats", "text": "你好", "count": 2}, "你好 你好"),
    ({"type": "json", "keys": ["name", "age"]}, '{"age": 7, "name": "Tom"}'),
    ({"type": "json", "value": {"name": "小明", "age": 7}}, '{"name":"小明",\n"age":7}'),
    ({"type": "json"}, "[1]"),
]
BROKEN: list[tuple[Constraint, str]] = [
    ({"type": "equals", "any": ["three red apples"]}, "Great question! Three red apples."),
    ({"type": "contains", "any": ["Paris"]}, "Parisian"),
    ({"type": "contains", "any": ["cat"], "count": 3}, "cat, cat"),
    ({"type": "excludes", "any": ["new york"]}, "NEW YORK!"),
    ({"type": "excludes_letters", "letters": "e"}, "THE CAT"),
    ({"type": "words", "max": 3}, "one two three four"),
    ({"type": "words", "min": 1}, "..."),
    ({"type": "characters", "max": 3}, "cats"),
    ({"type": "sentences", "count": 1}, "One. Two."),
    (LIST, "cat, dog"),
    (LIST, "cat, dog, dog"),
    (LIST, "cat, dog, red"),
    (LIST, "cat, dog, , cow"),
    (LIST, "Sure! cat, dog, cow"),
    (LIST, "cat; dog; cow"),
    ({"type": "starts_with", "text": "To"}, "Today it rains"),
    ({"type": "ends_with", "text": "thanks"}, "thanks for all"),
    ({"type": "ends_with", "text": "!"}, "thanks!."),
    ({"type": "case", "value": "upper"}, "RED cat"),
    ({"type": "case", "value": "upper"}, "123"),
    ({"type": "repeats", "text": "yes", "count": 2}, "yes yes yes"),
    ({"type": "repeats", "text": "yes", "count": 2}, "yes yes, sir"),
    ({"type": "json", "keys": ["name"]}, '```json\n{"name": 1}\n```'),
    ({"type": "json", "keys": ["name"]}, '{"name": 1, "age": 2}'),
    ({"type": "json", "value": {"a": 1}}, '{"a": true}'),
    ({"type": "json"}, "[" * 100_000),
]


@pytest.mark.parametrize(("constraint", "text"), KEPT)
def test_a_text_keeps_a_constraint(constraint: Constraint, text: str) -> None:
    (rule,) = read_rules([constraint])
    assert rule.holds(text)


@pytest.mark.parametrize(("constraint", "text"), BROKEN)
def test_a_text_breaks_a_constraint(constraint: Constraint, text: str) -> None:
    (rule,) = read_rules([constraint])
    assert not rule.holds(text)


@pytest.mark.parametrize(
    ("constraints", "message"),
    [
        (None, "constraints is a list of mappings such as"),
        ([], "at least one"),
        ("words", "constraints is a list"),
        ([{"type": "words", "max": 2}, {"type": "rhyme"}], "constraints[1]: type = 'rhyme'; allowed: equals, contains"),
        (["words"], "constraints[0]: type = 'words'; allowed:"),
        ([{"max": 2}], "constraints[0]: type = None; allowed:"),
        ([{"type": "words"}], "constraints[0] (words): says how many by count, min or max"),
        ([{"type": "words", "most": 3}], "most: Extra inputs are not permitted; fields: count, min, max"),
        ([{"type": "words", "max": "3"}], "max: Input should be a valid integer"),
        ([{"type": "contains"}], "any: Field required; fields: any, count"),
        ([{"type": "contains", "any": "Paris"}], "any: Input should be a valid list"),
        ([{"type": "contains", "any": []}], "any: List should have at least 1 item"),
        ([{"type": "case", "value": "title"}], "value: Input should be 'upper' or 'lower'"),
    ],
)
def test_a_constraint_that_there_is_not_is_named_with_what_is_allowed(constraints: object, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is what is tested
        read_rules(constraints)
    assert message in str(caught.value)


def test_fields_that_a_table_filled_with_nothing_do_not_matter() -> None:
    (rule,) = read_rules([{"type": "words", "max": 2, "any": None, "separator": None}])
    assert rule.holds("two words")
    assert not rule.holds("now three words")


EXAMPLES = {constraint["type"]: constraint for constraint, _ in KEPT}


def test_every_rule_has_an_example_here() -> None:
    assert EXAMPLES.keys() == RULES.keys()


@given(st.text(max_size=300))
@settings(max_examples=150, deadline=None)
def test_no_text_upsets_a_rule(text: str) -> None:
    for rule in read_rules([*EXAMPLES.values(), {"type": "contains", "any": [text or " "]}]):
        assert rule.holds(text) in (True, False)


@pytest.mark.slow
@pytest.mark.parametrize("text", ["a " * 200_000, "." * 200_000, "猫" * 200_000, "a-" * 200_000, "\n \n" * 100_000])
def test_long_texts_are_read_in_linear_time(text: str) -> None:
    for rule in read_rules(list(EXAMPLES.values())):  # ends at all: a quadratic rule would take minutes
        rule.holds(text)
