"""The small rewards of DeepSeek-R1 and DAPO: accuracy, format, length, repetition. Plain functions, as users' are.

Each names the columns that it reads; what follows the star are its options in the recipe, and ``context``, the stage's
template and longest completion. Options are checked whenever it is called; the registry calls it once on nothing. Left
out: how an answer is judged (the verifiers), language (``language.py``), rewards that are models (``model.py``).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from thinkery.rewards.interfaces import ModelText, RewardContext, Values, text_of
from thinkery.types import Outcome, UserError, Verdict

NGRAM = 20  # units: longer than a line or two of arithmetic, shorter than a paragraph
TOLERANCE = 0.1  # the share that is free: a long chain of thought quotes the question, and a check its steps
LOOP_LENGTH, LOOP_ROUNDS = 64, 4  # the fewest units of a loop at the end, and how often they come round

# Pairs of Chinese or Japanese characters, words of at most 24 letters, runs of one sign of at most 16.
_UNITS = re.compile(r"[\u3041-\u30ff\u3400-\u9fff]{1,2}|(?:(?![\u3041-\u30ff\u3400-\u9fff])\w){1,24}|([^\w\s])\1{0,15}")


def accuracy_reward(verdict: Sequence[Verdict]) -> Values:
    """R_acc: 1 for a correct final answer, else 0, or the share of passed tests where the verdict has one.

    None where no rule can check the problem, or the reference itself is unreadable: such a completion is neither right
    nor wrong.
    """
    return [_worth(one) for one in verdict]


def _worth(verdict: Verdict) -> float | None:
    if verdict.outcome in (Outcome.REFERENCE_UNPARSEABLE, Outcome.UNCHECKED):
        return None
    return float(verdict.correct) if verdict.score is None else verdict.score


def format_reward(completions: Sequence[ModelText], *, context: RewardContext) -> Values:
    """R_format: 1 if the thinking is in its tags and the answer in its own, else 0.

    The template decides, as it does everywhere else: each tag once, in order, something inside, nothing outside. A
    ``<think>`` that the prompt already opened is not asked for again, and accepted where the model repeats it. The
    paper does not say what becomes of a tag that is only mentioned; here it counts wherever it stands, in the thinking
    or in a code block, because whatever reads the completion can't know that it was only mentioned.
    """
    return [float(context.template.parse(text_of(completion)).well_formed) for completion in completions]


def length_reward(
    completion_ids: Sequence[Sequence[int]], *, context: RewardContext, buffer: int, max_length: int | None = None
) -> Values:
    """Soft overlong punishment in [-1, 0] (DAPO, arXiv 2503.14476, section 3.4, equation 13).

    ``buffer`` is the paper's L_cache and ``max_length`` L_max, both in tokens; that is the longest completion which is
    sampled unless given. 0 up to L_max - L_cache, then linear down to -1 at L_max, and -1 beyond: a completion that is
    cut off loses the same as one that ends at the last moment. Raises ``UserError`` if the buffer is not within
    ``max_length``, or if no completion could be long enough to be punished.
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
    return [max(min(free - len(ids), 0) / buffer, -1.0) for ids in completion_ids]


def repetition_reward(completions: Sequence[ModelText], *, ngram: int = NGRAM, tolerance: float = TOLERANCE) -> Values:
    """A penalty in [-1, 0] for saying the same thing over and over.

    After the n-gram penalty of "Demystifying long chain-of-thought reasoning" (Yeo et al., 2025), which stops models
    from repeating themselves to earn a length reward; the formula is our own. With s the share of the text's units that
    lie in a run of ``ngram`` units seen before, and t the ``tolerance`` that is free: ``min(t - s, 0) / (1 - t)``, and
    -1 where the text ends in a loop. Units are words, numbers and signs; in Chinese and Japanese, pairs of characters.
    Runs are long, so that restating a short line, or checking it, costs nothing. Paraphrase and loops that count
    upwards are not seen. Raises ``UserError`` for an ``ngram`` below 2 or a ``tolerance`` outside [0, 1).
    """
    if isinstance(ngram, bool) or not isinstance(ngram, int) or ngram < 2:
        raise UserError(f"reward 'repetition': ngram is a number of words, 2 or more, not {ngram!r}")
    if isinstance(tolerance, bool) or not isinstance(tolerance, int | float) or not 0 <= tolerance < 1:
        raise UserError(f"reward 'repetition': tolerance is a share from 0 to below 1, not {tolerance!r}")

    def value(units: Sequence[str]) -> float:
        return -1.0 if _loops_at_end(units) else min(tolerance - _repeated(units, ngram), 0.0) / (1 - tolerance)

    return [value(_units(text_of(completion))) for completion in completions]


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
