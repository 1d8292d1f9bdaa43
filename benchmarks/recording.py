"""A benchmark's results file: its figures, and what they were measured with. Left out: the figures."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from thinkery.files import write_json_atomic
from thinkery.machine import installation as machine

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
SCALE = RESULTS / "scale.json"  # several scripts write it


def write_result(path: Path, script: str, figures: Mapping[str, float], *, at: str | None = None, **more: Any) -> None:
    """Writes ``figures`` with script, machine, versions, commit (``at``; None: the tree's) and day; ``more`` beside."""
    found = {
        "name": path.stem,
        "command": f"python benchmarks/{script}",
        "machine": {key: value for key, value in machine.hardware().items() if key != "host"},
        "versions": machine.versions(),
        "commit": at or commit(),
        "date": date.today().isoformat(),
        "figures": figures,
    }
    write_json_atomic(path, found | more)


def figures_in(path: Path) -> dict[str, float]:
    """The figures that a results file has, none if there is no file."""
    figures: dict[str, float] = json.loads(path.read_text())["figures"] if path.exists() else {}
    return figures


def add_figures(path: Path, script: str, figures: Mapping[str, float]) -> None:
    """Writes ``figures`` to a file that several scripts write, and leaves the others in it."""
    write_result(path, script, figures_in(path) | dict(figures))


def commit() -> str:
    """The commit that was measured; marked if files differ from it."""
    told = subprocess.run(
        ["git", "describe", "--always", "--dirty=+changes", "--abbrev=12"], cwd=ROOT, capture_output=True, text=True
    )
    return told.stdout.strip() or "unknown"
