"""R_acc of DeepSeek-R1: what a completion's final answer is worth. The verifiers judge it; this only reads the verdict.

Left out: everything about how an answer is judged (``math``, ``code``, ``choice``, ``gym``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from thinkery.rewards.interfaces import ModelText, Prompt, Reward, RewardContext, Values
from thinkery.types import Outcome, Verdict


def accuracy_reward(context: RewardContext) -> Reward:
    """1 for a correct final answer, else 0, or the share of passed tests where the verdict has one.

    None where no rule can check the problem, or the reference itself is unreadable: such a completion is neither right
    nor wrong.
    """

    def reward(
        prompts: Sequence[Prompt],
        completions: Sequence[ModelText],
        completion_ids: Sequence[Sequence[int]],
        **columns: Sequence[Any],
    ) -> Values:
        return [_worth(verdict) for verdict in columns["verdict"]]

    return reward


def _worth(verdict: Verdict) -> float | None:
    if verdict.outcome in (Outcome.GOLD_UNPARSEABLE, Outcome.UNCHECKED):
        return None
    return float(verdict.correct) if verdict.score is None else verdict.score
