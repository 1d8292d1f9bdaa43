"""Preference pairs: the judge that a recipe names, which responses it compares in which order, which pairs are kept.

DeepSeek-R1, section 2.2.2. Left out: sampling the responses and writing the set (``judge.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations
from random import Random
from statistics import fmean
from typing import Any, TypeVar

from thinkery.recipe import JudgeSpec
from thinkery.rewards.judges import EndpointJudge
from thinkery.rollout.sampling import completion_key
from thinkery.types import Judge

_Q = TypeVar("_Q")
_A = TypeVar("_A")


def open_judge(spec: JudgeSpec) -> Judge:
    """The judge of a recipe: the miniature world's labeller or true preference, or an endpoint."""
    if spec.source == "mini":
        from thinkery.mini.preference import Labeller

        return Labeller()
    if spec.source == "mini-true":
        from thinkery.mini.preference import TrueJudge

        return TrueJudge()
    return EndpointJudge(spec)


def ask_all(judge: Judge, ask: Callable[[_Q], _A], questions: Sequence[_Q]) -> Iterator[_A]:
    """``ask`` of every question, as many at once as the judge takes, in the order of the questions."""
    return at_once(judge.concurrency, ask, questions)


def at_once(concurrency: int, ask: Callable[..., _A], *questions: Sequence[Any]) -> Iterator[_A]:
    """``map(ask, *questions)`` with so many calls at once, from threads, in the order of the questions."""
    if concurrency == 1:
        yield from map(ask, *questions)
        return
    with ThreadPoolExecutor(concurrency, thread_name_prefix="ask") as pool:
        try:
            yield from pool.map(ask, *questions)
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)  # what is asked already ends by its own deadline
            raise


Row = dict[str, Any]
LENGTH_TOLERANCE = 0.05  # mean lengths of chosen and rejected are comparable if they differ by no more than this share
MAX_TRIMMED = 0.5  # at most this share of the pairs is given for comparable mean lengths


@dataclass(frozen=True, slots=True)
class Verdicts:
    """A pair's verdicts: positive where the second response is better, whatever was shown first.

    ``swapped`` says which were asked with the second response shown first; a verdict that the judge failed to give is
    in neither list.
    """

    signed: tuple[int, ...]
    swapped: tuple[bool, ...]

    @property
    def mean(self) -> float:
        """From -2 (the first response is much better) to 2; 0.0 without verdicts."""
        return fmean(self.signed) if self.signed else 0.0

    @property
    def agree(self) -> bool | None:
        """Whether both orders prefer the same response; None unless both were asked and prefer one."""
        sides = [
            [v for v, swapped in zip(self.signed, self.swapped, strict=True) if swapped is side]
            for side in (False, True)
        ]
        if not all(sides):
            return None
        straight, turned = (sum(side) for side in sides)
        return (straight > 0) == (turned > 0) if straight and turned else None

    @property
    def for_first(self) -> tuple[int, int]:
        """How many verdicts prefer what was shown first, and how many prefer anything."""
        decided = [(v, swapped) for v, swapped in zip(self.signed, self.swapped, strict=True) if v]
        return sum((v > 0) is swapped for v, swapped in decided), len(decided)


def with_mismatched(responses: Mapping[str, list[Row]], mismatched: int, seed: int, stage: str) -> dict[str, list[Row]]:
    """Adds to each problem's responses ``mismatched`` of others', each of another problem, drawn at random.

    A policy that follows a reward model finds what pleases it whatever was asked; models' own responses to a question
    are rarely so far from it that a reward model could learn to look at the question. The judge decides about these as
    about any other.
    """
    joined: dict[str, list[Row]] = {}
    for problem_id, own in responses.items():
        rng = Random(completion_key(seed, f"{stage}/mismatched", 0, problem_id, 0))
        others = [other for other in responses if other != problem_id]
        joined[problem_id] = own + [
            rng.choice(responses[other]) for other in rng.sample(others, min(mismatched, len(others)))
        ]
    return joined


def choose_pairs(texts: Sequence[str], rng: Random) -> list[tuple[int, int]]:
    """Pairs (i < j) of responses to one problem whose texts differ, equal texts standing for one another.

    All pairs of up to three different texts; of K > 3 as many as there are texts, drawn at random, for the number of
    all pairs grows with K squared and they say little new.
    """
    first_of: dict[str, int] = {}
    for index, text in enumerate(texts):
        first_of.setdefault(text, index)
    pairs = list(combinations(sorted(first_of.values()), 2))
    if len(pairs) <= len(first_of):
        return pairs
    return sorted(rng.sample(pairs, len(first_of)))


def draw_orders(count: int, rng: Random) -> list[bool]:
    """For each of ``count`` verdicts whether the pair is shown the other way round.

    Half of them are, drawn at random which (of an odd count the last is a coin's): a judge that prefers what it reads
    first then adds the same to both sides.
    """
    swapped = [index % 2 == 1 for index in range(count - count % 2)]
    swapped += [rng.random() < 0.5] * (count % 2)
    rng.shuffle(swapped)
    return swapped


@dataclass(frozen=True, slots=True)
class Balance:
    """Indices of pairs: those that stay and those that are given up, both ascending."""

    kept: list[int]
    dropped: list[int]


def balance_lengths(chosen: Sequence[int], rejected: Sequence[int], rng: Random) -> Balance:
    """Gives up pairs until chosen is longer as often as shorter and the mean lengths are comparable.

    First pairs of the more frequent side, drawn at random, until the sides are equal in number. Then, while the means
    differ by more than ``LENGTH_TOLERANCE``, the pair that differs most on the side that pulls and the one that differs
    least on the other, so that the sides stay equal; at most ``MAX_TRIMMED`` of the pairs.
    """
    excess = [c - r for c, r in zip(chosen, rejected, strict=True)]
    longer = [index for index, value in enumerate(excess) if value > 0]
    shorter = [index for index, value in enumerate(excess) if value < 0]
    size = min(len(longer), len(shorter))
    sides = [sorted(rng.sample(side, size), key=lambda index: abs(excess[index])) for side in (longer, shorter)]
    equal = [index for index, value in enumerate(excess) if value == 0]
    total, gap = sum(rejected[index] for index in equal + sides[0] + sides[1]), 0
    gap = sum(excess[index] for side in sides for index in side)
    for _ in range(int(size * MAX_TRIMMED)):
        if abs(gap) <= LENGTH_TOLERANCE * total:
            break
        most, least = (sides[0], sides[1]) if gap > 0 else (sides[1], sides[0])
        for index in (most.pop(), least.pop(0)):
            gap -= excess[index]
            total -= rejected[index]
    kept = sorted(equal + sides[0] + sides[1])
    return Balance(kept, sorted(set(range(len(excess))) - set(kept)))


def pair_figures(pairs: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Of kept pairs: mean gap, share whose chosen answer is longer (equal counts half), mean lengths (characters)."""
    if not pairs:
        return {}
    chosen = [len(pair["chosen"]["answer"]) for pair in pairs]
    rejected = [len(pair["rejected"]["answer"]) for pair in pairs]
    return {
        "mean_gap": fmean(pair["gap"] for pair in pairs),
        "chosen_longer": fmean((c > r) + 0.5 * (c == r) for c, r in zip(chosen, rejected, strict=True)),
        "mean_chosen_length": fmean(chosen),
        "mean_rejected_length": fmean(rejected),
    }
