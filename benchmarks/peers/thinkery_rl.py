"""Thinkery's side of an RL step: the pipeline on a recipe with one RL stage, one of its steps a round.

It is what ``thinkery run`` does, metrics and records included, but for the view: this one waits for its turn between
two steps. Left out: nothing of a step; checkpoints are not due in so few steps.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from child import Line

from thinkery.pipeline import run_recipe
from thinkery.recipe import build_recipe
from thinkery.report.terminal import PlainView

STEPS = 1000  # more than there are rounds
REWARD = Path(__file__).resolve().with_name("reward.py")


class Rounds(PlainView):
    """Plain lines, and a turn a step."""

    def __init__(self, line: Line, completions: int) -> None:
        super().__init__(sys.stderr)
        self._line, self._completions = line, completions

    def step(self, step: int, metrics: Mapping[str, float]) -> None:
        """Says what the step took. The first one, which begins with the stage itself, says that all is loaded."""
        super().step(step, metrics)
        if step == 1:
            self._line.ready()
        else:
            self._line.done(round(metrics["completions/mean_length"] * self._completions))


def main(settings: dict[str, Any]) -> None:
    prompts = json.loads(Path(settings["prompts"]).read_text())
    folder = Path(settings["output"])
    folder.mkdir(parents=True)
    problems = folder / "problems.jsonl"
    rows = ({"id": str(i), "prompt": p["question"], "verifier": "none"} for i, p in enumerate(prompts))
    problems.write_text("".join(json.dumps(row) + "\n" for row in rows))
    stage = {
        "name": "rl",
        "kind": "rl",
        "from": "base",
        "problems": {"source": str(problems)},
        "rewards": {f"{REWARD}:vowels": 1},
        "steps": STEPS,
        "num_problems": len(prompts),
        "num_generations": settings["num_generations"],
        "max_completion_length": settings["max_completion_length"],
        "temperature": 1.0,
        "max_slots": len(prompts) * settings["num_generations"],
        "learning_rate": settings["learning_rate"],
        "max_grad_norm": 1.0,
        "loss_type": "dapo",
        "microbatch_tokens": 4096,  # as recipes/mini.yaml: what fits a core's cache
        "device": "cpu",
        "save_steps": STEPS,
        "log_completions_steps": STEPS,
    }
    recipe = build_recipe({"name": "speed", "base": settings["model"], "stages": [stage]}, [], None)
    view = Rounds(Line(), len(prompts) * settings["num_generations"])
    run_recipe(recipe, folder / "run", view=view)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
