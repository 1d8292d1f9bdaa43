"""The clock against the time that really passed, taken around and inside its parts."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from thinkery.machine.clock import Clock


def work() -> float:
    """Something that takes a while; returns how long it took, to the clock's own resolution."""
    started = time.perf_counter()
    sum(range(100_000))
    return time.perf_counter() - started


def test_the_parts_are_all_the_time_that_has_passed() -> None:
    before = time.perf_counter()
    clock = Clock()
    started = time.perf_counter()
    with clock.part("rollout"):
        rollout = work()
    other = work()
    with clock.part("update"):
        update = work()
    passed = time.perf_counter() - started
    seconds = clock.lap()
    assert set(seconds) == {"rollout", "update", "other"}
    assert seconds["rollout"] >= rollout
    assert seconds["update"] >= update
    assert seconds["other"] >= other
    assert passed <= sum(seconds.values()) <= time.perf_counter() - before


def test_what_a_part_opens_inside_itself_is_not_its_own() -> None:
    clock = Clock()
    started = time.perf_counter()
    with clock.part("update"):
        with clock.part("reference"):
            inside = work()
        work()
    seconds = clock.lap()
    whole = time.perf_counter() - started
    assert seconds["reference"] >= inside
    assert seconds["update"] <= whole - inside


def test_making_an_item_counts_and_what_is_done_with_it_does_not() -> None:
    made = 0.0

    def items() -> Iterator[int]:
        nonlocal made
        for item in range(3):
            made += work()
            yield item

    clock = Clock()
    started = time.perf_counter()
    used = 0.0
    seen = []
    for item in clock.each("rollout", items()):
        with clock.part("grading"):
            used += work()
        seen.append(item)
    seconds = clock.lap()
    whole = time.perf_counter() - started
    assert seen == [0, 1, 2]
    assert made <= seconds["rollout"] <= whole - used
    assert used <= seconds["grading"] <= whole - made


def test_a_lap_begins_anew_and_a_part_that_fails_is_closed() -> None:
    clock = Clock()

    def fail() -> None:
        with clock.part("rollout"):
            raise ValueError("the engine broke")

    with pytest.raises(ValueError, match="the engine broke"):
        fail()
    assert set(clock.lap()) == {"rollout", "other"}
    assert set(clock.lap()) == {"other"}


def test_the_device_is_waited_for_at_every_boundary() -> None:
    waited: list[str] = []
    clock = Clock(lambda: waited.append("here"))
    with clock.part("rollout"):
        assert len(waited) == 1
    assert len(waited) == 2
    clock.lap()
    assert len(waited) == 3
