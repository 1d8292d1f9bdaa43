"""R_format of DeepSeek-R1: is the thinking in its tags, and the answer in its own?

The template decides, as it does everywhere else, so a ``<think>`` that the prompt already opened is not asked for
again. Left out: shaping; the reward is 1 or 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from thinkery.models.template import Template
from thinkery.types import Message


def format_reward(template: Template) -> Callable[..., list[float | None]]:
    """The reward for ``template``: 1.0 for a completion that it parses as well formed, else 0.0."""

    def reward(
        prompts: Sequence[str | Sequence[Message]],
        completions: Sequence[str | Sequence[Message]],
        completion_ids: Sequence[Sequence[int]],
        **columns: Sequence[Any],
    ) -> list[float | None]:
        return [float(template.parse(_text(completion)).well_formed) for completion in completions]

    return reward


def _text(completion: str | Sequence[Message]) -> str:
    return completion if isinstance(completion, str) else completion[-1]["content"]
