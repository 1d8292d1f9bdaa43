"""Runs of the ladder with planted effects, written by the real run folder."""

from __future__ import annotations

import json
import math
import random
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from thinkery.run import Run

LEVELS = (1, 2, 3, 4, 5)
BENCHMARKS = dict.fromkeys(("zero", "dev1", "dev2", "dev3"), ("reasoning", "general")) | {
    "r1": ("reasoning", "general", "few-shot")
}
PROBLEMS, K, STEPS = 80, 6, 60


@dataclass(frozen=True)
class Model:
    """How a made-up model fares: probabilities by what is measured."""

    solves: float = 0.5
    slope: float = 0.1  # what a level less is worth
    code: float = 0.0  # added on code
    instructions: float = 0.5
    wins: float = 0.3
    thinking: float = 40.0  # tokens at level 3
    deeper: float = 0.3  # growth of the thinking with each level
    reflections: float = 0.5
    speaks: float = 0.95  # share of the thinking in the question's language
    few_shot: float | None = None
    agrees: float = 0.0  # how often a wrong answer is the same as other wrong ones
    parameters: int = 0


@dataclass(frozen=True)
class World:
    """The models of a run, and the curves of its stages: metric -> f(share of the steps that are done, noise)."""

    models: Mapping[str, Model] = field(default_factory=dict)
    curves: Mapping[str, Mapping[str, Callable[[float, float], float]]] = field(default_factory=dict)

    def but(self, **models: Model) -> World:
        """The world with other models; an underscore stands for a dash."""
        return replace(self, models={**self.models, **{name.replace("_", "-"): one for name, one in models.items()}})

    def without(self, *names: str) -> World:
        """The world without some of its stages."""
        models = {name: one for name, one in self.models.items() if name not in names}
        return World(models, {name: one for name, one in self.curves.items() if name not in names})


def _rows(model: Model, benchmark: str, rng: random.Random) -> list[dict[str, Any]]:
    rows = []
    for p in range(PROBLEMS):
        level = LEVELS[p % 5]
        domain = "general" if benchmark == "general" else ("math", "code")[p // 5 % 2]
        checked = benchmark != "general" or p % 2 == 0
        solves = model.instructions if domain == "general" else model.solves - model.slope * (level - 3)
        solves += model.code if domain == "code" else 0.0
        solves = model.few_shot if benchmark == "few-shot" and model.few_shot is not None else solves
        talent = min(max(solves + random.Random(f"{domain}/{p}").gauss(0, 0.15), 0.01), 0.99)
        for k in range(K):
            correct = checked and rng.random() < talent
            wrong = "same" if rng.random() < model.agrees else f"w{k}"
            thinking = max(1, round(model.thinking * (1 + model.deeper * (level - 3)) * rng.uniform(0.8, 1.2)))
            rows.append(
                {
                    "problem_id": f"{domain}-{p}",
                    "domain": domain,
                    "level": level,
                    "language": "en",
                    "index": k,
                    "checked": checked,
                    "correct": correct,
                    "answer": "right" if correct else wrong if checked else None,
                    "well_formed": True,
                    "truncated": False,
                    "length": thinking + 10,
                    "thinking_length": thinking,
                    "reflections": int(rng.random() < model.reflections) + int(rng.random() < model.reflections / 2),
                    "language_share": min(1.0, max(0.0, model.speaks + rng.gauss(0, 0.05))),
                    "preference": float(rng.random() < model.wins) if benchmark == "general" else None,
                }
            )
    return rows


def write_world(folder: Path, world: World, *, seed: int = 0) -> Path:
    """Writes a run folder that holds such a world."""
    rng = random.Random(f"world/{seed}")
    stages = [{"name": name, "kind": "rl"} for name in dict.fromkeys([*world.models, *world.curves]) if name != "base"]
    with Run(folder) as run:
        run.begin("mini", seed, yaml.safe_dump({"name": "mini", "seed": seed, "stages": stages}))
        for name, model in world.models.items():
            evaluation = run.stage(f"{name}.eval")
            evaluation.start({"made": "so"})
            for benchmark in BENCHMARKS.get(name, ("reasoning",)):
                evaluation.save_samples(benchmark, _rows(model, benchmark, rng))
            if model.parameters:
                _write_weights(run.stage(name).output, model.parameters)
        for name, curves in world.curves.items():
            stage = run.stage(name)
            for step in range(1, STEPS + 1):
                done = step / STEPS
                metrics = {metric: f(done, rng.gauss(0, 1)) for metric, f in curves.items()}
                stage.log(step, {m: v for m, v in metrics.items() if not m.startswith("probe/") or step % 5 == 0})
    return folder


def _write_weights(folder: Path, parameters: int) -> None:
    """A safetensors file of two tensors, as far as anybody reads it: its header."""
    header = json.dumps({"__metadata__": {}, "a": {"shape": [parameters - 8]}, "b": {"shape": [2, 4]}}).encode()
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)


def _saturating(start: float, end: float, rate: float) -> Callable[[float, float], float]:
    return lambda done, noise: start + (end - start) * (1 - math.exp(-rate * done)) + 0.02 * noise


def _line(start: float, end: float, spread: float = 0.01) -> Callable[[float, float], float]:
    return lambda done, noise: start + (end - start) * done + spread * noise


def as_in_the_paper() -> World:
    """A world in which all 22 phenomena are planted."""
    base = Model(solves=0.15, slope=0.12, wins=0.1, thinking=20, reflections=0.1)
    zero = Model(solves=0.8, slope=0.01, instructions=0.3, wins=0.25, thinking=60, reflections=0.7)
    models = {
        "base": base,
        "zero": zero,
        "dev1": replace(zero, solves=0.55, instructions=0.6, wins=0.48),
        "dev2": replace(zero, solves=0.75, instructions=0.6, wins=0.5),
        "dev3": replace(zero, solves=0.75, code=0.2, instructions=0.75, wins=0.55),
        "r1": replace(zero, solves=0.78, code=0.2, instructions=0.8, wins=0.85, few_shot=0.5),
        "distill-s": Model(solves=0.35, parameters=1_000),
        "distill-m": Model(solves=0.55, parameters=4_000),
        "distill-llama": Model(solves=0.7, parameters=9_000),
        "student-rl": Model(solves=0.3),
        "no-language": Model(solves=0.72, speaks=0.6),
        "with-language": Model(solves=0.7, speaks=0.97),
        "preference-long": Model(solves=0.5),
        "ppo-95": Model(solves=0.3),
        "ppo-100": Model(solves=0.65),
        "grpo-100": Model(solves=0.7),
        "clip-low": Model(solves=0.4),
        "clip": Model(solves=0.7),
        "clip-high": Model(solves=0.4),
        "t-10": Model(solves=0.6),
        "t-07": Model(solves=0.7),
        "naive-grpo": Model(solves=0.5),
        "dapo": Model(solves=0.7),
    }
    levels = {f"accuracy/level_{n}": _saturating(0.3 - 0.05 * n, 0.9, 12 - 2 * n) for n in LEVELS}
    length = {"completions/mean_thinking_length": _line(20, 60, 2)}
    curves = {
        "zero": {"accuracy": _saturating(0.15, 0.8, 4)} | levels | length,
        "student-rl": {"accuracy": _line(0.1, 0.2, 0.02)},
        "no-language": {"language": _line(0.95, 0.6)},
        "with-language": {"language": _line(0.95, 0.97)},
        "preference-long": {"rewards/helpful/mean": _line(0, 2, 0.1), "probe/pass@1": _line(0.8, 0.5, 0.02)},
        "clip": {"reward": _line(0.2, 0.9, 0.02)},
        "clip-high": {"reward": _line(0.2, 0.5, 0.1)},
        "t-10": {"incoherent": _line(0.3, 0.4)},
        "t-07": {"incoherent": _line(0.05, 0.02)},
    }
    return World(models, curves)


def without_effects() -> World:
    """The same models and stages, all alike."""
    planted = as_in_the_paper()
    flat = Model(slope=0.0, deeper=0.0, agrees=1.0)
    curves = {stage: dict.fromkeys(metrics, _line(0.5, 0.5)) for stage, metrics in planted.curves.items()}
    models = {name: replace(flat, parameters=model.parameters) for name, model in planted.models.items()}
    return World(models, curves)


@pytest.fixture(scope="session")
def paper_world() -> World:
    """A world in which all 22 phenomena are planted."""
    return as_in_the_paper()


@pytest.fixture(scope="session")
def flat_world() -> World:
    """A world in which nothing happens."""
    return without_effects()


@pytest.fixture(scope="session")
def make_run() -> Callable[..., Path]:
    """``make_run(folder, world, seed=...)``: writes a run and returns its folder."""
    return write_world


@pytest.fixture(scope="session")
def paper_runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two seeds of the world in which everything is planted."""
    folder = tmp_path_factory.mktemp("paper")
    return [write_world(folder / str(seed), as_in_the_paper(), seed=seed) for seed in (0, 1)]


@pytest.fixture(scope="session")
def flat_runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two seeds of the world in which nothing happens."""
    folder = tmp_path_factory.mktemp("flat")
    return [write_world(folder / str(seed), without_effects(), seed=seed) for seed in (0, 1)]
