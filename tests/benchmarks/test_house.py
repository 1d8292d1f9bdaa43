"""The benchmark of the house counts what it says: files, lines, what a plugin needs, broken arrows, hashes, entries."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def house() -> Any:
    return importlib.import_module("house")


def test_the_core_is_counted_without_the_rooms_at_the_top(house: Any, tmp_path: Path) -> None:
    for name, text in {
        "run.py": "a\nb\n",
        "rollout/native/kernels.cpp": "c\n",
        "mini/world.py": "d\n" * 100,
        "plan/page.py": "e\n" * 100,
        "stages/plan.py": "f",
        "notes.md": "g\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert house.size_of(tmp_path) == (3, 4)


def test_a_new_stage_and_a_new_backend_take_few_files(house: Any) -> None:
    package = ROOT / "tests" / "plugins" / "example_package"
    assert house.files_behind(package, "thinkery.stages") == {"pyproject.toml", "parity_selection.py"}
    assert house.files_behind(package, "thinkery.rollouts") == {"pyproject.toml", "parity_rollout.py"}


def test_what_a_module_imports_of_its_own_package_counts(house: Any, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project.entry-points."thinkery.stages"]\nmine = "mine.stage:Stage"\n')
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "stage.py").write_text("from mine import one\nimport json\nimport mine.two\n")
    (tmp_path / "mine" / "one.py").write_text("def f():\n    from mine.three import g\n")
    for name in ("two", "three", "unused"):
        (tmp_path / "mine" / f"{name}.py").write_text("")
    found = house.files_behind(tmp_path, "thinkery.stages")
    assert found == {"pyproject.toml", *(f"mine/{name}.py" for name in ("stage", "one", "two", "three"))}


def test_broken_contracts_are_read(house: Any) -> None:
    assert house.broken_contracts("Contracts: 1 kept, 0 broken.") == 0
    assert house.broken_contracts("Contracts: 0 kept, 2 broken.") == 2
    with pytest.raises(ValueError, match="said neither"):
        house.broken_contracts("Traceback")


def test_models_are_the_same_only_byte_for_byte(house: Any, tmp_path: Path) -> None:
    for run, content in {"a": b"1", "b": b"1", "c": b"2"}.items():
        folder = tmp_path / run / "checkpoints" / "zero" / "model"
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(content)
    hashes = [house.hashes_in(tmp_path / run) for run in "abc"]
    assert hashes[0] == hashes[1] != hashes[2]
    with pytest.raises(ValueError, match="has no models"):
        house.hashes_in(tmp_path)


@pytest.mark.slow
def test_the_files_that_a_step_enters_are_seen(tmp_path: Path) -> None:
    trace = importlib.import_module("house_trace")
    entered = trace.trace(ROOT / "recipes" / "nano.yaml")
    expected = {
        "stages/rl.py",
        "rollout/native/engine.py",
        "rewards/grader.py",
        "training/learner.py",
        "run/stage_run.py",
    }
    assert expected <= set(entered)
    assert not {name for name in entered if name.startswith(("plan/", "report/html", "cli/"))}
