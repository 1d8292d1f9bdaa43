"""A small run, written by the real run folder: a finished climb on the miniature world, with made-up numbers."""

import json
import math
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from thinkery.run import Run

RECIPE = """\
name: mini
seed: 0
base: thinkery://mini-base
stages:
  - {name: zero, kind: rl, from: base, steps: 60}
"""
LATER_STAGES = """\
  - {name: samples-800k, kind: collect, from: zero}
  - {name: helpful-rm, kind: reward_model, from: base}
"""
PHENOMENA = [
    {
        "id": "P1",
        "title": "Pure RL lifts pass@1",
        "holds": True,
        "paper": "15.6 to 71.0",
        "here": {"base": 0.092, "zero": 0.731, "gain": 0.639, "gain_ci95": [0.61, 0.66]},
        "test": "the gain in pass@1 +0.639",
    },
    {
        "id": "P2",
        "title": "A vote adds",
        "holds": False,
        "paper": "71.0 to 86.7",
        "here": {"model": "zero", "ends": [1.5, 2.25], "ratio": 1.02, "ratio_ci95": [0.97, 1.07]},
        "test": "the ratio",
        "why": "the interval reaches one",
    },
    {
        "id": "P3",
        "title": "Vote and pass@k",
        "holds": None,
        "paper": "?",
        "here": {},
        "test": "",
        "why": "nobody looked",
    },
]


def metrics_at(step: int, total: int, rng: random.Random) -> dict[str, float]:
    """A step of a run that goes well."""
    part = step / total
    accuracy = 0.09 + 0.64 * (1 - math.exp(-3.2 * part)) + rng.gauss(0, 0.02)
    levels = {f"accuracy/level_{n}": (1.5 - 0.22 * n) * accuracy + rng.gauss(0, 0.02) for n in range(1, 6)}
    return levels | {
        "accuracy": accuracy,
        "accuracy/lang_en": accuracy + 0.02,
        "accuracy/lang_zh": accuracy - 0.02,
        "reward": accuracy + 0.5 + 0.5 * part,
        "rewards/accuracy/mean": accuracy,
        "rewards/format/mean": 0.99,
        "format": 1 - 0.5 * math.exp(-15 * part),
        "completions/mean_length": 40 + 45 * part + rng.gauss(0, 2),
        "completions/mean_thinking_length": 28 + 45 * part + rng.gauss(0, 2),
        "completions/clipped_ratio": 0.05 * (1 - part),
        "reflection": 0.06 + 0.2 * part + rng.gauss(0, 0.01),
        "entropy": 0.9 - 0.5 * part + rng.gauss(0, 0.02),
        "kl": 0.004 * part,
        "mismatch_kl": 0.0004 + abs(rng.gauss(0, 0.0001)),
        "grad_norm": 0.6 + abs(rng.gauss(0, 0.2)),
        "loss": rng.gauss(0, 0.02),
        "clip_ratio/low": 0.002,
        "clip_ratio/high": 0.003,
        "frac_reward_zero_std": 0.1 + 0.3 * part,
        "learning_rate": 2e-4,
        "tokens_per_second": 21_000 + rng.gauss(0, 900),
        "time/rollout": 2.5 + part,
        "time/grading": 0.1,
        "time/update": 2.6 + part,
        "time/step": 5.3 + 2 * part,
    }


def completion_at(step: int, index: int, total: int, rng: random.Random) -> dict[str, object]:
    a, b, c = rng.randint(12, 89), rng.randint(12, 89), rng.randint(2, 9)
    correct = rng.random() < 0.09 + 0.64 * step / total
    answer = str(a * b - c) if correct else str(a * b - c + 10 * rng.randint(1, 5))
    level, language = 1 + index % 5, ("en", "zh")[index % 2]
    thinking = f" {a}*{b}: {a * b + 30}, {a * b + 30}-{c}={answer} "
    if step > total / 2:
        tens, ones = b // 10 * 10, b % 10
        thinking = (
            f" {a}*{b}: {a * b + 30}? wait, check: {a}*{tens}={a * tens}, {a}*{ones}={a * ones}, "
            f"{a * tens}+{a * ones}={a * b}. so {a * b}, {a * b}-{c}={answer} "
        )
    return {
        "problem_id": f"{step}-{index}",
        "index": index,
        "level": level,
        "language": language,
        "prompt": f"Compute {a}*{b}-{c}." if language == "en" else f"计算{a}*{b}-{c}。",
        "completion": f"<think>{thinking}</think> <answer> {answer} </answer>",
        "thinking": thinking,
        "answer": answer,
        "reference": str(a * b - c),
        "correct": correct,
        "outcome": "correct" if correct else "wrong",
        "reason": "" if correct else f"{answer} is not {a * b - c}",
        "reward": 1.0 + correct,
        "advantage": 0.7 if correct else -0.4,
        "length": len(thinking) // 2,
        "finish_reason": "stop",
    }


def card(pass_1: float, *, pass_k: float, cons_k: float, thinking: float, reflection: float) -> dict[str, object]:
    levels = {
        str(n): {"pass@1": min(1.0, pass_1 * (1.3 - 0.1 * n)), "mean_thinking_length": thinking * (0.4 + 0.2 * n)}
        for n in range(1, 6)
    }
    return {
        "n": 512,
        "k": 16,
        "pass@1": pass_1,
        "pass@1_ci95": [pass_1 - 0.02, pass_1 + 0.02],
        "pass@16": pass_k,
        "cons@16": cons_k,
        "format": 0.99,
        "mean_length": thinking + 12,
        "mean_thinking_length": thinking,
        "truncated": 0.01,
        "reflection": reflection,
        "by_level": levels,
        "by_domain": {"code": {"pass@1": pass_1 - 0.05}, "math": {"pass@1": pass_1 + 0.05}},
        "by_language": {"en": {"pass@1": pass_1 + 0.01}, "zh": {"pass@1": pass_1 - 0.01}},
    }


BASE = card(0.092, pass_k=0.71, cons_k=0.29, thinking=26, reflection=0.06)
ZERO = card(0.731, pass_k=0.93, cons_k=0.86, thinking=69, reflection=0.27)


REWARD_MODEL = {
    "train": 1800,
    "held_out": 200,
    "accuracy": 0.83,
    "accuracy_ci95": [0.78, 0.87],
    "ece": 0.031,
    "bins": [{"count": 40, "predicted": 0.55, "actual": 0.6}, {"count": 160, "predicted": 0.9, "actual": 0.88}],
    "length_correlation": None,
    "longer_by_model": 0.55,
    "longer_by_labels": 0.51,
}


def _write_collected(folder: Path) -> None:
    """The table of a stage that collected data."""
    folder.mkdir(parents=True)
    counts = {"problems": 395, "sampled": 1580, "samples": 395, "kept_share": 0.25, "mean_tokens": 6094.2}
    whole = {"domain": "all"} | counts | {"reasons": {"correct": 395, "wrong": 1185}}
    (folder / "table.json").write_text(json.dumps([{"domain": "math"} | counts | {"reasons": {}}, whole]))


def write_run(folder: Path, *, steps: int = 60, until: int | None = None, every: int = 20, rows: int = 10) -> Path:
    """Writes a run of ``steps`` steps, or as it stands when it was stopped after step ``until``."""
    rng = random.Random(0)
    with Run(folder) as run:
        run.begin("mini", 0, RECIPE.replace("60", str(steps)) + (LATER_STAGES if until is None else ""))
        stage = run.stage("zero")
        stage.start({"made": "so"})
        for step in range(1, (until or steps) + 1):
            stage.log(step, metrics_at(step, steps, rng))
            if step == 1 or step % every == 0:
                stage.log_completions(step, [completion_at(step, i, steps, rng) for i in range(rows)])
        if until is None:
            stage.done({"pass@1": ZERO["pass@1"]})
            for name in ("samples-800k", "helpful-rm"):
                run.stage(name).start({"made": "so"})
                run.stage(name).done({})
            _write_collected(run.stage("samples-800k", "data").output)
            zero = {"eval": {"reasoning": ZERO}, "seconds": 412.0}
            summary = {"base": {"eval": {"reasoning": BASE}}, "stages": {"zero": zero, "helpful-rm": REWARD_MODEL}}
            run.save_summary(summary | {"phenomena": PHENOMENA})
    return folder


@pytest.fixture(scope="session")
def make_run() -> Callable[..., Path]:
    """``make_run(folder, steps=..., until=..., every=..., rows=...)``: writes a run and returns its folder."""
    return write_run


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("finished"))
