"""Tiny random checkpoints of several architectures, on disk, loaded as any checkpoint is."""

from __future__ import annotations

import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from thinkery.models.loading import Policy, load_policy
from thinkery.models.template import TEMPLATES, Template

CHARACTERS = ["<eos>", *string.ascii_lowercase, *string.digits, " ", ":", "\n", "U", "A", "+", "*", "="]
PADDED_VOCAB = 64
PLAIN = Template("plain", "{% for m in messages %}{{ m.content }}{% endfor %}")


def write_checkpoint(
    folder: Path, model_type: str = "qwen3", *, tied: bool = True, kv_heads: int = 2, wide: bool = False, **more: Any
) -> Path:
    """A random model whose distributions are far from flat, with a tokenizer of single characters.

    A ``wide`` one is of a size that the compiled operations take, and its norms and biases are random as well.
    """
    config = AutoConfig.for_model(
        model_type,
        vocab_size=PADDED_VOCAB,
        hidden_size=64 if wide else 32,
        intermediate_size=96 if wide else 48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=kv_heads,
        head_dim=32 if wide else 8,
        max_position_embeddings=256,
        tie_word_embeddings=tied,
        initializer_range=0.25 if wide else 0.35,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=0,
        **more,
    )
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    for name, parameter in model.named_parameters():
        if wide and parameter.dim() == 1:
            torch.nn.init.normal_(parameter, mean=float(name.endswith("norm.weight")), std=0.2)
    model.save_pretrained(folder)
    backend = Tokenizer(models.BPE({c: i for i, c in enumerate(CHARACTERS)}, [], unk_token="<eos>"))
    backend.decoder = decoders.Fuse()
    PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>").save_pretrained(folder)
    return folder


@pytest.fixture
def make_checkpoint(tmp_path: Path) -> Callable[..., Path]:
    """Writes a checkpoint: ``make_checkpoint(model_type, tied=..., kv_heads=..., wide=...)`` -> its folder."""
    return lambda *args, **kwargs: write_checkpoint(tmp_path / "model", *args, **kwargs)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Qwen3 with tied, padded embeddings and grouped queries."""
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture
def policy(checkpoint: Path) -> Policy:
    return load_policy(checkpoint, template=PLAIN, device="cpu", dtype="float32")


@pytest.fixture
def compact(checkpoint: Path) -> Policy:
    """The policy with a template that stops at the next turn."""
    return load_policy(checkpoint, template=TEMPLATES["r1-zero-compact"], device="cpu", dtype="float32")


@pytest.fixture
def reference(checkpoint: Path) -> PreTrainedModel:
    """The same weights, run by transformers alone."""
    return AutoModelForCausalLM.from_pretrained(checkpoint, attn_implementation="eager").eval()
