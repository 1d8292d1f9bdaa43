"""The results file of everything about scale: each benchmark adds its figures and leaves the others'."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from recording import ROOT, write_result

RESULT: Path = ROOT / "benchmarks" / "results" / "scale.json"


def merge(figures: Mapping[str, float], script: str) -> None:
    """Adds figures."""
    before: dict[str, float] = json.loads(RESULT.read_text())["figures"] if RESULT.exists() else {}
    write_result(RESULT, script, before | dict(figures))
