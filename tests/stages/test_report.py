"""The report of one run and of several: what is written where, and that it is the same finding."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from thinkery.run import Run
from thinkery.stages.report import report_run, report_runs
from thinkery.types import UserError

pytestmark = pytest.mark.slow

RECIPE = "name: mini\nstages:\n  - {name: zero, kind: rl}\n"


def rows(solves: float, rng: random.Random) -> list[dict[str, Any]]:
    known = {"domain": "math", "level": 1, "language": "en", "checked": True, "length": 9, "thinking_length": 5}
    known |= {"reflections": 0, "well_formed": True, "truncated": False}
    return [
        known | {"problem_id": f"p{p}", "index": k, "correct": rng.random() < solves, "answer": str(k)}
        for p in range(40)
        for k in range(4)
    ]


def make(folder: Path, seed: int, *, zero: float = 0.8) -> Path:
    rng = random.Random(seed)
    with Run(folder) as run:
        run.begin("mini", seed, RECIPE)
        for model, solves in (("base", 0.2), ("zero", zero)):
            stage = run.stage(f"{model}.eval")
            stage.start({"made": "so"})
            stage.save_samples("reasoning", rows(solves, rng))
        run.save_summary({"name": "mini", "stages": {}})
    return folder


def holding(measured: dict[str, Any]) -> dict[str, bool | None]:
    return {entry["id"]: entry["holds"] for entry in measured["phenomena"]}


def test_a_run_is_reported_in_its_folder(tmp_path: Path) -> None:
    folder = make(tmp_path / "run", 0)
    summary = (folder / "summary.json").read_bytes()
    found = report_run(folder, print)
    assert holding(found)["P1"] is True
    assert holding(found)["P9"] is None
    assert report_runs([folder]) == folder / "report.html"
    assert "Pure RL from the base lifts pass@1" in (folder / "report.html").read_text(encoding="utf-8")
    assert (folder / "summary.json").read_bytes() == summary  # its owner's alone
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_several_runs_are_tested_together(tmp_path: Path) -> None:
    folders = [make(tmp_path / str(seed), seed) for seed in (0, 1)]
    page = report_runs(folders)
    assert page == folders[0] / "pooled.html"
    pooled = json.loads(page.with_suffix(".json").read_text())
    assert pooled["runs"] == ["0", "1"]
    assert "40 problems of reasoning in 2 runs" in pooled["phenomena"][0]["test"]
    assert "Tested on 2 runs together." in page.read_text(encoding="utf-8")
    other = report_runs(folders, tmp_path / "elsewhere.html")
    assert json.loads(other.with_suffix(".json").read_text()) == pooled


def test_seeds_that_disagree_do_not_hold(tmp_path: Path) -> None:
    folders = [make(tmp_path / "up", 0), make(tmp_path / "down", 1, zero=0.05)]
    alone = [holding(report_run(folder, print))["P1"] for folder in folders]
    assert alone == [True, False]
    together = json.loads(report_runs(folders).with_suffix(".json").read_text())["phenomena"][0]
    assert together["holds"] is False


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run folder"):
        report_runs([make(tmp_path / "run", 0), tmp_path / "gone"])
