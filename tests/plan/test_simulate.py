"""The simulated cluster: cases with a known answer, and laws that hold whatever is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from thinkery.plan.lengths import LengthSpread
from thinkery.plan.simulate import WAYS, Resources, Way, Workload, simulate

EQUAL = Workload(completions=64, updates=4, rollouts=3, lengths=LengthSpread(100, 1000, 0.0), prompt=10, verdict_s=1e-9)
MIXED = replace(EQUAL, lengths=LengthSpread(100, 1000, 0.6), verdict_s=0.5, rollouts=6)


def step_seconds(rows: int, cached: float) -> float:
    return 0.1 + 0.01 * rows + 0.0001 * cached


def update_s(lengths: Sequence[int]) -> float:
    return 0.02 * sum(lengths)


def machine(replicas: int = 4, slots: int = 100) -> Resources:
    return Resources(replicas, slots, step_seconds, update_s, hand_over_s=3.0, graders=8)


@pytest.mark.parametrize("slots", [16, 8])
def test_equal_lengths_in_turns_take_what_the_sum_of_all_parts_takes(slots: int) -> None:
    # 16 rows a replica of 10 + 100 tokens, all at once or in two waves
    waves, rows = 16 // slots, slots
    rollout = waves * 100 * step_seconds(rows, rows * (10 + 50))
    update = 64 * 100 * 0.02
    for way in ("colocated", "split"):
        result = simulate(EQUAL, machine(slots=slots), way)
        assert result.seconds == pytest.approx(3 * (rollout + update + 3.0), rel=1e-6)
        assert result.rollout_s == pytest.approx(rollout + update + 3.0, rel=1e-6)
        assert result.busy_rollout == pytest.approx(3 * rollout)
        assert result.busy_update == pytest.approx(3 * (update + 3.0))
        assert result.stale == {0: 192}


def test_asynchronous_learning_hides_the_shorter_side() -> None:
    # updates, each with the hand-over of its weights, take longer than sampling: soon only they are waited for
    work = replace(EQUAL, rollouts=8)
    result = simulate(work, machine(), "asynchronous")
    assert result.rollout_s == pytest.approx(64 * 100 * 0.02 + 4 * 3.0)
    assert simulate(work, machine(), "split").rollout_s > result.rollout_s * 1.1


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("seed", [0, 1])
def test_every_completion_is_learnt_from_once(way: Way, seed: int) -> None:
    result = simulate(MIXED, machine(), way, seed=seed)
    assert result.completions == sum(result.stale.values()) == 64 * 6
    assert len(result.learnt_at) == 6
    assert result.learnt_at == sorted(result.learnt_at)
    assert result.learnt_at[-1] == result.seconds
    assert 0 < result.busy_rollout <= result.seconds
    assert 0 < result.busy_update <= result.seconds


@pytest.mark.parametrize("way", WAYS)
def test_a_seed_tells_everything(way: Way) -> None:
    assert simulate(MIXED, machine(), way, seed=3) == simulate(MIXED, machine(), way, seed=3)
    assert simulate(MIXED, machine(), way, seed=3).seconds != simulate(MIXED, machine(), way, seed=4).seconds


@pytest.mark.parametrize("staleness", [0, 1, 3])
def test_the_bound_holds_for_equal_lengths_and_on_average_for_others(staleness: int) -> None:
    stale = simulate(EQUAL, machine(), "asynchronous", staleness=staleness).stale
    assert max(stale) <= staleness
    stale = simulate(MIXED, machine(), "asynchronous", staleness=staleness).stale
    assert sum(age * count for age, count in stale.items()) / sum(stale.values()) <= staleness + 0.05  # a few are late


def test_more_replicas_are_never_slower_and_never_beat_the_longest_completion() -> None:
    work = replace(MIXED, verdict_s=1e-9)
    seconds = [simulate(work, machine(replicas=count), "colocated").seconds for count in (1, 4, 16, 64, 256)]
    assert seconds == sorted(seconds, reverse=True)
    alone = simulate(work, machine(replicas=64), "colocated")
    assert alone.seconds == pytest.approx(seconds[-1])  # a replica for each: nothing is left to share out


def test_slow_verdicts_are_waited_for() -> None:
    slow = replace(EQUAL, verdict_s=100.0)
    assert simulate(slow, machine(), "colocated").seconds > simulate(EQUAL, machine(), "colocated").seconds + 300


def test_updates_must_share_a_rollout_out_evenly() -> None:
    with pytest.raises(ValueError, match="64 completions do not make 5 equal updates"):
        replace(EQUAL, updates=5)
