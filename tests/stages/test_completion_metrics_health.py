"""What a step's completions look like, whatever is rewarded."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from thinkery.models.template import TEMPLATES
from thinkery.stages.completion_metrics import health_metrics
from thinkery.types import Completion, FinishReason, Group, Outcome, Problem, Verdict

GOOD = "<think>First add the two numbers, then take one away.</think><answer>4</answer>"
CHINESE = "<think>先把两个数加起来，再减去一。</think><answer>4</answer>"
LOOP = "<think>so we add again and " + "we add it again and " * 40 + "</think><answer>4</answer>"


def metrics(texts: list[str], language: str = "en", finish_reason: FinishReason = "stop") -> dict[str, float]:
    policy: Any = SimpleNamespace(template=TEMPLATES["r1-zero"])  # all of a policy that is read
    completions = tuple(
        Completion("p", index, (1,), (2, 3), (0.0, 0.0), text, finish_reason, 0) for index, text in enumerate(texts)
    )
    verdicts = (Verdict(Outcome.UNCHECKED),) * len(texts)
    group = Group(Problem("p", "?", "4", language=language), completions, verdicts, {}, (0.0,) * len(texts))
    return health_metrics([group], policy)


@pytest.mark.parametrize(
    ("text", "finish_reason", "incoherent"),
    [
        (GOOD, "stop", 0.0),
        (GOOD, "length", 1.0),
        (GOOD.replace("</think>", ""), "stop", 1.0),
        (GOOD + " And so on.", "stop", 1.0),
    ],
    ids=["well formed", "cut off", "never ends its thinking", "goes on after the answer"],
)
def test_what_is_cut_off_malformed_or_loops_is_incoherent(
    text: str, finish_reason: FinishReason, incoherent: float
) -> None:
    assert metrics([text], finish_reason=finish_reason)["incoherent"] == incoherent


def test_a_well_formed_completion_that_loops_is_incoherent() -> None:
    answer = "<think>I add.</think><answer>" + "we add it again and " * 40 + "</answer>"
    assert all(TEMPLATES["r1-zero"].parse(text).well_formed for text in (LOOP, answer))
    assert metrics([LOOP, answer, GOOD, GOOD])["incoherent"] == 0.5


def test_the_language_of_the_thinking_is_that_of_the_question() -> None:
    assert metrics([GOOD, CHINESE])["language"] == pytest.approx(0.5)
    assert metrics([GOOD, CHINESE, CHINESE, CHINESE], language="zh")["language"] == pytest.approx(0.75)
    assert metrics([GOOD], language="en-GB")["language"] == 1.0


def test_without_words_or_without_a_known_language_there_is_no_figure() -> None:
    assert metrics(["<think>1+1=2</think><answer>2</answer>"]) == {"incoherent": 0.0}
    assert metrics([GOOD], language="tlh") == {"incoherent": 0.0}
