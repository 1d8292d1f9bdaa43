"""How the cost of a step grows: seconds and peak memory of rollout and update over what there is to do.

    python benchmarks/speed_scaling.py

Four axes from one step in the middle (4 prompts of 64 tokens, 16 completions of 64 each, the miniature's shape with
its vocabulary of 2,048): the completions' length (``tokens``: completion tokens of the step), the group's size, the
model's size (``parameters`` of its layers) and the vocabulary, 1,000 to 150,000. An exponent is the slope of a line
through the points' logarithms, by least squares: ``update_seconds_exponent_tokens`` 1 says that twice the tokens take
twice the time. Exponents below 1 are fixed costs shared by more work: prompts by their group, the head's share by the
layers'.

Seconds are medians of rounds over all points, every second one backwards; memory is ``speed_memory.peak`` of one more
call: for an update its activations, all of it one microbatch in one CPU worker, for a rollout everything it takes.
Writes the points to benchmarks/results/scaling.json and draws docs/scaling.svg. Left out: sequences too long for the
quick attention of short rows, GPUs (``gpu.py``).
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from peers.duel import ROUNDS
from recording import write_result
from scaling_chart import Curve, Panel, draw
from speed_memory import peak
from speed_shapes import SHAPES, Shape, make_problems, make_samples, seconds

from thinkery.files import write_text_atomic
from thinkery.rollout import NativeRollout
from thinkery.rollout.native.worker_processes import WORKER_PROCESSES
from thinkery.training.backend import LocalBackend
from thinkery.training.learner import Learner, LearnerConfig
from thinkery.types import Sampling

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "scaling.json"
CHART = ROOT / "docs" / "scaling.svg"
CPU = torch.device("cpu")
PROMPTS, PROMPT = 4, 64
CONFIG = LearnerConfig(learning_rate=1e-6, microbatch_tokens=1_000_000)


@dataclass(frozen=True)
class Step:
    """What a step has to do."""

    shape: Shape
    group: int = 16
    completion: int = 64

    @property
    def tokens(self) -> int:
        """Completion tokens."""
        return PROMPTS * self.group * self.completion


BASE = Step(SHAPES["3m"])
AXES: dict[str, dict[int, Step]] = {
    "tokens": {step.tokens: step for step in (replace(BASE, completion=n) for n in (32, 64, 128, 256))},
    "group": {n: replace(BASE, group=n) for n in (4, 8, 16, 32, 64)},
    "parameters": {
        SHAPES[name].matrix_parameters: replace(BASE, shape=SHAPES[name]) for name in ("1m", "3m", "10m", "25m")
    },
    "vocabulary": {
        n: replace(BASE, shape=replace(BASE.shape, vocab=n)) for n in (1_000, 4_000, 16_000, 64_000, 150_000)
    },
}
WORK = ("rollout", "update")
COSTS = ("seconds", "memory")
TITLES = {
    "tokens": "completion tokens",
    "group": "completions per prompt",
    "parameters": "parameters of the layers",
    "vocabulary": "vocabulary",
    "seconds": "seconds",
    "memory": "peak memory, MiB",
}
Measured = dict[tuple[str, str, Step], float]  # by work, cost and step


def measure() -> Iterator[dict[str, float]]:
    """The exponents, all at once; writes the points and draws them."""
    measured = cost_of(list(dict.fromkeys(step for axis in AXES.values() for step in axis.values())))
    exponents = {
        f"{work}_{cost}_exponent_{axis}": round(slope(list(steps), values(measured, work, cost, axis)), 3)
        for work in WORK
        for cost in COSTS
        for axis, steps in AXES.items()
    }
    write(measured, exponents)
    yield exponents


def cost_of(steps: Sequence[Step]) -> Measured:
    """Seconds and MiB of rollout and update of every step."""
    times: dict[tuple[str, Step], list[float]] = {(work, step): [] for step in steps for work in WORK}
    measured: Measured = {}
    for work, step in times:
        run(work, step, workers=1)  # the first call of a shape is slower, and the optimizer has no state before
        model = learner(step.shape).policy.model
        found = peak(partial(run, work, step, workers=1), model if work == "update" else None)  # of this process only
        measured[work, "memory", step] = (found.activations if work == "update" else found.whole) / 2**20
    run(WORK[0], BASE)
    WORKER_PROCESSES.wait()
    for number in range(ROUNDS):
        print(f"round {number + 1} of {ROUNDS}", file=sys.stderr)
        for work, step in times if number % 2 == 0 else reversed(times):
            times[work, step].append(seconds(partial(run, work, step), CPU))
    measured |= {(work, "seconds", step): statistics.median(taken) for (work, step), taken in times.items()}
    return measured


def run(work: str, step: Step, workers: int | None = None) -> None:
    """One rollout, in so many workers, or one update, of a step."""
    if work == "update":
        samples = make_samples(step.shape, PROMPTS, step.group, prompt=PROMPT, completions=(step.completion,))
        learner(step.shape).update(samples, 0)
        return
    sampling = Sampling(num_generations=step.group, max_completion_length=step.completion)
    problems = make_problems(step.shape.vocab, PROMPTS, PROMPT)
    rollout = NativeRollout(learner(step.shape).policy, workers=workers)
    completions = rollout.generate(problems, sampling, seed=0, step=0, stage="")
    assert sum(len(completion.token_ids) for completion in completions) == step.tokens


@cache
def learner(shape: Shape) -> Learner:
    """One for every shape; its policy is the one that is sampled from."""
    policy = shape.policy()
    return Learner(policy, CONFIG, backend=LocalBackend(policy, 1))


def values(measured: Measured, work: str, cost: str, axis: str) -> list[float]:
    """What the steps of an axis cost."""
    return [measured[work, cost, step] for step in AXES[axis].values()]


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """The exponent b of y = a x^b that fits best."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def write(measured: Measured, exponents: dict[str, float]) -> None:
    """The result file and the chart."""
    points = [
        {"axis": axis, "value": value, "work": work, "cost": cost, "measured": round(measured[work, cost, step], 4)}
        for axis, steps in AXES.items()
        for work in WORK
        for cost in COSTS
        for value, step in steps.items()
    ]
    write_result(RESULT, "speed_scaling.py", exponents, points=points)
    panels = [
        Panel(TITLES[axis], TITLES[cost], [curve(measured, exponents, work, cost, axis) for work in WORK])
        for cost in COSTS
        for axis in AXES
    ]
    write_text_atomic(CHART, draw(panels, columns=len(AXES)))


def curve(measured: Measured, exponents: dict[str, float], work: str, cost: str, axis: str) -> Curve:
    """One work's cost over an axis."""
    exponent = exponents[f"{work}_{cost}_exponent_{axis}"]
    return Curve(work, list(AXES[axis]), values(measured, work, cost, axis), exponent)


if __name__ == "__main__":
    for figures in measure():
        print(json.dumps(figures, indent=2))
