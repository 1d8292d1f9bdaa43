"""A penalty for saying the same thing over and over, and the share of a text that is repetition.

After the n-gram penalty of "Demystifying long chain-of-thought reasoning" (Yeo et al., 2025), which stops models from
repeating themselves to earn a length reward; the formula is our own. With s the share of the text's units that lie in a
run of n units seen before, and t what is free: ``min(t - s, 0) / (1 - t)``, and -1 where the text ends in a loop.
Units are words, numbers and signs; in Chinese and Japanese, pairs of characters. Runs are long, so that restating a
short line, or checking it, costs nothing. Left out: paraphrase, and loops that count upwards.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from thinkery.rewards.interfaces import ModelText, Prompt, Reward, RewardContext, Values, text_of
from thinkery.types import UserError

NGRAM = 20  # units: longer than a line or two of arithmetic, shorter than a paragraph
TOLERANCE = 0.1  # the share that is free: a long chain of thought quotes the question, and a check its steps
LOOP_LENGTH, LOOP_ROUNDS = 64, 4  # the fewest units of a loop at the end, and how often they come round

# Pairs of Chinese or Japanese characters, words of at most 24 letters, runs of one sign of at most 16.
_UNITS = re.compile(r"[\u3041-\u30ff\u3400-\u9fff]{1,2}|(?:(?![\u3041-\u30ff\u3400-\u9fff])\w){1,24}|([^\w\s])\1{0,15}")


def repetition_reward(context: RewardContext, *, ngram: int = NGRAM, tolerance: float = TOLERANCE) -> Reward:
    """The reward in [-1, 0] for runs of ``ngram`` units; a share of up to ``tolerance`` costs nothing.

    Raises ``UserError`` for an ``ngram`` below 2 or a ``tolerance`` outside [0, 1).
    """
    if isinstance(ngram, bool) or not isinstance(ngram, int) or ngram < 2:
        raise UserError(f"reward 'repetition': ngram is a number of words, 2 or more, not {ngram!r}")
    if isinstance(tolerance, bool) or not isinstance(tolerance, int | float) or not 0 <= tolerance < 1:
        raise UserError(f"reward 'repetition': tolerance is a share from 0 to below 1, not {tolerance!r}")

    def value(text: str) -> float:
        units = _units(text)
        if _loops_at_end(units):
            return -1.0
        return min(tolerance - _repeated(units, ngram), 0.0) / (1 - tolerance)

    def reward(
        prompts: Sequence[Prompt],
        completions: Sequence[ModelText],
        completion_ids: Sequence[Sequence[int]],
        **columns: Sequence[Any],
    ) -> Values:
        return [value(text_of(completion)) for completion in completions]

    return reward


def repetition_share(text: str, ngram: int = NGRAM) -> float:
    """The share, in [0, 1), of a text's units that lie in a run of ``ngram`` units which occurred before."""
    return _repeated(_units(text), ngram)


def ends_in_loop(text: str) -> bool:
    """Whether a text ends in the same words going round: four times or more, over 64 units or more."""
    return _loops_at_end(_units(text))


def _units(text: str) -> list[str]:
    return [match[0] for match in _UNITS.finditer(text.casefold())]


def _repeated(units: Sequence[str], ngram: int) -> float:
    seen: set[tuple[str, ...]] = set()
    covered = end = 0
    for start, run in enumerate(zip(*(units[i:] for i in range(ngram)), strict=False)):
        if run in seen:
            covered += start + ngram - max(start, end)
            end = start + ngram
        seen.add(run)
    return covered / len(units) if units else 0.0


def _loops_at_end(units: Sequence[str]) -> bool:
    """By the borders of the reversed text (Knuth, Morris and Pratt): a prefix of length m has period m - border.

    The last unit is not read: where a completion was cut off, it is half a word.
    """
    backwards = units[-2::-1]
    borders = [0] * len(backwards)
    border = 0
    for position in range(1, len(backwards)):
        while border and backwards[position] != backwards[border]:
            border = borders[border - 1]
        border += backwards[position] == backwards[border]
        borders[position] = border
        length = position + 1
        if length >= LOOP_LENGTH and length >= LOOP_ROUNDS * (length - border):
            return True
    return False
