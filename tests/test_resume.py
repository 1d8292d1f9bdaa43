"""A run that is killed in every stage and every evaluation ends as one that never was: the ladder, in nano."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from thinkery.files import sha256_of

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
TIMES = ("time", "seconds", "tokens_per_second")


def climb(folder: Path, kill: dict[str, int]) -> dict[str, Any]:
    order = {"recipe": str(ROOT / "recipes" / "nano.yaml"), "folder": str(folder), "overrides": [], "kill": kill}
    command = [sys.executable, str(ROOT / "tests" / "run_recipe.py"), json.dumps(order)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdout=pipe, stderr=pipe, text=True, env=environment, start_new_session=True
    ) as run_recipe:
        try:
            said, error = run_recipe.communicate(timeout=1200)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(run_recipe.pid, signal.SIGKILL)  # its children as well
    assert run_recipe.returncode == 0, error
    told: dict[str, Any] = json.loads(said)
    return told


def timeless(value: Any) -> Any:
    """A value without what the clock said."""
    if isinstance(value, dict):
        return {key: timeless(inner) for key, inner in value.items() if not key.startswith(TIMES)}
    return [timeless(inner) for inner in value] if isinstance(value, list) else value


def results(folder: Path) -> dict[str, Any]:
    """All that a run leaves and that is not about time."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    outputs = [path for path in sorted((folder / "checkpoints").glob("*/*")) if path.name in ("model", "data")]
    tables = sorted([*(folder / "completions").glob("*.parquet"), *(folder / "evaluations").glob("*.parquet")])
    return {
        "summary": timeless(json.loads((folder / "summary.json").read_text())),
        "metrics": timeless(lines),
        "outputs": {str(path.relative_to(folder)): sha256_of(path) for path in outputs},
        "tables": {path.name: pq.read_table(path).to_pylist() for path in tables},
    }


def test_a_run_killed_in_every_stage_ends_as_one_that_never_was(tmp_path: Path) -> None:
    events = climb(tmp_path / "whole", {})["events"]
    expected = results(tmp_path / "whole")
    assert {
        kind["status"] for kind in json.loads((tmp_path / "whole" / "manifest.json").read_text())["stages"].values()
    } == {"done"}
    kill = {stage: max(1, round(0.7 * number)) for stage, number in events.items()}
    assert len(kill) >= 15 + 7  # stages and evaluations
    told = climb(tmp_path / "fallen", kill)
    assert told["falls"] == len(kill)
    for part, found in results(tmp_path / "fallen").items():
        assert found == expected[part], part
