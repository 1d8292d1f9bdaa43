"""Which of Thinkery's files one step of reinforcement learning enters: prints them as JSON.

    python benchmarks/house_trace.py [recipes/nano.yaml]

The step is that between the records of the recipe's stage ``zero`` after its steps 2 and 3, with the checkpoint and the
record that belong to it; every function that is called then counts for its file. Left out: worker processes, which run
the same files as the first lane, here.
"""

from __future__ import annotations

import json
import sys
import tempfile
import threading
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from types import FrameType
from typing import Any

import thinkery
from thinkery.run import StageRun

PACKAGE = Path(thinkery.__file__).resolve().parent
ROOT = Path(__file__).resolve().parents[1]
STAGE, FIRST, LAST = "zero", 2, 3


class Entered:
    """The files whose functions are called while it is on, in this thread and in those that start meanwhile."""

    def __init__(self) -> None:
        self.files: set[str] = set()

    def on(self) -> None:
        threading.setprofile(self._seen)
        sys.setprofile(self._seen)

    def off(self) -> None:
        sys.setprofile(None)
        threading.setprofile(None)

    def _seen(self, frame: FrameType, event: str, argument: object) -> None:
        if event == "call":
            self.files.add(frame.f_code.co_filename)

    def of_package(self) -> list[str]:
        """Thinkery's own, by their paths in the package."""
        paths = {Path(name).resolve() for name in self.files}
        return sorted(str(path.relative_to(PACKAGE)) for path in paths if path.is_relative_to(PACKAGE))


def trace(recipe_path: Path) -> list[str]:
    """The files of the package that the step enters."""
    from thinkery.pipeline import run_recipe
    from thinkery.recipe import load_recipe
    from thinkery.report.terminal import PlainView

    entered, log = Entered(), StageRun.log

    def logged(run: StageRun, step: int, metrics: Mapping[str, float]) -> Any:
        log(run, step, metrics)
        if run.name == STAGE and step == FIRST:
            entered.on()
        elif run.name == STAGE and step == LAST:
            entered.off()

    StageRun.log = logged  # type: ignore[method-assign]
    try:
        with tempfile.TemporaryDirectory() as folder:
            recipe = load_recipe(recipe_path, ["evaluate={}"])
            run_recipe(recipe, Path(folder) / "run", view=PlainView(StringIO()), until=STAGE)
    finally:
        entered.off()
        StageRun.log = log  # type: ignore[method-assign]
    return entered.of_package()


if __name__ == "__main__":
    print(json.dumps(trace(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "recipes" / "nano.yaml")))
