"""Tiny random checkpoints on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

VOCAB, PADDED_VOCAB = 37, 48


def _make_checkpoint(folder: Path, model_type: str = "qwen3", *, tied: bool = True, kv_heads: int = 2) -> Path:
    config = AutoConfig.for_model(
        model_type,
        vocab_size=PADDED_VOCAB,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=kv_heads,
        head_dim=8,
        max_position_embeddings=1024,
        tie_word_embeddings=tied,
        initializer_range=0.3,
        bos_token_id=None,
        eos_token_id=[0, 2],
        pad_token_id=0,
    )
    torch.manual_seed(1)
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)
    alphabet = {chr(ord("A") + i): i for i in range(VOCAB)}
    backend = Tokenizer(models.BPE(alphabet, [], unk_token="A"))
    backend.decoder = decoders.Fuse()
    PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="B").save_pretrained(folder)
    return folder


@pytest.fixture
def make_checkpoint(tmp_path: Path) -> Callable[..., Path]:
    """Writes a checkpoint: ``make_checkpoint(model_type, tied=..., kv_heads=...)`` -> its folder."""
    return lambda *args, **kwargs: _make_checkpoint(tmp_path / "checkpoint", *args, **kwargs)
