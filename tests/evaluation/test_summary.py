"""The summary: exactly the promised keys, and figures that can be counted by hand."""

import json
from typing import Any

import pytest

from thinkery.evaluation import summarize
from thinkery.models.template import TEMPLATES
from thinkery.types import Completion, Group, Outcome, Problem, UserError, Verdict

TEMPLATE = TEMPLATES["r1-zero"]


def group(name: str, answers: str, *, level: int = 1, language: str = "en", thinking: str = "hm") -> Group:
    """A letter a sample: C is correct, - has no answer and was cut off, any other letter is a wrong answer."""
    problem = Problem(name, "?", "1", level=level, language=language)
    completions, verdicts = [], []
    for i, letter in enumerate(answers):
        text = f"<think>{thinking}" + ("" if letter == "-" else f"</think><answer>{letter}</answer>")
        reason: Any = "length" if letter == "-" else "stop"
        completions.append(Completion(name, i, (1,), (1,) * (10 + i), (0.0,) * (10 + i), text, reason, 0))
        outcome = {"C": Outcome.CORRECT, "-": Outcome.NO_ANSWER}.get(letter, Outcome.WRONG)
        verdicts.append(Verdict(outcome, "", None if letter == "-" else letter))
    totals = tuple(float(v.correct) for v in verdicts)
    return Group(problem, tuple(completions), tuple(verdicts), {"accuracy": totals}, totals)


def report(groups: list[Group], k: int) -> dict[str, Any]:
    def thinking(completion: Completion) -> str:
        return TEMPLATE.parse(completion.text).thinking or ""

    return summarize(
        groups, k=k, template=TEMPLATE, thinking=thinking, thinking_length=lambda c: len(thinking(c)), seed=0
    )


def test_figures_by_hand() -> None:
    groups = [
        group("a", "CCab"),
        group("b", "Caa-", level=2, language="zh", thinking="等等"),
        group("c", "aabb", level=2, language="zh"),
    ]
    figures = report(groups, 4)
    assert list(figures) == [
        "n", "k", "pass@1", "pass@1_ci95", "pass@4", "cons@4", "format", "mean_length", "mean_thinking_length",
        "truncated", "reflection", "by_level", "by_language",
    ]  # fmt: skip
    assert figures["n"] == 3
    assert figures["k"] == 4
    assert figures["pass@1"] == pytest.approx(3 / 12)
    assert figures["pass@4"] == pytest.approx(2 / 3)
    assert figures["cons@4"] == pytest.approx(1 / 3)
    assert figures["format"] == pytest.approx(11 / 12)
    assert figures["mean_length"] == 11.5
    assert figures["mean_thinking_length"] == 2
    assert figures["truncated"] == pytest.approx(1 / 12)
    assert figures["reflection"] == pytest.approx(4 / 12)
    low, high = figures["pass@1_ci95"]
    assert 0 <= low <= figures["pass@1"] <= high <= 1
    assert {level: part["pass@1"] for level, part in figures["by_level"].items()} == {"1": 0.5, "2": 0.125}
    assert {name: part["n"] for name, part in figures["by_language"].items()} == {"en": 1, "zh": 2}
    assert json.loads(json.dumps(figures)) == figures


def test_more_samples_than_k() -> None:
    figures = report([group("a", "Caab")], 2)
    assert figures["pass@1"] == 0.25
    assert figures["pass@2"] == pytest.approx(1 / 2)  # 3 of the 6 pairs hold the correct one
    assert figures["cons@2"] == 0.5  # of the first two, C and a


def test_refuses_what_it_cannot_evaluate() -> None:
    with pytest.raises(UserError, match="problem a has 2 samples, k is 4"):
        report([group("a", "Ca")], 4)
    with pytest.raises(UserError, match="no problems"):
        report([], 4)
