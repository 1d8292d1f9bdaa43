"""R_format of DeepSeek-R1: is the thinking in its tags, and the answer in its own?

The template decides, as it does everywhere else: each tag once, in order, something inside, nothing outside. A
``<think>`` that the prompt already opened is not asked for again, and accepted where the model repeats it. The paper
does not say what becomes of a tag that is only mentioned; here it counts wherever it stands, in the thinking or in a
code block, because whatever reads the completion can't know that it was only mentioned. Left out: shaping; the reward
is 1 or 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from thinkery.rewards.interfaces import ModelText, Prompt, Reward, RewardContext, Values, text_of


def format_reward(context: RewardContext) -> Reward:
    """The reward: 1.0 for a completion that the template parses as well formed, else 0.0."""

    def reward(
        prompts: Sequence[Prompt],
        completions: Sequence[ModelText],
        completion_ids: Sequence[Sequence[int]],
        **columns: Sequence[Any],
    ) -> Values:
        return [float(context.template.parse(text_of(completion)).well_formed) for completion in completions]

    return reward
