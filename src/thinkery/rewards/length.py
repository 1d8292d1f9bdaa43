"""Soft overlong punishment (DAPO, arXiv 2503.14476, section 3.4, equation 13): a price on the last stretch of length.

With L the completion's tokens: 0 up to L_max - L_cache, then linear down to -1 at L_max, and -1 beyond. A completion
that is cut off so loses the same as one that ends at the last moment. Left out: rewards for being short.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from thinkery.rewards.interfaces import ModelText, Prompt, Reward, RewardContext, Values
from thinkery.types import UserError


def length_reward(context: RewardContext, *, buffer: int, max_length: int | None = None) -> Reward:
    """The reward in [-1, 0]. ``buffer`` is L_cache and ``max_length`` L_max, both in tokens.

    ``max_length`` is the longest completion that is sampled unless given. Raises ``UserError`` if the buffer is not
    within it, or if no completion could be long enough to be punished.
    """
    longest = context.max_completion_length if max_length is None else max_length
    for name, value in (("buffer", buffer), ("max_length", longest)):
        if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
            raise UserError(f"reward 'length': {name} is a number of tokens above 0, not {value!r}")
    if buffer > longest:
        raise UserError(f"reward 'length': buffer {buffer} is more than max_length {longest}; write {longest} or less")
    free = longest - buffer
    if free >= context.max_completion_length:
        raise UserError(
            f"reward 'length': max_length {longest} less buffer {buffer} is {free}, but completions end at "
            f"max_completion_length {context.max_completion_length}, so none is ever punished; write a smaller "
            "max_length or a larger buffer"
        )

    def reward(
        prompts: Sequence[Prompt],
        completions: Sequence[ModelText],
        completion_ids: Sequence[Sequence[int]],
        **columns: Sequence[Any],
    ) -> Values:
        return [max(min(free - len(ids), 0) / buffer, -1.0) for ids in completion_ids]

    return reward
