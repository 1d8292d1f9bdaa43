from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thinkery.models.template import TAGS, TEMPLATES, Template
from thinkery.rewards.builtin import format_reward
from thinkery.rewards.interfaces import RewardContext, completion_with_answer

ZERO, CHAT = TEMPLATES["r1-zero"], TEMPLATES["chat-think"]
PREFILLED = Template("prefilled", "", prefilled_think=True)


def value(completion: str, template: Template = ZERO) -> float:
    (one,) = format_reward([completion], context=RewardContext(template, 100))
    assert one is not None
    return one


@pytest.mark.parametrize(
    "completion",
    [
        "<think>a</think><answer>b</answer>",
        " \n<think>\na\n</think>\n\n<answer>\nb\n</answer>\n",
        "<think>if x < 3 and y > 4</think><answer>x<y</answer>",
        "<think>```python\nprint('<b>')\n```</think><answer>b</answer>",
        "<think>\\boxed{3}</think><answer>\\boxed{4}</answer>",
    ],
)
def test_think_and_answer_once_in_order_with_nothing_outside(completion: str) -> None:
    assert value(completion) == 1.0


@pytest.mark.parametrize(
    "completion",
    [
        "",
        "b",
        "<think>a</think>",
        "<answer>b</answer>",
        "<think>a</think>b",
        "a</think><answer>b</answer>",
        "<think>a<answer>b</answer>",
        "<think>a</think><answer>b",
        "<think></think><answer>b</answer>",
        "<think> \n</think><answer>b</answer>",
        "<think>a</think><answer></answer>",
        "<think>a</think><answer> </answer>",
        "x<think>a</think><answer>b</answer>",
        "<think>a</think>x<answer>b</answer>",
        "<think>a</think><answer>b</answer>x",
        "<answer>b</answer><think>a</think>",
        "<think>a</think><think>a</think><answer>b</answer>",
        "<think>a</think><answer>b</answer><answer>b</answer>",
        "<think><think>a</think></think><answer>b</answer>",
        "<think>a<answer>b</answer></think>",
        "<think>a</think><answer><answer>b</answer></answer>",
        "<think>a</think><answer>b</answer></answer>",
        "<THINK>a</THINK><ANSWER>b</ANSWER>",
        "< think >a</ think ><answer>b</answer>",
    ],
)
def test_anything_else_is_worth_nothing(completion: str) -> None:
    assert value(completion) == 0.0


@pytest.mark.parametrize(
    "thinking",
    [
        "I should put it in <answer> tags",
        "it ends with `</think>`",
        "```\n<answer>3</answer>\n```",
        "say <think> twice",
    ],
)
def test_a_tag_that_is_only_mentioned_counts_all_the_same(thinking: str) -> None:
    assert value(f"<think>{thinking}</think><answer>b</answer>") == 0.0


@pytest.mark.parametrize("template", [CHAT, PREFILLED])
def test_a_think_that_the_prompt_opened_may_be_left_out_or_repeated_but_not_said_twice(template: Template) -> None:
    answer = "<answer>b</answer>" if template.answer_tag else "b"
    assert value(f"a</think>{answer}", template) == 1.0
    assert value(f"\n<think>a</think>{answer}", template) == 1.0
    assert value(f"<think><think>a</think>{answer}", template) == 0.0
    assert value(f"a<think>b</think>{answer}", template) == 0.0
    assert value("a", template) == 0.0
    assert value("a</think>", template) == 0.0
    assert value(f"</think>{answer}", template) == float(template.optional_thinking)


def test_a_template_without_answer_tag_wants_none() -> None:
    assert value("a</think>The answer is b.", CHAT) == 1.0
    assert value("a</think><answer>b</answer>", CHAT) == 0.0


def test_messages_are_read_as_their_last() -> None:
    completion = [{"role": "assistant", "content": "<think>a</think><answer>b</answer>"}]
    assert format_reward([completion, "b"], context=RewardContext(ZERO, 100)) == [1.0, 0.0]


@pytest.mark.parametrize("template", [ZERO, CHAT, PREFILLED], ids=lambda template: template.name)
@given(answer=st.text(st.characters(exclude_characters="<>"), min_size=1).filter(str.strip))
def test_a_perfect_completion_is_well_formed_whatever_its_answer(template: Template, answer: str) -> None:
    assert value(completion_with_answer(template, answer), template) == 1.0


def test_of_all_short_sequences_of_tags_only_the_right_order_counts() -> None:
    """Every sequence of up to five tags, with a word in every gap inside and nothing outside."""
    for length in range(6):
        for tags in itertools.product(TAGS, repeat=length):
            inside = "".join(tag + ("" if tag.startswith("</") else "word") for tag in tags)
            assert value(inside) == float(tags == TAGS)


@settings(max_examples=300)
@given(st.lists(st.sampled_from([*TAGS, "a", " ", "\n", "<", "`", "/think>"]), max_size=12))
def test_an_independent_reading_agrees(pieces: list[str]) -> None:
    """The four tags once each, in order, and neither an empty inside nor any outside."""
    text = "".join(pieces)
    once = all(text.count(tag) == 1 for tag in TAGS)
    expected = False
    if once:
        spots = [text.index(tag) for tag in TAGS]
        gaps = [text[: spots[0]]]
        gaps += (
            [text[spots[i] + len(TAGS[i]) : spots[i + 1]] for i in range(3)] if spots == sorted(spots) else ["x"] * 3
        )
        gaps.append(text[spots[3] + len(TAGS[3]) :])
        expected = spots == sorted(spots) and [bool(gap.strip()) for gap in gaps] == [False, True, False, True, False]
    assert value(text) == float(expected)


@settings(deadline=None)
@given(st.text())
def test_any_text_is_worth_one_or_nothing(text: str) -> None:
    for template in (ZERO, CHAT, PREFILLED):
        assert value(text, template) in (0.0, 1.0)
        assert value(text * 1000, template) in (0.0, 1.0)
