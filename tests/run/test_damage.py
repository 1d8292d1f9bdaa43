"""Damaged checkpoints of a real stage: a flipped bit in any file of one is found, said, and changes no result."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from thinkery.pipeline import Stopped, run_recipe
from thinkery.recipe import Recipe
from thinkery.report.terminal import PlainView
from thinkery.types import UserError


class Interrupted(PlainView):
    """Ctrl-C in the fourth step: the checkpoints of the second and the third are there."""

    def step(self, step: int, metrics: Any) -> None:
        if step == 4:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def recipe(tiny_model: Path) -> Recipe:
    """Reinforcement learning with all that has a state: optimizer, reference, problems drawn, a probe."""
    problems: dict[str, Any] = {"source": "mini", "domains": {"math": 1}}
    stage = {
        "name": "zero",
        "kind": "rl",
        "no_signal_steps": None,  # a random model: that nothing earns anything is no matter here
        "from": "base",
        "problems": problems,
        "rewards": {"format": 1, "repetition": 1},
        "steps": 5,
        "num_problems": 2,
        "num_generations": 2,
        "max_completion_length": 12,
        "learning_rate": 1e-3,
        "beta": 0.01,
        "reference_refresh_steps": 2,
        "save_steps": 1,
    }
    return Recipe.model_validate({"name": "short", "base": str(tiny_model), "stages": [stage]})


@pytest.fixture(scope="module")
def weights(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("whole") / "run"
    run_recipe(recipe, folder, view=PlainView())
    return weights_of(folder)


@pytest.fixture(scope="module")
def stopped(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.raises(Stopped):
        run_recipe(recipe, folder, view=Interrupted())
    names = sorted(path.name for path in (folder / "checkpoints" / "zero").iterdir())
    assert names == ["record.json", "step-000002", "step-000003"]
    return folder


def weights_of(folder: Path) -> bytes:
    return (folder / "checkpoints" / "zero" / "model" / "model.safetensors").read_bytes()


def flip(path: Path) -> None:
    """Turns one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


FILES = ["learner/model.safetensors", "learner/optimizer.pt", "learner/reference.safetensors", "sampler/sampler.json"]


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_in_the_last_checkpoint_is_said_and_the_one_before_ends_with_the_same_weights(
    name: str, recipe: Recipe, stopped: Path, weights: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(stopped, folder)
    flip(folder / "checkpoints" / "zero" / "step-000003" / name)
    run_recipe(recipe, folder, view=PlainView())
    said = capsys.readouterr().out
    assert f"zero: checkpoint step-000003 is damaged ({name}: other checksum); resuming from step-000002" in said
    assert weights_of(folder) == weights
    assert not list((folder / "checkpoints" / "zero").glob("step-*"))


def test_a_cut_checkpoint_and_a_lost_one_are_passed_over(
    recipe: Recipe, stopped: Path, weights: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for kind in ("cut", "lost", "unsummed"):
        folder = tmp_path / kind
        shutil.copytree(stopped, folder)
        last = folder / "checkpoints" / "zero" / "step-000003"
        if kind == "cut":
            (last / "learner" / "optimizer.pt").write_bytes((last / "learner" / "optimizer.pt").read_bytes()[:1000])
            expected = "checkpoint step-000003 is damaged (learner/optimizer.pt: other checksum)"
        elif kind == "lost":
            shutil.rmtree(last)
            expected = "checkpoint step-000003 is gone"
        else:
            (last / "checksums.json").write_text("{")
            expected = "checkpoint step-000003 is damaged (checksums.json is missing or damaged)"
        run_recipe(recipe, folder, view=PlainView())
        assert f"zero: {expected}; resuming from step-000002" in capsys.readouterr().out
        assert weights_of(folder) == weights


def test_without_a_whole_checkpoint_the_stage_is_done_again_only_if_forced(
    recipe: Recipe, stopped: Path, weights: bytes, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(stopped, folder)
    for step in (2, 3):
        flip(folder / "checkpoints" / "zero" / f"step-{step:06d}" / "learner" / "model.safetensors")
    with pytest.raises(UserError) as caught:
        run_recipe(recipe, folder, view=PlainView())
    assert str(caught.value).splitlines()[1:4] == [
        "  zero: no checkpoint is whole",
        "  zero: step-000003: learner/model.safetensors: other checksum",
        "  zero: step-000002: learner/model.safetensors: other checksum",
    ]
    assert "give --force" in str(caught.value)
    run_recipe(recipe, folder, view=PlainView(), force=True)
    assert weights_of(folder) == weights
    kept = folder / "set-aside" / "zero-1" / "checkpoints" / "zero"
    assert sorted(path.name for path in kept.iterdir()) == ["record.json", "step-000002", "step-000003"]


def test_a_stage_whose_checkpoints_are_all_gone_does_not_begin_anew_unasked(
    recipe: Recipe, stopped: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(stopped, folder)
    for path in (folder / "checkpoints" / "zero").glob("step-*"):
        shutil.rmtree(path)
    with pytest.raises(UserError, match="zero: its checkpoint step-000003 is gone, and there is no other"):
        run_recipe(recipe, folder, view=PlainView())
    assert (folder / "metrics.jsonl").read_bytes() == (stopped / "metrics.jsonl").read_bytes()


def test_a_flipped_bit_in_a_finished_model_is_refused_and_the_model_not_used(
    recipe: Recipe, tiny_model: Path, tmp_path: Path
) -> None:
    first = recipe.stages[0].model_copy(update={"steps": 1})
    second = first.model_copy(update={"name": "next", "from_": "zero"})
    both = recipe.model_copy(update={"stages": [first, second]})
    folder = tmp_path / "run"
    run_recipe(both, folder, view=PlainView(), until="zero")
    path = folder / "checkpoints" / "zero" / "model" / "model.safetensors"
    flip(path)
    damaged = path.read_bytes()
    with pytest.raises(UserError, match=r"zero: checkpoints/zero/model/model\.safetensors: other checksum"):
        run_recipe(both, folder, view=PlainView())
    assert path.read_bytes() == damaged
    assert not (folder / "checkpoints" / "next").exists()


def test_a_damaged_line_of_metrics_is_put_away_and_the_run_goes_on(
    recipe: Recipe, stopped: Path, weights: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(stopped, folder)
    path = folder / "metrics.jsonl"
    first, *rest = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first.replace(b'"stage"', b'"stage') + b"".join(rest))
    run_recipe(recipe, folder, view=PlainView())
    assert "metrics.jsonl: 1 damaged line put into metrics.damaged" in capsys.readouterr().out
    assert (folder / "metrics.damaged").read_bytes().count(b"\n") == 1
    assert weights_of(folder) == weights
