"""Thinkery's side of decoding: the native engine, all groups a round, with text and log-probabilities as always."""

from __future__ import annotations

import json
import sys
from itertools import count
from pathlib import Path
from typing import Any

from child import Line

from thinkery.models.loading import load_policy
from thinkery.rollout.native.engine import NativeRollout
from thinkery.rollout.native.worker_processes import WORKER_PROCESSES
from thinkery.types import Problem, Sampling


def main(settings: dict[str, Any]) -> None:
    line = Line()
    prompts = json.loads(Path(settings["prompts"]).read_text())
    problems = [Problem(str(number), prompt["question"], "") for number, prompt in enumerate(prompts)]
    sampling = Sampling(
        num_generations=settings["num_generations"], max_completion_length=settings["max_completion_length"]
    )
    policy = load_policy(settings["model"], template=None, device="cpu", dtype="bfloat16")
    engine = NativeRollout(policy, max_slots=len(problems) * sampling.num_generations)
    WORKER_PROCESSES.wait()  # processes, which start in the background
    line.ready()
    for step in count():
        completions = engine.generate(problems, sampling, seed=0, step=step, stage="speed")
        line.done(sum(len(completion.token_ids) for completion in completions))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
