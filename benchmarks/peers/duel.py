"""Two sides take turns, and what they took becomes figures: medians, ratios of the same round, and their spread.

Left out: the sides themselves (``child.py`` and the scripts beside it).
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, TypeVar

from peers.child import Round, Side

ROUNDS = 5
Key = TypeVar("Key")


class Pair(NamedTuple):
    """One round of both sides."""

    ours: Round
    peer: Round


def alternate(ours: Side, peer: Side, rounds: int = ROUNDS) -> list[Pair]:
    """Rounds of both sides by turns; who goes first changes every round. Each has a round before, which isn't counted.

    Raises ``RuntimeError`` if the two make completions of different lengths, since that would be no comparison.
    """
    pairs = []
    for number in range(rounds + 1):
        if number % 2:
            pairs.append(Pair(ours=ours.round(), peer=peer.round()))
        else:
            theirs = peer.round()
            pairs.append(Pair(ours=ours.round(), peer=theirs))
        print(f"round {number}: {pairs[-1]}", file=sys.stderr)
    counted = pairs[1:]
    tokens = [sum(pair.ours.tokens for pair in counted), sum(pair.peer.tokens for pair in counted)]
    if max(tokens) > 1.2 * min(tokens):  # chance alone makes some per cent
        raise RuntimeError(f"the two sides made {tokens[0]} and {tokens[1]} tokens: these are not the same work")
    return counted


def fastest(candidates: Mapping[Key, AbstractContextManager[Side]]) -> tuple[Key, dict[Key, float]]:
    """The candidate with the least seconds a token in its second round, and what each took, in seconds a token.

    One that fails here is named and left out; ``RuntimeError`` if all do.
    """
    taken: dict[Key, float] = {}
    for name, candidate in candidates.items():
        try:
            with candidate as side:
                side.round()
                second = side.round()
        except RuntimeError as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
            continue
        taken[name] = second.seconds / second.tokens
        print(f"{name}: {second}", file=sys.stderr)
    if not taken:
        raise RuntimeError(f"none of {', '.join(map(str, candidates))} works here")
    return min(taken, key=lambda name: taken[name]), taken


def spread(name: str, values: Sequence[float]) -> dict[str, float]:
    """The median under ``name``, and the extremes as ``name_low`` and ``name_high``."""
    ends = {"": statistics.median(values), "_low": min(values), "_high": max(values)}
    return {name + end: round(value, 3) for end, value in ends.items()}
