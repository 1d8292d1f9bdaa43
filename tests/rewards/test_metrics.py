"""The metrics of a step, by hand."""

from __future__ import annotations

import statistics
from typing import Any

import pytest

from thinkery.rewards import group_metrics
from thinkery.types import Completion, Group, Outcome, Problem, Verdict


def group(name: str, rows: list[tuple[Outcome, float, float | None, int]], **fields: Any) -> Group:
    """Rows are (outcome, accuracy, format, length); accuracy weighs 1 and format 1/4."""
    completions = tuple(
        Completion(name, g, (1,), tuple(range(length)), (0.0,) * length, "", "length" if length > 3 else "stop", 0)
        for g, (_, _, _, length) in enumerate(rows)
    )
    rewards = {"accuracy": tuple(row[1] for row in rows), "format": tuple(row[2] for row in rows)}
    totals = tuple(accuracy + 0.25 * (formed or 0.0) for _, accuracy, formed, _ in rows)
    return Group(
        Problem(name, "?", "1", **fields), completions, tuple(Verdict(row[0]) for row in rows), rewards, totals
    )


def test_metrics_by_hand() -> None:
    easy = group("a", [(Outcome.CORRECT, 1.0, 1.0, g + 1) for g in range(4)], level=1)
    hard = group(
        "b",
        [
            (Outcome.CORRECT, 1.0, 1.0, 1),
            (Outcome.WRONG, 0.0, None, 2),
            (Outcome.NO_ANSWER, 0.0, 0.0, 3),
            (Outcome.TIMEOUT, 0.0, 0.0, 4),
        ],
        level=2,
        language="zh",
    )
    expected = {
        "reward": 6.25 / 8,
        "reward_std": statistics.stdev([1.25, 0.0, 0.0, 0.0]) / 2,
        "frac_reward_zero_std": 0.5,
        "rewards/accuracy/mean": 5 / 8,
        "rewards/format/mean": 5 / 7,  # None is left out
        "format": 5 / 7,
        "accuracy": 5 / 8,
        "accuracy/level_1": 1.0,
        "accuracy/level_2": 0.25,
        "accuracy/lang_en": 1.0,
        "accuracy/lang_zh": 0.25,
        "accuracy/domain_math": 5 / 8,
        "completions/mean_length": 2.5,
        "completions/clipped_ratio": 2 / 8,
        "grading/timeouts": 1.0,
        "grading/reference_unparseable": 0.0,
        "grading/no_answer": 1.0,
    }
    assert group_metrics([easy, hard]) == pytest.approx(expected)
    assert group_metrics([]) == {}
