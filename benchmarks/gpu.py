"""One card, measured in minutes: updates, fine-tuning, decoding and whole steps at the shapes of Qwen3, and TRL's step.

    python benchmarks/gpu.py [--shapes qwen3-0.6b qwen3-1.7b qwen3-4b] [--only update sft decode step trl]

Weights are random, so nothing is downloaded; a model's speed doesn't depend on them. Writes
benchmarks/results/gpu.json. Per shape:

- ``update_<n>k``: ``Learner.update`` on 64k tokens in sequences of 4k, 16k and 64k; at most four share a prompt, an
  eighth of their length. ``sft_8k``: ``SupervisedLearner.update`` on eight examples of 8k.
- ``decode_<n>``: n completions at a time, 16 a prompt of 256 tokens. Seconds are those of 128 tokens more, so that the
  prefill is not in them. ``_bandwidth_share`` is the time that the card would need to read what must be read (the
  weights once a token, every row's own keys and values, every prompt's once, all in bf16) over the time it took.
- ``step``: 32 prompts x 16 completions of 256 tokens, sampled, rewarded and learnt from once.
- ``trl_plain``, ``trl_paged``: the same by TRL's GRPOTrainer with transformers' generate and with its continuous
  batching, where TRL is installed, with bf16 weights (Thinkery keeps fp32 ones), SDPA, no gradient checkpointing and
  the largest batch that fits of those tried; paged on CUDA alone. ``..._step_ratio`` is its seconds over Thinkery's.

``_mfu`` is useful FLOP/s (``thinkery.models.flops``) over the card's published dense bf16 peak, ``_product_share``
over products of large matrices measured here; ``_gib`` is the peak of allocated memory. What runs out of memory, or
fails otherwise, is named under "failures", and the rest goes on.

Where there is no CUDA: ``--device cpu --shapes tiny`` does everything on a tiny model, to see that it works; nothing is
written then unless ``--output`` says where. Left out: several cards, vLLM.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import itertools
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from recording import write_result
from speed_shapes import (
    SHAPES,
    Shape,
    graded,
    make_problems,
    make_samples,
    seconds,
    synchronize,
    update_cost,
)

from thinkery.machine import installation as machine
from thinkery.machine.peaks import Peaks, measure_peaks
from thinkery.models.flops import Compute, Lengths, policy_shape, rollout_compute
from thinkery.models.loading import Policy
from thinkery.rollout import NativeRollout
from thinkery.training.learner import Learner, LearnerConfig
from thinkery.training.sft import Example, SFTConfig, SupervisedLearner
from thinkery.types import Sampling

RESULT = Path(__file__).resolve().parent / "results" / "gpu.json"
PARTS = ("update", "sft", "decode", "step", "trl")
# Dense bf16 FLOP/s and bytes/s of memory, from the makers' data sheets; the first name that occurs in the device's.
PUBLISHED = {
    "B200": (2250e12, 8.0e12),
    "H200": (989e12, 4.8e12),
    "H100 PCIe": (756e12, 2.0e12),
    "H100 NVL": (835e12, 3.9e12),
    "H100": (989e12, 3.35e12),
    "A100-SXM4-80GB": (312e12, 2.04e12),
    "A100 80GB PCIe": (312e12, 1.94e12),
    "A100": (312e12, 1.55e12),
    "L40S": (362e12, 0.86e12),
}
LEARNING_RATE = 1e-6
SFT_BATCH = 8


@dataclass(frozen=True)
class Sizes:
    """How much there is to do."""

    contexts: tuple[int, ...] = (4096, 16384, 65536)
    update_tokens: int = 65536
    sft_context: int = 8192
    decode_batches: tuple[int, ...] = (64, 128, 256, 512, 1024)
    prompt: int = 256
    completion: int = 256
    decoded: int = 128  # tokens that are timed
    problems: int = 32
    group: int = 16
    rounds: int = 3
    trl_batches: tuple[int, ...] = (128, 64, 32, 8)


TINY = Sizes(
    contexts=(64,),
    update_tokens=256,
    sft_context=64,
    decode_batches=(8,),
    prompt=8,
    completion=8,
    decoded=8,
    problems=2,
    group=4,
    rounds=1,
)


@dataclass(frozen=True)
class Card:
    """The device, its published peaks where they are known, and what was measured of them here."""

    device: torch.device
    name: str
    flops: float | None
    bandwidth: float | None
    measured: Peaks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=["qwen3-0.6b", "qwen3-1.7b", "qwen3-4b"])
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="measure these parts alone")
    parser.add_argument("--output", type=Path, help="where the results go; on CUDA by default benchmarks/results")
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("no CUDA device here; try the code with --device cpu --shapes tiny")
    report = Report(card_of(torch.device(arguments.device)))
    for name in arguments.shapes:
        sizes = TINY if name == "tiny" else Sizes()
        for part in arguments.only:
            for label, work in MAKERS[part](SHAPES[name], sizes, report.card):
                report.add(f"{name.replace('-', '_').replace('.', '_')}_{label}", work)
    output = arguments.output or (RESULT if arguments.device == "cuda" else None)
    if output is not None:
        report.write(output)
    if any(failure != Report.MEMORY for failure in report.failures.values()):
        raise SystemExit(1)


def card_of(device: torch.device) -> Card:
    """What is known of the device, and what it does."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else machine.hardware()["processor"]
    flops, bandwidth = next((peaks for part, peaks in PUBLISHED.items() if part in name), (None, None))
    return Card(device, name, flops, bandwidth, measure_peaks(device.type))


Row = dict[str, float]
Task = Callable[[], Row]


class Report:
    """Figures and failures, printed as they come."""

    MEMORY = "out of memory"

    def __init__(self, card: Card) -> None:
        self.card = card
        self.failures: dict[str, str] = {}
        product = card.measured.flop_per_s["bfloat16"]
        self.figures = {"product_tflops": product / 1e12, "memory_gb_per_s": card.measured.bytes_per_s / 1e9}
        print(f"{card.name}: {self.figures}", flush=True)

    def add(self, label: str, work: Task) -> None:
        """Does one piece of work. Whatever goes wrong in it is noted, and the next one starts with a free card."""
        cuda = self.card.device.type == "cuda"
        if cuda:
            torch.cuda.reset_peak_memory_stats(self.card.device)
        try:
            row = work()
            if cuda:
                row["gib"] = torch.cuda.max_memory_allocated(self.card.device) / 2**30
        except torch.OutOfMemoryError:
            row, self.failures[label] = {}, self.MEMORY
        except Exception as error:
            traceback.print_exc()
            row, self.failures[label] = {}, f"{type(error).__name__}: {error}"
        gc.collect()
        if cuda:
            torch.cuda.empty_cache()
        print(f"{label}: {self.failures.get(label) or {k: f'{v:.4g}' for k, v in row.items()}}", flush=True)
        self.figures |= {f"{label}_{name}": value for name, value in row.items()}

    def write(self, path: Path) -> None:
        """The results so far, and how many times longer TRL took."""
        for name in list(self.figures):
            shape, trl, rest = name.partition("_trl_")
            if trl and rest.endswith("_seconds") and f"{shape}_step_seconds" in self.figures:
                ratio = self.figures[name] / self.figures[f"{shape}_step_seconds"]
                self.figures[f"{name.removesuffix('_seconds')}_step_ratio"] = ratio
        write_result(
            path,
            "gpu.py",
            {key: float(f"{value:.4g}") for key, value in self.figures.items()},
            device=self.card.name,
            versions=machine.versions() | {"cuda": str(torch.version.cuda)},
            failures=self.failures,
        )


def timed(work: Callable[[], object], sizes: Sizes, card: Card) -> float:
    """Median seconds of a few calls; the first is not counted."""
    work()
    return statistics.median(seconds(work, card.device) for _ in range(sizes.rounds))


def trained(taken: float, cost: Compute, card: Card) -> Row:
    """The figures of training."""
    rate = cost.flops / taken
    row = {"seconds": taken, "tokens_per_s": cost.tokens / taken}
    row["product_share"] = rate / card.measured.flop_per_s["bfloat16"]
    return row | ({"mfu": rate / card.flops} if card.flops else {})


def short(tokens: int) -> str:
    """``16k`` for 16384."""
    return f"{tokens // 1024}k" if tokens >= 1024 else str(tokens)


def updates(shape: Shape, sizes: Sizes, card: Card) -> Iterator[tuple[str, Task]]:
    """Reinforcement learning's update on as many tokens in sequences of different lengths."""
    for context in sizes.contexts:

        def work(context: int = context) -> Row:
            sequences = max(1, sizes.update_tokens // context)
            group, prompt = min(4, sequences), context // 8
            samples = make_samples(shape, sequences // group, group, prompt=prompt, completions=(context - prompt,))
            config = LearnerConfig(learning_rate=LEARNING_RATE, microbatch_tokens=max(16384, context))
            learner = Learner(policy_of(shape, card), config)
            taken = timed(lambda: learner.update(samples, 0), sizes, card)
            return trained(taken, update_cost(learner.policy, samples), card)

        yield f"update_{short(context)}", work


def fine_tuning(shape: Shape, sizes: Sizes, card: Card) -> Iterator[tuple[str, Task]]:
    """An update of supervised fine-tuning."""

    def work() -> Row:
        prompt = sizes.sft_context // 8
        lengths = (sizes.sft_context - prompt,)
        samples = make_samples(shape, SFT_BATCH, 1, prompt=prompt, completions=lengths)
        examples = [Example(sample.prompt_ids, sample.token_ids) for sample in samples]
        config = SFTConfig(learning_rate=LEARNING_RATE, batch_size=SFT_BATCH)
        learner = SupervisedLearner(policy_of(shape, card), examples, config)
        taken = timed(lambda: learner.update(0), sizes, card)
        return trained(taken, update_cost(learner.policy, examples), card)

    yield f"sft_{short(sizes.sft_context)}", work


def decoding(shape: Shape, sizes: Sizes, card: Card) -> Iterator[tuple[str, Task]]:
    """Decoding with so many rows."""
    for batch in sizes.decode_batches:

        def work(batch: int = batch) -> Row:
            policy, first = policy_of(shape, card), sizes.decoded // 4
            problems, lengths = batch // sizes.group, (first, first + sizes.decoded)
            times = [timed(partial(sample, policy, problems, sizes, n), sizes, card) for n in lengths]
            taken = times[1] - times[0]
            cost = [
                rollout_compute(policy_shape(policy), [Lengths(sizes.prompt, (n,) * sizes.group)] * problems, batch)
                for n in lengths
            ]
            least = (cost[1].bytes - cost[0].bytes) / (card.bandwidth or card.measured.bytes_per_s)
            return {"seconds": taken, "tokens_per_s": batch * sizes.decoded / taken, "bandwidth_share": least / taken}

        yield f"decode_{batch}", work


def sample(policy: Policy, problems: int, sizes: Sizes, length: int) -> list[Any]:
    """Completions of this length, all at a time."""
    rollout = NativeRollout(policy, max_slots=problems * sizes.group)
    sampling = Sampling(num_generations=sizes.group, max_completion_length=length)
    work = make_problems(policy.valid_vocab, problems, sizes.prompt)
    return list(rollout.generate(work, sampling, seed=0, step=0, stage=""))


def whole_step(shape: Shape, sizes: Sizes, card: Card) -> Iterator[tuple[str, Task]]:
    """Sampling, rewards, advantages and an update."""

    def work() -> Row:
        policy = policy_of(shape, card)
        learner = Learner(policy, LearnerConfig(learning_rate=LEARNING_RATE))
        rollout_s = []

        def step() -> None:
            began = time.perf_counter()
            completions = sample(policy, sizes.problems, sizes, sizes.completion)
            rollout_s.append(time.perf_counter() - began)
            learner.update(graded(completions), 0)

        taken = timed(step, sizes, card)
        tokens = sizes.problems * sizes.group * sizes.completion
        return {"seconds": taken, "rollout_seconds": statistics.median(rollout_s[1:]), "tokens_per_s": tokens / taken}

    yield "step", work


def trl_steps(shape: Shape, sizes: Sizes, card: Card) -> Iterator[tuple[str, Task]]:
    """The same step by TRL, if it is installed."""
    if importlib.util.find_spec("trl") is None:
        print("TRL is not installed here: its step is left out", file=sys.stderr)
        return
    for paged in (False, True) if card.device.type == "cuda" else (False,):

        def work(paged: bool = paged) -> Row:
            for most in sizes.trl_batches:
                batch = min(most, sizes.problems * sizes.group)
                try:
                    taken = trl_seconds(shape, sizes, card, batch, paged)
                except torch.OutOfMemoryError:
                    gc.collect()
                    torch.cuda.empty_cache()
                    continue
                tokens = sizes.problems * sizes.group * sizes.completion
                return {"seconds": taken, "tokens_per_s": tokens / taken, "batch": batch}
            raise torch.OutOfMemoryError

        yield f"trl_{'paged' if paged else 'plain'}", work


def trl_seconds(shape: Shape, sizes: Sizes, card: Card, batch: int, paged: bool) -> float:
    """Median seconds from one step of GRPOTrainer to the next."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    ends: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            synchronize(card.device)
            ends.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        completions = sizes.problems * sizes.group
        config = GRPOConfig(
            output_dir=folder,
            use_cpu=card.device.type == "cpu",
            bf16=False,  # the weights are
            gradient_checkpointing=False,
            use_transformers_continuous_batching=paged,
            per_device_train_batch_size=batch,
            gradient_accumulation_steps=completions // batch,
            num_generations=sizes.group,
            max_completion_length=sizes.completion,
            learning_rate=LEARNING_RATE,
            beta=0.0,
            max_steps=2 + sizes.rounds,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        with torch.device(card.device):
            model = AutoModelForCausalLM.from_config(
                shape.config(), dtype=torch.bfloat16, attn_implementation="sdpa", trust_remote_code=False
            )
        prompts = [{"prompt": problem.prompt} for problem in make_problems(shape.vocab, sizes.problems, sizes.prompt)]
        GRPOTrainer(
            model=model,
            reward_funcs=lambda completion_ids, **_: [float(ids[-1] % 2) for ids in completion_ids],
            args=config,
            train_dataset=Dataset.from_list(prompts),
            processing_class=shape.tokenizer(),
            callbacks=[Clock()],
        ).train()
    return statistics.median(b - a for a, b in itertools.pairwise(ends[1:]))


def policy_of(shape: Shape, card: Card) -> Policy:
    """A policy on the card; fp32 master weights, computing in bf16."""
    return shape.policy(device=card.device.type)


MAKERS = {"update": updates, "sft": fine_tuning, "decode": decoding, "step": whole_step, "trl": trl_steps}

if __name__ == "__main__":
    main()
