"""A benchmark's results file: its figures, and what they were measured with. Left out: the figures."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from thinkery import machine
from thinkery.files import write_json_atomic

ROOT = Path(__file__).resolve().parents[1]


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


def commit() -> str:
    """The commit that was measured; marked if files differ from it."""
    told = subprocess.run(
        ["git", "describe", "--always", "--dirty=+changes", "--abbrev=12"], cwd=ROOT, capture_output=True, text=True
    )
    return told.stdout.strip() or "unknown"
