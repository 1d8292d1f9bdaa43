"""The same rollouts on ever more GPUs."""

from __future__ import annotations

import pytest
from cluster_scaling import Scaled, best_of, knee, scale
from cluster_simulation import WAYS, Result, Way, Workload

from thinkery.plan.decoders import decoder_named
from thinkery.plan.hardware import GPUS
from thinkery.plan.lengths import LengthSpread

WORK = Workload(completions=512, updates=4, rollouts=5, lengths=LengthSpread(3000, 16384), prompt=100, verdict_s=0.5)
SIZES = (8, 64, 1024)


@pytest.fixture(scope="module")
def points() -> list[Scaled]:
    return scale(decoder_named("Qwen/Qwen2.5-7B"), GPUS["h800"], WORK, SIZES)


@pytest.mark.slow
def test_every_way_runs_at_every_size(points: list[Scaled]) -> None:
    assert [(point.gpus, point.way) for point in points] == [(size, way) for size in SIZES for way in WAYS]
    assert all(0 < point.busy <= 1 for point in points)
    assert all(point.learners < point.gpus for point in points if point.way != "colocated")


def test_a_fixed_batch_scales_worse_and_worse(points: list[Scaled]) -> None:
    for way in WAYS:
        own = [point for point in points if point.way == way]
        each = [point.speed / point.gpus for point in own]
        assert each == sorted(each, reverse=True)
        assert [point.busy for point in own] == sorted((point.busy for point in own), reverse=True)


def test_on_a_large_cluster_side_by_side_beats_in_turns(points: list[Scaled]) -> None:
    speed = {(point.way, point.gpus): point.speed for point in points}
    assert speed["asynchronous", 1024] > 1.3 * speed["colocated", 1024]


def test_the_best_share_is_found_from_either_side() -> None:
    asked: list[int] = []

    def worth(learners: int) -> float:
        asked.append(learners)
        return -abs(learners - 20)

    for first in (1, 20, 63, 500):
        assert abs(best_of(worth, first, 63) - 20) <= 4
    assert all(1 <= learners <= 63 for learners in asked)


def test_the_knee_is_the_last_size_with_half_of_the_first_ones_speed() -> None:
    def point(gpus: int, speed: float) -> Scaled:
        way: Way = "split"
        return Scaled(way, gpus, 1, speed, 1.0, Result())

    assert knee([point(8, 8.0), point(16, 14.0), point(32, 17.0), point(64, 18.0)]) == 32
