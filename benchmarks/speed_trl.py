"""A whole reinforcement-learning step: Thinkery against TRL's GRPOTrainer, on the same model, prompts and reward.

    python benchmarks/speed_trl.py

A step is 32 problems x 16 completions of at most 256 tokens, 85 on average, at the 3M shape, and 8 problems x 16 at
25M, where a step of TRL's on 512 completions would take minutes. Generation, reward, loss, one AdamW update; no KL,
temperature 1. The model's weights are random and its lengths are not (``peers/models.py``); both sides draw random
numbers of their own, so their completions differ, and ``token_ratio`` says the ratio by completion token. Each side is
a process that stays alive, and they take turns (``peers/child.py``); start-up and the first steps are not counted.

Thinkery is its pipeline on a recipe, with fp32 master weights under bf16 autocast, metrics and records as always. TRL
gets the fastest of the settings below, tried here on this machine, each by its second step; nothing is logged or
saved. All of them have what makes it fast on a CPU: one generation of all groups at once, no KL and so no second
model, no gradient checkpointing, SDPA, the step's gradients from as few parts as pay. ``pure_bf16`` keeps weights and
AdamW's moments in bf16: less work than Thinkery does, and too coarse to train with at these rates. Both sides have
jemalloc, as Thinkery's commands do where there is one, but for the setting that is named after glibc's malloc.

Left out, and not measured here: torch.compile; transformers' continuous batching, whose attention on a CPU compares
every query with the keys of all sequences; Liger's kernels, which need a GPU; vLLM under TRL, which allows versions up
to 0.31.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from peers.child import Side
from peers.duel import ROUNDS, alternate, fastest, spread
from peers.install import python_of
from peers.models import write_model, write_prompts
from speed_shapes import SHAPES

from thinkery.machine.allocator import environment_with_jemalloc

PEERS = Path(__file__).resolve().parent / "peers"
PROBLEMS = {"3m": 32, "25m": 8}
GENERATIONS, MEAN_LENGTH, MAX_LENGTH = 16, 85, 256
LEARNING_RATE = 1e-6  # so small that no update changes how completions end

_PLAIN = {"weights": "float32", "batch": 64, "cache": None, "jemalloc": True}
ENGINES: dict[str, dict[str, Any]] = {
    "autocast": _PLAIN,
    "pure_bf16": _PLAIN | {"weights": "bfloat16"},
    "pure_bf16_static_cache": _PLAIN | {"weights": "bfloat16", "cache": "static"},
    "pure_bf16_static_cache_glibc": _PLAIN | {"weights": "bfloat16", "cache": "static", "jemalloc": False},
    "pure_bf16_parts_of_16": _PLAIN | {"weights": "bfloat16", "batch": 16},
}


def measure() -> Iterator[dict[str, float]]:
    """All figures, named as in the results file, as they are measured."""
    for size, problems in PROBLEMS.items():
        yield compare(size, problems)


def compare(size: str, problems: int, rounds: int = ROUNDS) -> dict[str, float]:
    """The figures of one shape, with ``problems`` groups a step."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_model(folder / "model", SHAPES[size], mean_length=MEAN_LENGTH, max_length=MAX_LENGTH)
        write_prompts(folder / "prompts.json", problems)
        engine, tried = fastest({engine: trl(folder, engine) for engine in ENGINES})
        with thinkery(folder) as ours, trl(folder, engine) as peer:
            pairs = alternate(ours, peer, rounds)
    completions = problems * GENERATIONS
    figures = spread(f"trl_step_ratio_{size}", [pair.peer.seconds / pair.ours.seconds for pair in pairs])
    figures |= spread(
        f"trl_token_ratio_{size}",
        [pair.peer.seconds / pair.peer.tokens / (pair.ours.seconds / pair.ours.tokens) for pair in pairs],
    )
    figures |= spread(f"step_seconds_{size}", [pair.ours.seconds for pair in pairs])
    figures |= spread(f"trl_step_seconds_{size}", [pair.peer.seconds for pair in pairs])
    figures |= spread(f"step_mean_length_{size}", [pair.ours.tokens / completions for pair in pairs])
    figures |= spread(f"trl_step_mean_length_{size}", [pair.peer.tokens / completions for pair in pairs])
    return figures | {f"trl_tokens_per_s_{size}_{engine}": round(1 / seconds, 1) for engine, seconds in tried.items()}


def common(folder: Path) -> dict[str, Any]:
    """What both sides are told."""
    return {
        "model": str(folder / "model"),
        "prompts": str(folder / "prompts.json"),
        "num_generations": GENERATIONS,
        "max_completion_length": MAX_LENGTH,
        "learning_rate": LEARNING_RATE,
    }


def thinkery(folder: Path) -> Side:
    """Thinkery's side."""
    settings = common(folder) | {"output": str(folder / "thinkery")}
    script, log = PEERS / "thinkery_rl.py", folder / "thinkery.log"
    return Side(Path(sys.executable), script, settings, log, environment_with_jemalloc())


def trl(folder: Path, engine: str) -> Side:
    """TRL's side with the settings of that name."""
    settings = common(folder) | {"output": str(folder / "trl"), "engine": ENGINES[engine]}
    malloc = environment_with_jemalloc() if ENGINES[engine]["jemalloc"] else {}
    return Side(python_of("trl"), PEERS / "trl_grpo.py", settings, folder / "trl.log", malloc | {"HF_HUB_OFFLINE": "1"})


if __name__ == "__main__":
    for figures in measure():
        print(json.dumps(figures, indent=2))
