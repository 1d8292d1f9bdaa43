"""Decoding alone: the native engine against vLLM's CPU build, on the same model, prompts and lengths.

    python benchmarks/speed_vllm.py

At the 3M shape 32 groups of 16 completions, of at most 256 tokens and 85 on average; at 25M 8 groups of 16, each
completion 512 tokens long. Temperature 1, bf16, no truncation; how a model with random weights comes to such lengths is
told in ``peers/models.py``. Each side is a process that stays alive, and they take turns (``peers/child.py``); loading,
compilation and the first rounds are not counted. ``ratio`` is of completion tokens a second.

The native engine gives text and log-probabilities as in training; vLLM is asked for neither, which is less work. It
runs without a server, with room for all sequences at once, prefix caching, one request a group, a thread a core, and
Intel's OpenMP loaded first, as its documentation advises. The fastest of the settings below takes part, tried here on
this machine, each by its second round: compiled or eager; the engine in its caller's process, or (its default) apart
with a worker whose threads are bound to their cores; blocks of 16 positions, so that prompts as short as these share a
whole one. Both sides have jemalloc, as Thinkery's commands do where there is one, but for the setting that is named
after glibc's malloc; vLLM's documentation advises tcmalloc, for the same reason.

Left out: vLLM's server, quantised weights, speculative decoding.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peers.child import Side
from peers.duel import ROUNDS, alternate, fastest, spread
from peers.install import python_of
from peers.models import write_model, write_prompts
from speed_shapes import SHAPES

from thinkery.machine.allocator import PRELOAD, environment_with_jemalloc

PEERS = Path(__file__).resolve().parent / "peers"
GENERATIONS = 16
CONTEXT = 768  # tokens of prompt and completion
CACHE_GIB = 4


@dataclass(frozen=True, slots=True)
class Engine:
    """One way to set up vLLM: arguments of its ``LLM``, and where its work is done."""

    arguments: dict[str, Any]
    own_process: bool = False
    jemalloc: bool = True


ENGINES = {
    "compiled": Engine({}),
    "eager": Engine({"enforce_eager": True}),
    "compiled_apart": Engine({}, own_process=True),
    "eager_apart": Engine({"enforce_eager": True}, own_process=True),
    "compiled_apart_blocks_of_16": Engine({"block_size": 16}, own_process=True),
    "compiled_apart_glibc": Engine({}, own_process=True, jemalloc=False),
}


@dataclass(frozen=True, slots=True)
class Work:
    """What is decoded a round. ``mean_length`` None: every completion is ``max_length`` tokens long."""

    problems: int
    mean_length: float | None
    max_length: int


WORK = {"3m": Work(32, 85, 256), "25m": Work(8, None, 512)}


def measure() -> Iterator[dict[str, float]]:
    """All figures, named as in the results file, as they are measured."""
    for size, work in WORK.items():
        yield compare(size, work)


def compare(size: str, work: Work, rounds: int = ROUNDS) -> dict[str, float]:
    """The figures of one shape."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_model(folder / "model", SHAPES[size], mean_length=work.mean_length, max_length=work.max_length)
        write_prompts(folder / "prompts.json", work.problems)
        engine, tried = fastest({engine: vllm(folder, work, engine) for engine in ENGINES})
        with thinkery(folder, work) as ours, vllm(folder, work, engine) as peer:
            pairs = alternate(ours, peer, rounds)
    ours_rates = [pair.ours.tokens / pair.ours.seconds for pair in pairs]
    peer_rates = [pair.peer.tokens / pair.peer.seconds for pair in pairs]
    ratios = [mine / theirs for mine, theirs in zip(ours_rates, peer_rates, strict=True)]
    figures = spread(f"vllm_decode_ratio_{size}", ratios)
    figures |= spread(f"decode_tokens_per_s_{size}", ours_rates)
    figures |= spread(f"vllm_decode_tokens_per_s_{size}", peer_rates)
    return figures | {f"vllm_tokens_per_s_{size}_{engine}": round(1 / seconds, 1) for engine, seconds in tried.items()}


def common(folder: Path, work: Work) -> dict[str, Any]:
    """What both sides are told."""
    return {
        "model": str(folder / "model"),
        "prompts": str(folder / "prompts.json"),
        "num_generations": GENERATIONS,
        "max_completion_length": work.max_length,
    }


def thinkery(folder: Path, work: Work) -> Side:
    """The native engine's side."""
    script = PEERS / "thinkery_decode.py"
    log = folder / "thinkery.log"
    return Side(Path(sys.executable), script, common(folder, work), log, environment_with_jemalloc())


def vllm(folder: Path, work: Work, engine: str) -> Side:
    """vLLM's side with the settings of that name."""
    settings = common(folder, work) | {"context": CONTEXT, "engine": ENGINES[engine].arguments}
    python = python_of("vllm")
    environment = {"VLLM_CPU_KVCACHE_SPACE": str(CACHE_GIB), "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
    if ENGINES[engine].jemalloc:
        environment |= environment_with_jemalloc()
    openmp = python.parents[1] / "lib" / "libiomp5.so"
    if openmp.exists():
        environment[PRELOAD] = ":".join(filter(None, [environment.get(PRELOAD), str(openmp)]))
    if ENGINES[engine].own_process:
        environment["VLLM_CPU_OMP_THREADS_BIND"] = ",".join(map(str, sorted(os.sched_getaffinity(0))))
    else:
        environment["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    return Side(python, PEERS / "vllm_decode.py", settings, folder / "vllm.log", environment)


if __name__ == "__main__":
    for figures in measure():
        print(json.dumps(figures, indent=2))
