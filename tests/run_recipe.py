"""Climbs a recipe in processes that die by SIGKILL, and says how often it fell. A script: ``run_recipe.py <json>``.

``{"recipe": ..., "folder": ..., "overrides": [...], "kill": {stage: event}}``: the process that reaches the given event
of a stage (a step, a line, a move of a progress bar; counted from 1) kills itself there, once a stage, and the next one
goes on. Prints ``{"falls": ..., "events": {stage: number}}``. One process imports torch, and its children climb.
"""

from __future__ import annotations

import io
import json
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import thinkery.stages.collect
import thinkery.stages.evaluate
import thinkery.stages.judge
import thinkery.stages.pretrain
import thinkery.stages.reward_model
import thinkery.stages.rl
import thinkery.stages.sft  # noqa: F401
from thinkery.pipeline import run_recipe
from thinkery.recipe import load_recipe
from thinkery.report.terminal import PlainView


class Watcher(PlainView):
    """Counts what happens in every stage, and kills its process where it is told to."""

    def __init__(self, kill: dict[str, int]) -> None:
        super().__init__(io.StringIO())
        self.kill, self.events, self.name = kill, Counter[str](), ""

    def stage(self, name: str, kind: str, total_steps: int | None) -> None:
        self.name = name

    def step(self, *_: Any) -> None:
        self._event()

    def note(self, *_: Any) -> None:
        self._event()

    def progress(self, *_: Any) -> None:
        self._event()

    def _event(self) -> None:
        self.events[self.name] += 1
        if self.events[self.name] == self.kill.get(self.name):
            os.kill(os.getpid(), signal.SIGKILL)


def climb(order: dict[str, Any], kill: dict[str, int]) -> Counter[str]:
    view = Watcher(kill)
    run_recipe(load_recipe(Path(order["recipe"]), order["overrides"]), Path(order["folder"]), view=view)
    return view.events


def fallen_at(folder: Path, before: set[str]) -> str:
    """The stage that was running when its process died."""
    stages = json.loads((folder / "manifest.json").read_text())["stages"]
    running = [name for name, record in stages.items() if record["status"] == "running" and name not in before]
    return running[-1]


def main() -> None:
    order = json.loads(sys.argv[1])
    left, falls = dict(order["kill"]), 0
    while True:
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            os.close(reader)
            os.write(writer, json.dumps(climb(order, left)).encode())
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            said = pipe.read()
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            if os.WEXITSTATUS(status):
                sys.exit(1)
            print(json.dumps({"falls": falls, "events": json.loads(said)}))
            return
        assert os.WTERMSIG(status) == signal.SIGKILL
        falls += 1
        del left[fallen_at(Path(order["folder"]), order["kill"].keys() - left.keys())]


if __name__ == "__main__":
    main()
