"""A recipe's plan: what is counted, what is assumed, and the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from thinkery.cli import app
from thinkery.plan.assumptions import Assumptions, Growth
from thinkery.plan.cost_models import GpuCluster, ProfiledMachine
from thinkery.plan.decoders import decoder_named
from thinkery.plan.estimate import plan_recipe, read_by_models
from thinkery.plan.hardware import GPUS, Cluster
from thinkery.plan.steps import rl_batch, rl_step
from thinkery.recipe import Recipe, RLStage, load_recipe
from thinkery.types import UserError

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
RECIPES = sorted(path for path in (ROOT / "recipes").glob("*.yaml") if path.stem != "mini-ablations")
ON_8 = GpuCluster(Cluster(GPUS["h100"], 8))
RECIPE = """
name: small
base: Qwen/Qwen2.5-1.5B
stages:
  - {name: zero, kind: rl, from: base, problems: {source: p.jsonl}, rewards: {accuracy: 1}, steps: 10, learning_rate: 1,
     max_completion_length: 1000, num_problems: 8, num_generations: 4, beta: 0.1, num_minibatches: 2}
  - {name: data, kind: collect, from: zero, problems: {source: p.jsonl, n: 100}, max_completion_length: 1000,
     num_generations: 4, max_per_problem: 2}
  - {name: dev, kind: sft, from: base, data: [data, {source: q.jsonl, share: 0.5}], batch_size: 50, epochs: 3}
evaluate:
  held: {problems: {source: p.jsonl, n: 20}, models: [base, dev]}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    path = tmp_path / "small.yaml"
    path.write_text(RECIPE)
    return load_recipe(path)


def test_hours_and_money_are_those_of_the_stages(recipe: Recipe) -> None:
    plan = plan_recipe(recipe, ON_8, usd_per_hour=3.0)
    assert [stage["stage"] for stage in plan["stages"]] == ["zero", "data", "dev", "evaluate.held"]
    for stage in plan["stages"]:
        assert stage["step_seconds"] == pytest.approx(sum(stage["parts"].values()))
        assert stage["hours"] == pytest.approx(stage["steps"] * stage["step_seconds"] / 3600)
        assert stage["gpu_hours"] == pytest.approx(8 * stage["hours"])
        assert stage["usd"] == pytest.approx(3.0 * stage["gpu_hours"])
    assert plan["total"]["usd"] == pytest.approx(24 * sum(stage["hours"] for stage in plan["stages"]))


def test_a_later_stage_learns_from_what_the_earlier_one_made(recipe: Recipe) -> None:
    # 100 problems, at most 2 samples of each are kept, and half of the set comes from elsewhere: 400 in batches of 50
    dev = plan_recipe(recipe, ON_8)["stages"][2]
    assert dev["steps"] == 3 * 400 / 50
    changed = plan_recipe(recipe, ON_8, assume=["dev.items=1000"])["stages"][2]
    assert changed["steps"] == 3 * 1000 / 50


def test_every_assumption_is_told_and_given_ones_are_taken(recipe: Recipe) -> None:
    told = {name: (value, why) for name, value, why in plan_recipe(recipe, ON_8)["assumptions"]}
    assert told["zero.mean_length"] == ("200", "a fifth of the limit, as in the miniature")
    assert told["data.mean_length"][0] == "200"
    given = plan_recipe(recipe, ON_8, assume=["zero.mean_length=100-300"])
    told = {name: (value, why) for name, value, why in given["assumptions"]}
    assert told["zero.mean_length"] == ("100 to 300", "given")
    longer = plan_recipe(recipe, ON_8, assume=["zero.mean_length=600"])
    assert longer["stages"][0]["hours"] > given["stages"][0]["hours"]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("zero.length=5", "--assume zero.length=5: write it as stage.field=value"),
        ("zero.items=ten", "'ten' is no number, nor two with a - between them"),
        ("zero.mean_length=0", "must be above 0"),
        (
            "zreo.teaches=1",
            "--assume zreo.teaches: this plan has no use for it; it asks for fields of zero, data, dev,",
        ),
        ("data.items=5", "has no use for it; it asks for data.mean_length, data.prompt_length"),
    ],
)
def test_an_assumption_that_makes_no_sense_is_refused(recipe: Recipe, setting: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        plan_recipe(recipe, ON_8, assume=[setting])
    assert message in str(caught.value)


def test_a_growing_number_has_its_mean_and_its_way() -> None:
    found = Assumptions.read(["a.mean_length=100-300"]).get("a", "mean_length", 7.0, "why")
    assert (found.mean, found.at(0.25)) == (200.0, 150.0)
    assert Assumptions.read([]).get("a", "items", 7.0, "why") == Growth(7.0, 7.0)


def test_a_step_pays_for_what_its_settings_ask(recipe: Recipe) -> None:
    stage, model = recipe.stages[0], decoder_named("Qwen/Qwen2.5-1.5B")
    assert isinstance(stage, RLStage)
    batch = rl_batch(stage, 200, 100)
    assert (len(batch), len(batch[0].completions)) == (8, 4)
    whole = ON_8.forward(model, batch)
    step = rl_step(stage, model, ON_8, batch, slots=100)
    assert step["reference"] == pytest.approx(1.5 * whole, rel=0.05)  # all of it, and the half that comes second
    plain = stage.model_copy(update={"beta": 0.0, "num_minibatches": 1})
    assert rl_step(plain, model, ON_8, batch, slots=100)["reference"] == 0
    twice = stage.model_copy(update={"num_iterations": 2})
    assert rl_step(twice, model, ON_8, batch, slots=100)["update"] == pytest.approx(2 * step["update"])
    alone = GpuCluster(Cluster(GPUS["h100"], 1))  # eight GPUs would wait for their shards, however little they learn
    half, all_of_it = (rl_step(plain, model, alone, batch, slots=100, teaches=share)["update"] for share in (0.5, 1.0))
    assert half < all_of_it
    assert rl_step(stage, model, ON_8, batch, slots=100, read_by_models=0.5)["grading"] < whole


def test_reward_models_read_their_own_problems_from_their_step_on() -> None:
    stage = next(stage for stage in load_recipe(ROOT / "recipes" / "r1-qwen2.5-7b.yaml").stages if stage.name == "r1")
    assert isinstance(stage, RLStage)
    # of 2.2 in all 1 is helpful and 0.2 is safety, each read by one model for 400 of 1,700 steps
    assert read_by_models(stage) == pytest.approx(1.2 / 2.2 * 400 / 1700)
    mini = next(stage for stage in load_recipe(ROOT / "recipes" / "mini.yaml").stages if stage.name == "r1")
    assert isinstance(mini, RLStage)
    entered = mini.rewards["helpful"].from_step
    assert read_by_models(mini) == pytest.approx(2 / 3 * (mini.steps - entered) / mini.steps)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_shipped_recipe_can_be_planned(path: Path) -> None:
    plan = plan_recipe(load_recipe(path), GpuCluster(Cluster(GPUS["h800"], 64)))
    assert all(stage["hours"] > 0 for stage in plan["stages"])
    json.dumps(plan)


def test_a_recipe_that_starts_from_a_run_needs_that_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="no model at runs/mini"):
        plan_recipe(load_recipe(ROOT / "recipes" / "mini-ablations.yaml"), ON_8)


def test_the_papers_two_runs_are_of_the_paper_s_order() -> None:
    # 198 and about 80 hours; benchmarks/scale_plan.py has the lengths that go with them
    recipe = load_recipe(ROOT / "benchmarks" / "recipes" / "deepseek-r1.yaml", ["zero.num_problems=512"])
    plan = plan_recipe(recipe, GpuCluster(Cluster(GPUS["h800"], 512)), assume=["zero.mean_length=5000"])
    hours = {stage["stage"]: stage["hours"] for stage in plan["stages"]}
    assert 50 < hours["zero"] < 200
    assert 30 < hours["zero-longer"] < 150
    assert hours["dev3"] < 10


def profile() -> dict[str, Any]:
    return {
        "dtype": "bfloat16",
        "peaks": {"bfloat16_flop_per_s": 1e11},
        "model": {"layers": 4, "activations": 20000},
        "narrow": {"seconds": 1.5, "tokens": 2500.0, "flops": 2e10, "steps": 100.0},
        "parts": {
            "rollout": {"seconds": 3.0, "tokens": 20000.0, "flops": 1.5e11, "steps": 150.0},
            "update": {"seconds": 4.0, "tokens": 20000.0, "flops": 4e11},
            "other": {"seconds": 0.1},
        },
    }


def test_a_split_for_ones_own_machine_has_no_price(recipe: Recipe) -> None:
    plan = plan_recipe(recipe, ProfiledMachine(profile()))
    assert plan["machine"] is None
    assert set(plan["total"]) == {"hours"}
    assert all(stage["memory"] is None for stage in plan["stages"])


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["plan", *arguments])
    assert done.exit_code == 0, done.output
    return done.output


def test_the_command_prints_stages_memory_and_assumptions(tmp_path: Path) -> None:
    out = tmp_path / "plan.json"
    text = run(str(ROOT / "recipes" / "r1-qwen2.5-7b.yaml"), "--gpus", "64", "--gpu", "h800", "--json", str(out))
    figures = json.loads(out.read_text())
    assert figures["machine"] == {"gpu": "h800", "gpus": 64, "usd_per_hour": 2.0, "assumed": True}
    for stage in figures["stages"]:
        assert f"\n{stage['stage']} " in text
    assert "on 64 h800" in text
    assert "zero.mean_length = 6,554: a fifth of the limit, as in the miniature" in text
    assert "arXiv 2407.21783" in text


def test_the_command_plans_for_a_profiled_machine(tmp_path: Path) -> None:
    (tmp_path / "zero.json").write_text(json.dumps(profile()))
    text = run(str(ROOT / "recipes" / "mini.yaml"), "--profile", str(tmp_path / "zero.json"))
    assert "hours on this machine" in text
    assert "$" not in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--set", "base=my/own"], "error: the sizes of my/own are not known here"),
        (["--gpu", "h900"], "error: --gpu h900: no such GPU"),
        (["--price", "-1"], "error: --price -1: must be 0 or more"),
        (["--json", "gone/plan.json"], "error: --json gone/plan.json: there is no folder gone"),
        (["--profile", "zero.json", "--gpus", "8"], "error: --profile plans for the machine that was profiled: leave"),
    ],
)
def test_a_mistake_is_one_line_and_exit_status_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own.yaml").write_text(RECIPE)
    done = CliRunner().invoke(app, ["plan", "own.yaml", *arguments])
    assert done.exit_code == 2
    assert done.output.startswith(said)
    assert len(done.output.splitlines()) == 1


def test_a_sequence_longer_than_a_microbatch_that_fits_is_told(recipe: Recipe) -> None:
    figures = plan_recipe(recipe, ON_8, assume=["zero.prompt_length=100"])
    memory, stage = figures["stages"][0]["memory"], recipe.stages[0]
    assert isinstance(stage, RLStage)
    assert memory["longest"] == 100 + max(rl_batch(stage, 200, 100)[0].completions)
    assert memory["longest"] < memory["largest_microbatch"]
