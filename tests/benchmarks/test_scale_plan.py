"""The planner's benchmark: the paper's two runs, a step planned from another stage's profile, and the chart."""

from __future__ import annotations

import importlib
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from thinkery.models.work import rollout_work, update_work
from thinkery.planning.decoders import decoder_named
from thinkery.planning.engines import ProfiledMachine
from thinkery.planning.scaling import Scaled
from thinkery.planning.simulate import WAYS, Result
from thinkery.recipe import load_recipe


@pytest.fixture(scope="module")
def benchmark() -> Any:
    return importlib.import_module("scale_plan")


def test_the_papers_runs_are_planned_near_what_they_took(benchmark: Any) -> None:
    zero, r1 = benchmark.paper_hours({}, {})
    assert zero == pytest.approx(198, rel=0.25)
    assert r1 == pytest.approx(80, rel=0.30)  # Dev2's updates are not disclosed
    assert benchmark.paper_hours({}, {"dev2.steps": 250})[1] > r1


def profile(stage: str, **parts: dict[str, float]) -> dict[str, Any]:
    around = {"other": {"seconds": 0.1}}
    return {"stage": stage, "dtype": "bfloat16", "peaks": {"bfloat16_flop_per_s": 2e11}, "parts": parts | around}


def test_a_step_of_the_profiled_kind_is_planned_as_it_was_profiled(benchmark: Any) -> None:
    recipe = load_recipe(benchmark.MINI)
    zero = next(stage for stage in recipe.stages if stage.name == "zero")
    batch = benchmark.rl_batch(zero, 40, 20)
    shape = decoder_named("thinkery://mini-base").learning
    sampled, learnt = rollout_work(shape, batch, 512), update_work(shape, batch)
    measured = profile(
        "zero",
        rollout={"seconds": 3.0, "tokens": sampled.tokens, "flops": sampled.flops},
        update={"seconds": 4.0, "tokens": learnt.tokens, "flops": learnt.flops},
    )
    planned = benchmark.planned_step(recipe, ProfiledMachine(measured), measured)
    assert planned == pytest.approx(3.0 + 4.0 + 0.1, rel=0.01)


def test_the_chart_is_well_formed_and_names_every_way(benchmark: Any) -> None:
    points = [Scaled(way, gpus, 1, gpus / 4, 8 / gpus, Result()) for gpus in (8, 64) for way in WAYS]
    svg = benchmark.chart(points)
    ET.fromstring(svg)
    assert all(f">{way}</text>" in svg for way in WAYS)
    assert svg.count("<polyline") == 6
