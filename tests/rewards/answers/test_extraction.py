"""The final answer is read after the thinking only, and any string is read without failing."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thinkery.rewards.answers.extraction import after_thinking, final_answer, last_boxed


@pytest.mark.parametrize(
    ("completion", "answer"),
    [
        ("<think>6*7</think> <answer>42</answer>", "42"),
        ("<think>6*7</think> <answer>So \\boxed{42}</answer>", "42"),
        ("<think>6*7</think> The result is \\boxed{42}.", "42"),
        ("<think>a</think> \\boxed{41}, no: \\boxed{42}", "42"),
        ("<think>a</think> \\boxed{\\frac{1}{2}}", "\\frac{1}{2}"),
        ("<think>a</think> \\boxed{\\{1, 2\\}}", "\\{1, 2\\}"),
        ("<think>a</think> \\boxed{\\boxed{42}}", "42"),
        ("<think>a</think> \\boxed{42} and \\boxed{43", "42"),
        ("<think>a</think> <answer>41</answer> <answer>42</answer>", "42"),
        ("<think>a</think> <answer>42</answer> <answer>43", "42"),
        ("<think>a</think> 42", "42"),
        ("<think>a</think> So it is \\sqrt{2} or 3, and the answer is 42.", "42"),
        ("<think>a</think> <answer>Janet makes 18 dollars every day.</answer>", "18 dollars"),
        ("<think>a</think> <answer>It is 18 or 19.</answer>", "It is 18 or 19."),  # as written, and so wrong
        ("<think>a</think> <answer>#### 42</answer>", "42"),
        ("<think>a</think> <answer>42</answer> or 43</answer>", "42"),
        ("<think>a</think> \\boxed{41}\\boxed{42}", "42"),
        ("<think>a</think> <answer>42</answer> or \\boxed{43}", "42"),  # the tag is the answer, what follows is not
        ("<think>\\boxed{1}</think> \\boxed{2}</think> \\boxed{42}", "42"),
        ("<answer>42</answer>", "42"),  # no thinking at all: all of it is the answer
        ("6*7</think> <answer>42</answer>", "42"),  # the prompt opened <think>
        ("<think>\\boxed{1}</think> <answer>2</answer> <think>b</think> <answer>42</answer>", "42"),
    ],
)
def test_reads_the_final_answer(completion: str, answer: str) -> None:
    assert final_answer(completion) == (answer, "")


@pytest.mark.parametrize(
    "completion",
    [
        "<think>so \\boxed{42}</think>",  # boxed in the thinking, nothing after it
        "<think>so <answer>42</answer>",  # the thinking never ends
        "<think>a</think> <answer>42</answer> <think>or \\boxed{43}",  # it thinks again, without end
        "<think>a</think> 42 or 43",  # neither tagged nor boxed, nor stated
        "<think>a</think> \\boxed{42} \\boxed{}",  # the last box is empty
        "<think>a</think> 42</think>",
        "the answer is 42",  # no thinking has ended: what this states may be a thought
        "<think>a</think> \\boxed{42",
        "<think>a</think> <answer>42",
        "<think>a</think> <answer> </answer>",
        "",
        "<think>a</think> <answer>41<answer>42</answer></answer>",  # which of the two?
        "<think>a</think> \\boxed{41\\boxed{42}}",
        "<think>a</think> <answer>\\boxed{\\boxed{42} or 41}</answer>",
    ],
)
def test_finds_no_answer_and_says_why(completion: str) -> None:
    answer, reason = final_answer(completion)
    assert answer is None
    assert reason


def test_thinking_that_the_prompt_opened_must_be_closed() -> None:
    text = "maybe \\boxed{42}"
    assert final_answer(text) == ("42", "")
    assert final_answer(text, prefilled_think=True)[0] is None


PIECES = [
    "<think>",
    "</think>",
    "<answer>",
    "</answer>",
    "\\boxed{",
    "\\fbox {",
    "{",
    "}",
    "\\",
    "\\{",
    "\\}",
    "42",
    "\n",
]


@pytest.mark.slow
@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=40).map("".join), st.booleans())
@settings(deadline=None, max_examples=400)
def test_any_string_is_read(text: str, prefilled: bool) -> None:
    answer, reason = final_answer(text, prefilled_think=prefilled)
    assert (answer is None) == bool(reason)
    after = after_thinking(text, prefilled_think=prefilled)
    if answer is not None:
        assert after is not None
        assert answer.strip()


def balanced(text: str) -> bool:
    """Whether braces pair up, by the textbook definition."""
    depth, escaped = 0, False
    for character in text:
        if escaped:
            escaped = False
        elif character == "\\":
            escaped = True
        else:
            depth += (character == "{") - (character == "}")
            if depth < 0:
                return False
    return depth == 0 and not escaped


@given(st.lists(st.sampled_from(["{", "}", "\\{", "\\}", "x", "\\boxed{"]), max_size=30).map("".join))
@settings(deadline=None, max_examples=400)
def test_a_box_is_balanced_and_the_last(text: str) -> None:
    found = last_boxed(text)
    starts = [i + len("\\boxed{") for i in range(len(text)) if text.startswith("\\boxed{", i)]
    contents = [
        next(
            (text[start:end] for end in range(start, len(text)) if text[end] == "}" and balanced(text[start:end])), None
        )
        for start in starts
    ]
    closed = [content for content in contents if content is not None]
    assert found == (closed[-1] if closed else None)


def test_reading_is_linear_in_hostile_text() -> None:
    assert last_boxed("\\boxed{" * 200_000) is None  # quadratic scanning would take hours
    assert last_boxed("\\boxed{" * 100_000 + "}" * 100_000) == ""
    for piece in (
        "<answer>",
        "</answer>",
        "<answer></answer>",
        "</think>",
        "<think>",
        "\\",
        "\\fbox {",
        "The answer is ",
    ):
        final_answer("<think>" + piece * 100_000)
        final_answer("<think></think>" + piece * 100_000)
