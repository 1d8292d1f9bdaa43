"""How long a batch of completions decodes: step by step in principle, from one ending to the next in fact.

Between two endings the same rows run, so their steps differ by the growth of the cache alone, and the seconds of all of
them are those of the middle one times their number, exactly where a step's seconds are linear in the cache. Rows that
end give their slot to the next that waits. Left out: what a step costs (the cost models say).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

StepSeconds = Callable[[int, float], float]  # of so many running rows with so many cached tokens in all


@dataclass(frozen=True)
class Ending:
    """When a row ends: its place in the sequence that was given, and the seconds since the start."""

    index: int
    seconds: float


def endings(lengths: Sequence[int], prompt: int, slots: int, step_seconds: StepSeconds) -> Iterator[Ending]:
    """Every row as it ends. The rows start in the order given, as soon as one of the ``slots`` is free."""
    running: list[tuple[int, int, int]] = []  # the step at which it ends, its place, the step at which it started
    waiting = 0
    steps, seconds, started_at = 0, 0.0, 0  # started_at: the sum of the steps at which the running rows started
    while waiting < len(lengths) or running:
        while waiting < len(lengths) and len(running) < slots:
            heapq.heappush(running, (steps + max(1, lengths[waiting]), waiting, steps))
            started_at += steps
            waiting += 1
        end = running[0][0]
        rows = len(running)
        cached = rows * (prompt + (steps + end) / 2) - started_at
        seconds += (end - steps) * step_seconds(rows, cached)
        steps = end
        while running and running[0][0] == end:
            _, index, start = heapq.heappop(running)
            started_at -= start
            yield Ending(index, seconds)


def decode_seconds(lengths: Sequence[int], prompt: int, slots: int, step_seconds: StepSeconds) -> float:
    """Until the last row has ended."""
    return max((one.seconds for one in endings(lengths, prompt, slots, step_seconds)), default=0.0)
