"""A stage alone is a recipe of one stage: what the options become, and the same stage run by its command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from thinkery.cli import app
from thinkery.commands import StageOptions, figures, recipe_of
from thinkery.recipe import CollectStage, JudgeStage, RewardModelStage, RewardSpec, RLStage, SFTStage
from thinkery.types import UserError

pytestmark = pytest.mark.slow


def options(command: str, *data: str, fields: dict[str, Any] | None = None, **more: Any) -> StageOptions:
    return StageOptions(command, "./model", data or ("data.jsonl",), fields or {}, **more)


def test_grpo_takes_problems_and_rewards() -> None:
    fields = {
        "problems.columns": {"prompt": "question"},
        "rewards": ["accuracy", "length={weight: 0.5, buffer: 9}"],
        "steps": 5,
        "learning_rate": 1e-5,
        "preset": None,
    }
    recipe = recipe_of(options("grpo", "a.jsonl", "b.jsonl", fields=fields, template="r1-zero", seed=3))
    (stage,) = recipe.stages
    assert isinstance(stage, RLStage)
    assert (recipe.base, recipe.template, recipe.seed, stage.from_, stage.steps) == ("./model", "r1-zero", 3, "base", 5)
    assert [spec.source for spec in stage.problems.all] == ["a.jsonl", "b.jsonl"]
    assert [spec.columns for spec in stage.problems.all] == [{"prompt": "question"}] * 2
    assert stage.rewards == {"accuracy": RewardSpec(), "length": RewardSpec(weight=0.5, buffer=9)}
    assert stage.num_generations == 16  # what is not said is the stage's own


def test_the_other_stages_take_their_own_kind_of_data() -> None:
    fields = {"problems.n": 5, "judge.source": "mini", "refine.by": "rules", "temperature": None}
    (collect,) = recipe_of(options("collect", fields=fields)).stages
    assert isinstance(collect, CollectStage)
    assert (collect.problems.n, collect.temperature) == (5, 1.0)
    assert collect.judge is not None
    assert collect.refine is not None
    (sft,) = recipe_of(options("sft", "a.jsonl", "b.jsonl", fields={"data.split": "train", "epochs": 3})).stages
    assert isinstance(sft, SFTStage)
    assert ([spec.source for spec in sft.data], sft.epochs) == (["a.jsonl", "b.jsonl"], 3)
    fields = {"judge.source": "mini", "task": "safety", "others": ["./other"], "problems.n": None}
    (judge,) = recipe_of(options("judge", fields=fields)).stages
    assert isinstance(judge, JudgeStage)
    assert (judge.task, judge.others, judge.problems.n) == ("safety", ["./other"], None)
    for objective, reads in (("pairwise", "summary"), ("pointwise", "response")):
        (model,) = recipe_of(options("reward-model", fields={"objective": objective, "reads": None})).stages
        assert isinstance(model, RewardModelStage)
        assert model.reads == reads


def test_eval_measures_each_set_under_a_name_of_its_own() -> None:
    sources = ("x/math500.jsonl", "y/math500.parquet", "mini", "gym://basic_arithmetic", "HuggingFaceH4/MATH-500")
    fields = {"problems.n": 7, "num_samples": 4}
    recipe = recipe_of(options("eval", *sources, fields=fields, overrides=["top_p=0.5", "verification.workers=1"]))
    assert list(recipe.evaluate) == ["math500", "math500-2", "mini", "basic_arithmetic", "math-500"]
    assert {(s.problems.n, s.problems.split, s.num_samples, s.top_p) for s in recipe.evaluate.values()} == {
        (7, "test", 4, 0.5)
    }
    assert (recipe.stages, recipe.verification.workers) == ([], 1)


def test_overrides_reach_the_stage_and_verification() -> None:
    recipe = recipe_of(options("sft", overrides=["batch_size=7", "data.0.n=3", "verification.math.units=ignored"]))
    (stage,) = recipe.stages
    assert isinstance(stage, SFTStage)
    assert (stage.batch_size, stage.data[0].n, recipe.verification.math.units) == (7, 3, "ignored")
    with pytest.raises(UserError, match=r"^sft\.bach_size: no such field; did you mean batch_size\?$"):
        recipe_of(options("sft", overrides=["bach_size=7"]))
    with pytest.raises(UserError, match=r"^grpo\.steps = 0: allowed: an integer > 0$"):
        recipe_of(options("grpo", fields={"steps": 0}))
    with pytest.raises(UserError, match=r"^--reward length=\[: write it as name or name=weight"):
        recipe_of(options("grpo", fields={"rewards": ["length=["]}))


def test_figures_are_lines_of_set_name_and_value() -> None:
    report = {"pass@1": 0.5, "pass@1_ci95": [0.4, 0.6], "n": 1234, "by_level": {"1": {"pass@1": 0.5}}}
    assert figures({"base": {"eval": {"math": report}}}) == ["math  pass@1  0.5000 [0.4000, 0.6000]", "math  n  1,234"]


def test_a_stage_alone_is_a_run_that_the_same_command_goes_on_with(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.jsonl").write_text(
        json.dumps({"prompt": "1 + 1?", "thinking": "One and one.", "answer": "2"}) + "\n"
    )
    (tmp_path / "b.jsonl").write_text(json.dumps({"prompt": "2 + 2?", "answer": "4"}) + "\n")
    taught = Path("runs/sft/checkpoints/sft/model")
    sft = ["sft", "--model", str(tiny_model), "--data", "a.jsonl", "--epochs", "3", "--max-length", "99", "--seed", "4"]
    first, again = CliRunner().invoke(app, sft), CliRunner().invoke(app, sft)
    assert first.exit_code == again.exit_code == 0, first.output
    assert first.stdout.splitlines()[-2:] == [str(taught), "runs/sft/report.html"]
    assert "sft: done before" in again.stdout
    other = CliRunner().invoke(app, [*sft, "--batch-size", "2"])
    assert other.exit_code == 2
    assert "sft.batch_size: 128 -> 2" in other.stderr
    measure = [
        "eval",
        "--model",
        str(taught),
        "--data",
        "b.jsonl",
        "--num-samples",
        "2",
        "--max-completion-length",
        "8",
    ]
    done = CliRunner().invoke(app, measure)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert "b  n  1" in lines
    assert any(line.startswith("b  pass@1  0.") for line in lines)
