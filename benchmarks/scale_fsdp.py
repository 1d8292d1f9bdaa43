"""How near learners on 2 and 4 ranks are to one process's, on the shipped base model: FSDP2 over gloo, in fp32.

    python benchmarks/scale_fsdp.py

Three updates each, from completions that the base model samples (advantages are drawn), of GRPO with a reference, two
minibatches and two iterations, of the same with the vocabulary cut up over the ranks, and of fine-tuning. AdamW at a
learning rate of 1e-4, gradients clipped to 1. About two minutes; writes its figures into
benchmarks/results/scale.json and leaves the others there:

- ``fsdp2_max_rel_diff``: the largest relative difference, over ranks, cases and updates, of a loss, of a gradient
  norm, and of a weight tensor after the third update (norm of the difference by the norm of the tensor).
- ``fsdp2_max_moved_diff``: the same of the weights alone, but by the norm of how far the tensor has moved in the three
  updates. AdamW's first steps are of one size wherever a gradient isn't zero, also where it is nothing but rounding,
  so this doesn't get as small as the differences of the gradients. ``recut_max_moved_diff`` is what it has to be held
  against: one process against itself, with its microbatches cut otherwise.
- ``fsdp2_muon_moved_diff``, ``recut_muon_moved_diff``: the same two with Muon, whose products are in bf16.

Left out: speed, which two cores that play four ranks can't show; GPUs.
"""

from __future__ import annotations

import argparse
import random
import socket
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from recording import SCALE, add_figures
from torch import Tensor, distributed, multiprocessing

from thinkery.models.loading import Policy, load_policy
from thinkery.models.template import TEMPLATES
from thinkery.problems.source import open_source
from thinkery.recipe import ProblemSpec
from thinkery.rollout.native.engine import NativeRollout
from thinkery.training.learner import Learner, LearnerConfig, Sample
from thinkery.training.sft import Example, SFTConfig, SupervisedLearner
from thinkery.types import Sampling

BASE = "thinkery://mini-base"
WORLDS, STEPS = (4, 2), 3
DEADLINE_S = 120.0
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Case:
    """What is learnt, and how the model is cut up."""

    config: LearnerConfig | SFTConfig
    sharding: Mapping[str, bool] = field(default_factory=dict)


GRPO = LearnerConfig(
    learning_rate=1e-4,
    beta=0.05,
    num_minibatches=2,
    num_iterations=2,
    importance_sampling_correction="truncate",
    microbatch_tokens=1024,
)
CASES = {
    "grpo": Case(GRPO),
    "parallel head": Case(GRPO, {"parallel_head": True}),
    "fine-tuning": Case(SFTConfig(learning_rate=1e-4, batch_size=16, microbatch_tokens=1024)),
    "muon": Case(replace(GRPO, optimizer="muon")),
}
Learnt = dict[str, Any]


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    torch.set_num_threads(1)
    samples = sample()
    ports = [free_port() for _ in WORLDS]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "learnt.pt"
        multiprocessing.spawn(rank_main, (ports, samples, path), nprocs=max(WORLDS))
        by_ranks = torch.load(path, weights_only=False)
    add_figures(SCALE, "scale_fsdp.py", compare(samples, by_ranks))


def compare(samples: list[Sample], by_ranks: Mapping[tuple[str, int], Learnt]) -> dict[str, float]:
    """All figures."""
    start = weights_of(policy())
    worst, moved, recut = 0.0, {"muon": 0.0, "": 0.0}, {"muon": 0.0, "": 0.0}
    for name, case in CASES.items():
        kind = "muon" if name == "muon" else ""
        alone = learn(case, samples)
        other = learn(replace(case, config=replace(case.config, microbatch_tokens=300)), samples)
        print(name, "recut", {part: f"{value:.1e}" for part, value in difference(other, alone).items()})
        recut[kind] = max(recut[kind], apart(other, alone, start))
        for ranks in WORLDS:
            found = by_ranks[name, ranks]
            moved[kind] = max(moved[kind], apart(found, alone, start))
            parts = difference(found, alone)
            print(name, ranks, {part: f"{value:.1e}" for part, value in parts.items()})
            if not kind:
                worst = max(worst, *parts.values())
    return {
        "fsdp2_max_rel_diff": worst,
        "fsdp2_max_moved_diff": moved[""],
        "recut_max_moved_diff": recut[""],
        "fsdp2_muon_moved_diff": moved["muon"],
        "recut_muon_moved_diff": recut["muon"],
    }


def difference(found: Learnt, alone: Learnt) -> dict[str, float]:
    """The largest relative difference of losses, gradient norms and weights."""
    pairs = list(zip(found["metrics"], alone["metrics"], strict=True))
    numbers = {
        name: max(abs(left[name] - right[name]) / abs(right[name]) for left, right in pairs)
        for name in ("loss", "grad_norm")
    }
    weights: Mapping[str, Tensor] = alone["weights"]
    return numbers | {"weights": max(float((found["weights"][n] - w).norm() / w.norm()) for n, w in weights.items())}


def apart(found: Learnt, alone: Learnt, start: Mapping[str, Tensor]) -> float:
    """The largest distance of a weight tensor from ``alone``'s, as a part of how far that has moved."""
    weights: Mapping[str, Tensor] = alone["weights"]
    return max(float((found["weights"][n] - w).norm() / (w - start[n]).norm()) for n, w in weights.items())


def learn(case: Case, samples: list[Sample], backend: Any = None, carried: Policy | None = None) -> Learnt:
    """Three updates by this process, or by the ranks that carry ``carried``."""
    own = carried or policy()
    if isinstance(case.config, SFTConfig):
        examples = [Example(sample.prompt_ids, sample.token_ids) for sample in samples]
        fine_tuner = SupervisedLearner(own, examples, case.config, backend=backend)
        metrics = [fine_tuner.update(step) for step in range(STEPS)]
    else:
        learner = Learner(own, case.config, backend=backend)
        metrics = [learner.update(samples, step) for step in range(STEPS)]
    return {"metrics": metrics, "weights": weights_of(own) if backend is None else {}}


def rank_main(rank: int, ports: list[int], samples: list[Sample], path: Path) -> None:
    """A rank in worlds of four and of two; rank 0 saves what was learnt."""
    torch.set_num_threads(1)
    from thinkery.cluster.sharded_backend import Sharding, Shards, join_ranks

    learnt: dict[tuple[str, int], Learnt] = {}
    for ranks, port in zip(WORLDS, ports, strict=True):
        if rank >= ranks:
            continue
        join_ranks(f"127.0.0.1:{port}", rank, ranks, device=CPU, timeout_s=DEADLINE_S)
        for name, case in CASES.items():
            carried = policy()
            shards = Shards(carried, CPU, Sharding(**case.sharding))
            one = learn(case, samples, shards, carried)
            one["weights"] = {n: t.clone() for bucket in shards.weights(1 << 24, torch.float32) for n, t in bucket}
            learnt[name, ranks] = one
        distributed.destroy_process_group()
    if rank == 0:
        torch.save(learnt, path)


def policy() -> Policy:
    """The base model, in fp32."""
    return load_policy(BASE, template=TEMPLATES["r1-zero"], device="cpu", dtype="float32")


def weights_of(own: Policy) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in own.model.named_parameters()}


def sample() -> list[Sample]:
    """Four completions of each of eight problems, by the base model, with advantages drawn at random."""
    source = open_source(ProblemSpec(source="mini"))
    sampling = Sampling(num_generations=4, max_completion_length=64)
    rollout = NativeRollout(policy(), max_slots=32)
    generator = random.Random(0)
    done = rollout.generate(source.draw(0, 8), sampling, seed=0, step=0, stage="scale")
    return [
        Sample(one.prompt_ids, one.token_ids, one.logprobs, generator.gauss(0, 1))
        for one in sorted(done, key=lambda one: (one.problem_id, one.index))
    ]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


if __name__ == "__main__":
    main()
