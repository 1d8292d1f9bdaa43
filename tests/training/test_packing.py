"""Packing: what is in a microbatch, how large it is, and that a packed forward equals each sequence's own."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from thinkery.models.attention import ATTENTION, CausalLayout, hidden_states
from thinkery.training.learner import Sample
from thinkery.training.packing import pack, split_equal, split_microbatches

CPU = torch.device("cpu")
MakeSamples = Callable[..., list[Sample]]


def length(sample: Sample) -> int:
    return len(sample.prompt_ids) + len(sample.token_ids)


@pytest.mark.parametrize("budget", [1, 40, 100, 10_000])
def test_a_split_holds_every_sample_once_within_the_budget(make_samples: MakeSamples, budget: int) -> None:
    samples = make_samples(num_prompts=6)
    indices = [index for index in range(len(samples)) if index != 5]
    subset = split_microbatches(samples, indices, budget)
    assert sorted(index for part in subset for index in part) == indices
    for part in subset:
        assert len(part) == 1 or sum(length(samples[index]) for index in part) <= budget
    assert subset == split_microbatches(samples, indices, budget)
    if budget == 10_000:
        assert len(subset) == 1


def test_padding_counts_and_stays_below_thirty_percent() -> None:
    generator = random.Random(1)
    samples = [
        Sample((1, 2), (3,) * size, (0.0,) * size, 0.0) for size in (generator.randint(1, 300) for _ in range(80))
    ]
    for part in split_microbatches(samples, range(80), 2000):
        cells = sum(rows * columns for rows, columns in pack(samples, part, CPU).layout.blocks)
        assert cells <= 2000
        assert cells < sum(length(samples[index]) for index in part) / 0.7


def test_groups_stay_together_where_they_fit(make_samples: MakeSamples) -> None:
    samples = make_samples(num_prompts=6, num_generations=3)
    for part in split_microbatches(samples, range(18), 100):
        assert all(part.count(index) == 1 for index in part)
        prompts = {samples[index].prompt_ids for index in part}
        assert sum(samples[index].prompt_ids in prompts for index in range(18)) == len(part)


@pytest.mark.parametrize("ranks", [2, 3, 4])
@pytest.mark.parametrize("budget", [1, 60, 150, 10_000])
def test_a_split_for_ranks_gives_each_as_many_microbatches_of_one_size(
    make_samples: MakeSamples, budget: int, ranks: int
) -> None:
    samples = make_samples(num_prompts=12)
    indices = [index for index in range(len(samples)) if index != 5]
    subset = split_equal(samples, indices, budget, ranks)
    assert sorted(index for part in subset for index in part) == indices
    assert subset == split_equal(samples, indices, budget, ranks)
    for part in subset:
        cells = sum(rows * columns for rows, columns in pack(samples, part, CPU).layout.blocks)
        assert len(part) == 1 or cells <= budget
    if budget > 1:
        assert len(subset) % ranks == 0
        sizes = [sum(length(samples[index]) for index in part) for part in subset]
        assert sizes == sorted(sizes, reverse=True)
        assert max(sizes) <= min(sizes) + max(map(length, samples))


def test_each_prompt_is_forwarded_once(make_samples: MakeSamples) -> None:
    samples = make_samples()
    microbatch = pack(samples, range(len(samples)), CPU)
    distinct = {sample.prompt_ids for sample in samples}
    completions = sum(len(sample.token_ids) for sample in samples)
    assert len(microbatch.input_ids_T) == sum(map(len, distinct)) + completions
    assert len(microbatch.target_N) == completions


SIZES: dict[str, Any] = {
    "vocab_size": 48,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
    "attn_implementation": ATTENTION,
}
MODELS: dict[str, Callable[[], PreTrainedModel]] = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, num_key_value_heads=4)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SIZES, num_key_value_heads=1)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**SIZES, num_key_value_heads=2, head_dim=8)),
}


@pytest.mark.parametrize("name", MODELS)
def test_packed_hidden_states_and_gradients_equal_those_of_separate_sequences(
    make_samples: MakeSamples, name: str
) -> None:
    torch.manual_seed(1)
    model, samples = MODELS[name]().eval(), make_samples()
    microbatch = pack(samples, range(len(samples)), CPU)
    packed_1TD = hidden_states(model, microbatch.input_ids_T[None], microbatch.position_ids_T[None], microbatch.layout)
    packed_ND = packed_1TD[0, microbatch.predictor_N]
    separate = []
    for sample in samples:
        ids = torch.tensor([sample.prompt_ids + sample.token_ids])
        separate.append(hidden_states(model, ids, None, CausalLayout())[0, len(sample.prompt_ids) - 1 : -1])
    separate_ND = torch.cat(separate)
    assert torch.allclose(packed_ND, separate_ND, atol=2e-5)
    direction_ND = torch.randn(packed_ND.shape, generator=torch.Generator().manual_seed(0))
    parameters = [p for name, p in model.named_parameters() if "lm_head" not in name]
    packed = torch.autograd.grad((packed_ND * direction_ND).sum(), parameters)
    apart = torch.autograd.grad((separate_ND * direction_ND).sum(), parameters)
    for ours, theirs in zip(packed, apart, strict=True):
        assert (ours - theirs).norm() <= 1e-5 * theirs.norm()
