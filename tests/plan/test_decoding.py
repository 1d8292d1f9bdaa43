"""Decoding from ending to ending, against a loop over every single step."""

from __future__ import annotations

import random

import pytest

from thinkery.plan.decoding import decode_seconds, endings


def step_by_step(lengths: list[int], prompt: int, slots: int) -> list[float]:
    """The seconds at which each row ends, one token after another; a step costs 1, a row 0.1, a cached token 0.001."""
    waiting = list(range(len(lengths)))
    running: dict[int, int] = {}  # row -> tokens it has
    ended = [0.0] * len(lengths)
    seconds = 0.0
    while waiting or running:
        while waiting and len(running) < slots:
            running[waiting.pop(0)] = 0
        seconds += seconds_of(len(running), sum(prompt + has + 0.5 for has in running.values()))
        for row in list(running):
            running[row] += 1
            if running[row] == lengths[row]:
                ended[row] = seconds
                del running[row]
    return ended


def seconds_of(rows: int, cached: float) -> float:
    return 1.0 + 0.1 * rows + 0.001 * cached


@pytest.mark.parametrize("slots", [1, 3, 8, 100])
def test_rows_end_when_a_loop_over_every_step_says(slots: int) -> None:
    numbers = random.Random(slots)
    lengths = [numbers.randint(1, 40) for _ in range(30)]
    expected = step_by_step(lengths, 7, slots)
    found = {one.index: one.seconds for one in endings(lengths, 7, slots, seconds_of)}
    assert len(found) == len(lengths)
    assert [found[index] for index in range(30)] == pytest.approx(expected)
    assert decode_seconds(lengths, 7, slots, seconds_of) == pytest.approx(max(expected))


def test_nothing_to_decode_takes_no_time() -> None:
    assert decode_seconds([], 7, 4, seconds_of) == 0.0
