"""Tiny random policies to learn with, and samples to learn from."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from thinkery.models.attention import ATTENTION
from thinkery.models.loading import Policy
from thinkery.models.template import TEMPLATES
from thinkery.training.learner import Sample

VOCAB, PADDED_VOCAB = 37, 48


def _make_policy(dtype: torch.dtype = torch.float32, compute_dtype: torch.dtype = torch.float32) -> Policy:
    config = Qwen3Config(
        vocab_size=PADDED_VOCAB,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=128,
        tie_word_embeddings=True,
        initializer_range=0.2,
        attn_implementation=ATTENTION,
    )
    torch.manual_seed(0)
    model = Qwen3ForCausalLM(config).eval().to(dtype)
    words = {f"t{i}": i for i in range(VOCAB)}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(words, unk_token="t0")), eos_token="t1", unk_token="t0"
    )
    return Policy(model, tokenizer, TEMPLATES["r1-zero"], torch.device("cpu"), compute_dtype)


def _make_samples(num_prompts: int = 4, num_generations: int = 4) -> list[Sample]:
    generator = random.Random(0)
    samples = []
    for prompt in range(num_prompts):
        prompt_ids = tuple(generator.randrange(VOCAB) for _ in range(3 + 2 * prompt))
        for _ in range(num_generations):
            token_ids = tuple(generator.randrange(VOCAB) for _ in range(generator.randint(1, 14)))
            logprobs = tuple(-3.6 + generator.gauss(0, 0.5) for _ in token_ids)
            advantage = 0.0 if prompt == 1 else generator.gauss(0, 1)
            samples.append(Sample(prompt_ids, token_ids, logprobs, advantage))
    return samples


@pytest.fixture
def make_policy() -> Callable[..., Policy]:
    """Makes the same Qwen3 of two layers each time, with padded vocabulary rows and distributions far from flat."""
    return _make_policy


@pytest.fixture
def make_samples() -> Callable[..., list[Sample]]:
    """Makes groups of unequal lengths, one of them without advantage."""
    return _make_samples
