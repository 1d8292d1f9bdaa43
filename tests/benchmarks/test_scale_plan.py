"""The planner's benchmark: the paper's two runs, a step planned from another stage's profile, and the chart."""

from __future__ import annotations

import importlib
import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from cluster_scaling import Scaled
from cluster_simulation import WAYS, Result

from thinkery.models.flops import rollout_compute, update_compute
from thinkery.plan.cost_models import ProfiledMachine
from thinkery.plan.decoders import decoder_named
from thinkery.plan.lengths import LengthSpread
from thinkery.recipe import load_recipe

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def benchmark() -> Any:
    return importlib.import_module("scale_plan")


def test_the_papers_runs_are_planned_near_what_they_took(benchmark: Any) -> None:
    zero, r1 = benchmark.paper_hours({}, {})
    assert zero == pytest.approx(198, rel=0.25)
    assert r1 == pytest.approx(80, rel=0.25)
    fewer, more = (benchmark.paper_hours({}, {"dev2.steps": steps})[1] for steps in (106, 344))
    assert fewer < r1 < more  # Dev2's updates are not disclosed


def profile(stage: str, **parts: dict[str, float]) -> dict[str, Any]:
    around = {"other": {"seconds": 0.1}}
    mini = decoder_named("thinkery://mini-base")
    return {
        "stage": stage,
        "dtype": "bfloat16",
        "peaks": {"bfloat16_flop_per_s": 2e11},
        "model": {"layers": mini.layers, "activations": mini.learning.activations},
        "narrow": {"seconds": 1.0, "tokens": 1500.0, "flops": 1e10, "steps": 100.0},
        "step": {"seconds": sum(part["seconds"] for part in parts.values()) + 0.1},
        "parts": parts | around,
    }


def test_a_step_of_the_profiled_kind_is_planned_as_it_was_profiled(benchmark: Any) -> None:
    recipe = load_recipe(benchmark.MINI)
    zero = next(stage for stage in recipe.stages if stage.name == "zero")
    batch = benchmark.rl_batch(zero, 40, 41)
    shape = decoder_named("thinkery://mini-base").learning
    sampled, learnt = rollout_compute(shape, batch, 512), update_compute(shape, batch)
    measured = profile(
        "zero",
        rollout={"seconds": 3.0, "tokens": sampled.tokens, "flops": sampled.flops, "steps": sampled.steps},
        update={"seconds": 4.0, "tokens": learnt.tokens, "flops": learnt.flops},
    )
    planned = benchmark.planned_step(recipe, ProfiledMachine(measured), measured)
    assert sum(planned.values()) == pytest.approx(3.0 + 4.0 + 0.1, rel=0.01)


def test_the_spread_is_found_again_from_the_longest_of_many(benchmark: Any) -> None:
    for spread in (0.35, 0.6):
        lengths = LengthSpread(40, 1000, spread).quantiles(512)
        assert benchmark.spread_of(40, lengths[0], 512, 1000) == pytest.approx(spread, abs=0.02)


def test_rounds_that_are_kept_are_compared_and_not_measured_again(benchmark: Any, tmp_path: Path) -> None:
    rollout = {"seconds": 3.0, "tokens": 20_000.0, "flops": 1.5e11, "steps": 150.0}
    update = {"seconds": 4.0, "tokens": 20_000.0, "flops": 4.5e11}
    for number, slow in enumerate((1.0, 1.0, 9.0)):
        for stage in ("zero", *benchmark.PREDICTED):
            seconds = {"rollout": rollout | {"seconds": 3.0 * slow}, "update": update | {"seconds": 4.0 * slow}}
            (tmp_path / f"{number}-{stage}.json").write_text(json.dumps(profile(stage, **seconds)))
    figures = benchmark.mini_figures(benchmark.profiled(tmp_path, 1, 3, tmp_path))
    assert figures["mini_dev2_step_s"] == 7.1  # the median: one round of three was slow
    assert figures["plan_mini_dev2_step_s"] == pytest.approx(7.1, rel=0.05)  # it is the profiled step itself
    assert figures["plan_mini_step_error"] > 0.3  # the student can't have taken as long


def test_the_chart_is_well_formed_and_names_every_way(benchmark: Any) -> None:
    points = [Scaled(way, gpus, 1, gpus / 4, 8 / gpus, Result()) for gpus in (8, 64) for way in WAYS]
    svg = benchmark.chart(points)
    ET.fromstring(svg)
    assert all(f">{way}</text>" in svg for way in WAYS)
    assert svg.count("<polyline") == 6
