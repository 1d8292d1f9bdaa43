"""How close an update comes to the machine's limit, what sharing prompts gains, and what a large vocabulary costs.

    python benchmarks/speed_update.py

At the shape of 25M parameters, by ``Learner.update`` itself with its defaults, optimizer included:

- ``update_peak_share_25m``: useful FLOP/s over the bf16 products of large square matrices measured in the same rounds,
  of the size whose median is best. Useful are 6 x the layers' weights x tokens (a prompt's once for its completions) +
  6 x the head's weights x completion tokens + 12 x layers x heads x head size x pairs of a query and a key that it
  sees (``thinkery.models.flops``): no norms, no optimizer, nothing that is computed twice or for padding.
- ``prefix_sharing_speedup``: 16 completions a prompt as long as they are, against the same samples each with a prompt
  of its own, through the same code. Without attention and head it can't exceed 32 / 17 = 1.88: that many tokens fewer
  are forwarded; ``prefix_sharing_flop_ratio`` has both in it. ``..._4x`` is the same with prompts of four times the
  length. ``prefix_gradient_difference`` is that of the gradients in fp32, the largest over all parameters, as a share
  of the gradient's norm.
- ``vocab_memory_ratio``: the activations' peak (``speed_memory.py``) of an update of one microbatch of 16,384
  positions in one worker, at a vocabulary of 150,000 over one of 1,000. ``vocab_bytes_per_token_150k`` and ``_1k`` are
  how much that peak grows by one more token: equal if it grows with tokens, and 600 kB apart if it grew with tokens x
  vocabulary.

Rounds alternate and change their order; a ratio is the median of the rounds', ``_low`` and ``_high`` are its extremes.
Left out: peers (``speed_trl.py``), how time grows (``speed_scaling.py``).
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

import torch
from peers.duel import ROUNDS, spread
from speed_memory import peak
from speed_shapes import SHAPES, make_samples, seconds, update_cost

from thinkery.models.loading import Policy
from thinkery.training.backend import LocalBackend
from thinkery.training.learner import Learner, LearnerConfig, Sample

CPU = torch.device("cpu")
SHAPE = SHAPES["25m"]
GROUP = 16
PRODUCTS = {1024: 16, 2048: 4, 4096: 1}  # size: how many in a row are timed
GRADIENTS_AGREE = 1e-5
CONFIG = LearnerConfig(learning_rate=1e-6)


def measure() -> Iterator[dict[str, float]]:
    """All figures, named as in the results file, as they are measured."""
    for step in (peak_share, prefix_gradients, prefix_speedups, vocabulary_memory):
        yield step()


def peak_share() -> dict[str, float]:
    """An update's FLOP/s over those of bf16 products."""
    samples = make_samples(SHAPE, 8, GROUP, prompt=64, completions=(32, 64, 96, 128, 160, 192, 224, 256))
    policy = SHAPE.policy()
    learner = Learner(policy, CONFIG)
    learner.update(samples, 0)
    flops = update_cost(policy, samples).flops
    sides: dict[str, Callable[[], float]] = {"update": lambda: flops / seconds(lambda: learner.update(samples, 0), CPU)}
    for size, repeats in PRODUCTS.items():
        sides[str(size)] = partial(product, size, repeats)
    rates = rounds(sides)
    best = max(PRODUCTS, key=lambda size: statistics.median(rates[str(size)]))
    return {
        **ratio("update_peak_share_25m", rates["update"], rates[str(best)]),
        "update_gflops_25m": round(statistics.median(rates["update"]) / 1e9, 1),
        "matrix_peak_gflops": round(statistics.median(rates[str(best)]) / 1e9, 1),
        "matrix_peak_size": best,
    }


def product(size: int, repeats: int) -> float:
    """FLOP/s of bf16 products of two square matrices."""
    left, right = (torch.randn(size, size).to(torch.bfloat16) for _ in range(2))
    out = torch.mm(left, right)

    def work() -> None:
        for _ in range(repeats):
            torch.mm(left, right, out=out)

    return repeats * 2 * size**3 / seconds(work, CPU)


def prefix_gradients() -> dict[str, float]:
    """The gradients with shared prompts against those without, in fp32; stops if they differ."""
    samples = make_samples(SHAPE, 2, GROUP, prompt=32, completions=(8, 16, 24, 32, 40, 48, 56))
    policy = SHAPE.policy(dtype="float32")
    together, apart = (gradients(policy, chosen) for chosen in (samples, with_own_prompts(samples)))
    difference = max(float((together[name] - apart[name]).norm() / apart[name].norm()) for name in apart)
    assert difference <= GRADIENTS_AGREE, f"gradients with and without shared prompts differ by {difference}"
    return {"prefix_gradient_difference": difference}


def prefix_speedups() -> dict[str, float]:
    """Seconds of an update without shared prompts over those with them."""
    figures: dict[str, float] = {}
    for name, prompts, prompt, completion in (("", 4, 128, 128), ("_4x", 2, 256, 64)):
        samples = make_samples(SHAPE, prompts, GROUP, prompt=prompt, completions=(completion,))
        alone = with_own_prompts(samples)
        policy = SHAPE.policy()
        learner = Learner(policy, CONFIG)
        learner.update(samples, 0)
        learner.update(alone, 0)
        times = rounds(
            {
                "apart": partial(seconds, partial(learner.update, alone, 0), CPU),
                "together": partial(seconds, partial(learner.update, samples, 0), CPU),
            }
        )
        figures |= ratio(f"prefix_sharing_speedup{name}", times["apart"], times["together"])
        flops = update_cost(policy, alone).flops / update_cost(policy, samples).flops
        figures[f"prefix_sharing_flop_ratio{name}"] = round(flops, 3)
    return figures


def vocabulary_memory() -> dict[str, float]:
    """The activations' peak over the vocabulary and over the tokens."""
    whole = {(vocab, rows): update_peak(vocab, rows) for vocab in (1_000, 150_000) for rows in (2, 4)}
    tokens = 2 * (64 + GROUP * 192)  # of two prompts more
    return {
        "vocab_memory_ratio": round(whole[150_000, 4] / whole[1_000, 4], 3),
        "vocab_activations_mib_1k": round(whole[1_000, 4] / 2**20),
        "vocab_activations_mib_150k": round(whole[150_000, 4] / 2**20),
        "vocab_bytes_per_token_1k": round((whole[1_000, 4] - whole[1_000, 2]) / tokens),
        "vocab_bytes_per_token_150k": round((whole[150_000, 4] - whole[150_000, 2]) / tokens),
    }


def update_peak(vocab: int, prompts: int) -> int:
    """Bytes of activations of an update of ``prompts`` groups, 16 sequences of 256 tokens each, in one microbatch."""
    shape = replace(SHAPE, vocab=vocab)
    policy = shape.policy()
    learner = Learner(policy, replace(CONFIG, microbatch_tokens=prompts * GROUP * 256), backend=LocalBackend(policy, 1))
    learner.update(make_samples(shape, 1, 1, prompt=4, completions=(4,)), 0)  # the optimizer's state is there now
    samples = make_samples(shape, prompts, GROUP, prompt=64, completions=(192,))
    return peak(lambda: learner.update(samples, 0), policy.model).activations


class OwnToken(int):
    """A token that equals no other, not even itself elsewhere: a prompt that starts with it is nobody else's."""

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other


def with_own_prompts(samples: Sequence[Sample]) -> list[Sample]:
    """The same samples, none of which the learner takes to share its prompt with another."""
    return [replace(sample, prompt_ids=(OwnToken(sample.prompt_ids[0]), *sample.prompt_ids[1:])) for sample in samples]


def gradients(policy: Policy, samples: Sequence[Sample]) -> dict[str, torch.Tensor]:
    """The gradient of an update of ``policy``, by parameter, unclipped; the policy's weights stay as they are."""
    before = {name: p.detach().clone() for name, p in policy.model.named_parameters()}
    found: dict[str, torch.Tensor] = {}

    def keep(name: str) -> Callable[[torch.Tensor], None]:
        def hook(parameter: torch.Tensor) -> None:
            assert parameter.grad is not None
            found[name] = parameter.grad.clone()  # of all microbatches so far; the last one's stays

        return hook

    handles = [p.register_post_accumulate_grad_hook(keep(name)) for name, p in policy.model.named_parameters()]
    Learner(policy, CONFIG, backend=LocalBackend(policy, 1)).update(
        samples, 0
    )  # or the hooks would see a worker's share
    for handle in handles:
        handle.remove()
    with torch.no_grad():
        for name, parameter in policy.model.named_parameters():
            parameter.copy_(before[name])
    return found


def rounds(sides: Mapping[str, Callable[[], float]]) -> dict[str, list[float]]:
    """``ROUNDS`` measurements of every side, taken in turns, every second round in reverse order."""
    measured: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(ROUNDS):
        for name in list(sides) if number % 2 == 0 else reversed(list(sides)):
            measured[name].append(sides[name]())
    return measured


def ratio(name: str, above: Sequence[float], below: Sequence[float]) -> dict[str, float]:
    """The median of the rounds' ratios, and their extremes."""
    return spread(name, [a / b for a, b in zip(above, below, strict=True)])


if __name__ == "__main__":
    for figures in measure():
        print(json.dumps(figures, indent=2))
