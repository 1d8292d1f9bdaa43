"""``thinkery profile`` on stages of a tiny model: the real steps, the command, and what it refuses."""

from __future__ import annotations

import io
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from thinkery.cli import app
from thinkery.machine.peaks import Peaks
from thinkery.pipeline import run_recipe
from thinkery.profiling import figures_of, profile_recipe
from thinkery.recipe import Recipe
from thinkery.report.terminal import PlainView
from thinkery.types import UserError

pytestmark = pytest.mark.slow

COLUMNS = {
    "seconds",
    "share",
    "tokens",
    "tokens_per_s",
    "flops",
    "flops_per_s",
    "flop_share",
    "bytes",
    "bytes_per_s",
    "byte_share",
    "steps",
    "steps_per_s",
}
RECIPE = """
name: tiny
base: {model}
stages:
  - {{name: talk, kind: sft, from: base, data: [demonstrations.jsonl], epochs: 1}}
  - {{name: cold, kind: collect, from: base, problems: {{source: mini, n: 4}}}}
  - name: zero
    kind: rl
    from: base
    problems: {{source: mini, domains: {{math: 1}}}}
    rewards: {{accuracy: 1, "{place}/mine.py:long": {{weight: 1, from_step: 90}}}}
    steps: 100
    num_problems: 3
    num_generations: 4
    max_completion_length: 8
    learning_rate: 1.0e-4
    warmup_steps: 50
  - name: taught
    kind: rl
    from: talk
    teacher: {model}
    problems: {{source: mini, domains: {{math: 1}}}}
    steps: 100
    num_problems: 3
    num_generations: 4
    max_completion_length: 8
    learning_rate: 1.0e-4
    probe: {{problems: {{source: mini, split: test, n: 4}}}}
  - {{name: more, kind: sft, from: talk, data: [cold]}}
"""


@pytest.fixture
def place(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a recipe and its data, from which commands are given; temporary files are kept in ``temporary``."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "tiny.yaml").write_text(RECIPE.format(model=tiny_model, place=tmp_path))
    reward = "def long(completions, **_):\n    return [len(text) for text in completions]\n"
    (tmp_path / "mine.py").write_text(reward)
    rows = [{"prompt": f"{i} + {i}?", "thinking": "I add.", "answer": str(2 * i)} for i in range(3)]
    (tmp_path / "demonstrations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def profile(*arguments: str) -> tuple[str, dict[str, Any]]:
    """What the command prints, and the figures that it writes."""
    done = CliRunner().invoke(app, ["profile", "tiny.yaml", "--json", "figures.json", *arguments])
    assert done.exit_code == 0, (done.output, done.exception)
    return done.stdout, json.loads(Path("figures.json").read_text())


def refused(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["profile", "tiny.yaml", *arguments])
    assert done.exit_code == 2, (done.output, done.exception)
    assert len(done.stderr.splitlines()) == 1
    return done.stderr.strip().removeprefix("error: ")


def assert_whole(figures: dict[str, Any]) -> None:
    """The parts are the step: in seconds and in work."""
    step, parts = figures["step"], figures["parts"]
    assert sum(part["seconds"] for part in parts.values()) == pytest.approx(step["seconds"])
    assert sum(part["share"] for part in parts.values()) == pytest.approx(1)
    for kind in ("flops", "bytes"):
        assert sum(part[kind] or 0 for part in parts.values()) == pytest.approx(step[kind])
    for part in [step, *parts.values()]:
        assert part.keys() == COLUMNS


def test_reinforcement_learning_is_profiled_by_its_parts(place: Path, tiny_model: Path) -> None:
    printed, figures = profile("--steps", "2")
    assert (figures["stage"], figures["kind"], figures["steps"], figures["dtype"]) == ("zero", "rl", 2, "bfloat16")
    assert_whole(figures)
    assert list(figures["parts"]) == ["rollout", "grading", "update", "other"]
    for name in ("rollout", "update"):
        part = figures["parts"][name]
        assert part["flops_per_s"] == pytest.approx(part["flops"] / part["seconds"])
        assert part["flop_share"] == pytest.approx(part["flops_per_s"] / figures["peaks"]["bfloat16_flop_per_s"])
        assert part["byte_share"] == pytest.approx(part["bytes_per_s"] / figures["peaks"]["bytes_per_s"])
    rollout, narrow = figures["parts"]["rollout"], figures["narrow"]
    assert 1 <= rollout["steps"] <= 8
    assert narrow.keys() == COLUMNS
    assert narrow["tokens"] == pytest.approx(rollout["tokens"], rel=0.5)  # three problems are few already
    config = json.loads((tiny_model / "config.json").read_text())
    assert figures["model"]["layers"] == config["num_hidden_layers"]
    assert figures["model"]["activations"] > config["vocab_size"] + config["hidden_size"]
    for name in ("rollout", "grading"):
        assert figures["parts"][name]["tokens"] == pytest.approx(figures["step"]["tokens"])
    assert figures["parts"]["grading"]["flops"] is None
    assert "Most of the time goes to " in printed
    assert {line.partition(" ")[0] for line in printed.splitlines()} >= {
        "part",
        "rollout",
        "grading",
        "update",
        "other",
    }
    assert not (place / "runs").exists()
    assert not list((place / "temporary").glob("thinkery-profile-*"))


def test_fine_tuning_is_profiled_however_short_its_stage_is(place: Path) -> None:
    _, figures = profile("--steps", "3", "--stage", "talk")
    assert (figures["stage"], figures["kind"], figures["steps"]) == ("talk", "sft", 3)
    assert_whole(figures)
    assert list(figures["parts"]) == ["update", "other"]
    assert figures["narrow"] is None
    assert figures["parts"]["update"]["flop_share"] > 0


def test_a_stage_from_another_needs_a_run_in_which_that_one_is_done(place: Path, tiny_model: Path) -> None:
    said = refused("--stage", "taught")
    assert said.startswith("taught.from = 'talk' is made by another stage: name a run in which it is done with --run")
    assert refused("--stage", "taught", "--run", "gone") == "--run gone: no run folder, it has no manifest.json"
    recipe = Recipe.model_validate(
        {
            "name": "tiny",
            "base": str(tiny_model),
            "stages": [{"name": "talk", "kind": "sft", "from": "base", "data": ["demonstrations.jsonl"], "epochs": 1}],
        }
    )
    run_recipe(recipe, place / "run", view=PlainView(io.StringIO()))
    before = (place / "run" / "manifest.json").read_bytes()
    _, figures = profile("--steps", "1", "--stage", "taught", "--run", "run")
    assert_whole(figures)
    assert list(figures["parts"]) == ["rollout", "grading", "reference", "update", "other"]
    assert figures["parts"]["reference"]["flops"] > 0
    assert (place / "run" / "manifest.json").read_bytes() == before
    said = refused("--stage", "more", "--run", "run")
    assert said == "--run run: its stage cold is not done, and more.data[0].source needs it"
    weights = place / "run" / "checkpoints" / "talk" / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    said = refused("--stage", "taught", "--run", "run")
    assert said == "--run run: checkpoints/talk/model/model.safetensors: other checksum"


def test_a_stage_that_can_not_be_profiled_is_refused_with_those_that_can(place: Path) -> None:
    fit = "those of kind rl and sft can be profiled: talk, zero, taught, more"
    assert refused("--stage", "cold") == f"--stage cold: a stage of kind collect; {fit}"
    assert refused("--stage", "gone") == f"--stage gone: no such stage; {fit}"
    assert refused("--steps", "0") == "--steps 0: measure at least 1"
    grow = {"name": "grow", "kind": "pretrain", "corpus": {"source": "mini"}, "tokens": 9999}
    (place / "tiny.yaml").write_text(json.dumps({"name": "tiny", "stages": [grow]}))
    assert refused() == "tiny has no stage to profile: only stages of kind rl and sft can be"


def test_a_mistake_in_the_stage_is_refused_by_its_field(place: Path, tiny_model: Path) -> None:
    stage = {"name": "zero", "kind": "rl", "from": "base", "problems": {"source": "mini"}, "rewards": {"sped": 1}}
    stage |= {"steps": 2, "learning_rate": 1}
    recipe = Recipe.model_validate({"name": "tiny", "base": str(tiny_model), "stages": [stage]})
    with pytest.raises(UserError, match=r"zero.rewards: there is no reward 'sped'"):
        profile_recipe(recipe, view=PlainView(io.StringIO()))


def test_figures_are_means_over_steps_and_shares_of_the_peaks() -> None:
    lines = [
        {"time/rollout": 1.0, "time/update": 2.0, "time/other": 1.0, "time/step": 4.0, "tokens_per_second": 25.0}
        | {"tokens/rollout": 100.0, "flops/rollout": 30.0, "bytes/rollout": 10.0},
        {"time/rollout": 3.0, "time/reference": 1.0, "time/update": 4.0, "time/other": 0.0, "time/step": 8.0}
        | {"tokens/rollout": 300.0, "flops/rollout": 90.0, "bytes/rollout": 30.0, "tokens_per_second": 37.5},
    ]
    figures = figures_of(lines, Peaks({"bfloat16": 60.0, "float32": 30.0}, 100.0), "float32")
    rollout = figures["parts"]["rollout"]
    assert (rollout["seconds"], rollout["share"]) == (2.0, pytest.approx(1 / 3))
    assert (rollout["tokens_per_s"], rollout["flops_per_s"], rollout["bytes_per_s"]) == (100.0, 30.0, 10.0)
    assert (rollout["flop_share"], rollout["byte_share"]) == (1.0, 0.1)
    assert figures["parts"]["reference"]["seconds"] == 0.5
    assert figures["step"]["tokens_per_s"] == pytest.approx(200 / 6)
    assert figures["parts"]["update"]["flops"] is None
