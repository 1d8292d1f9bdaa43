"""Sizes from configurations, against transformers' own models and against what their authors state."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from thinkery.models.flops import shape_of
from thinkery.models.loading import resolve_model
from thinkery.plan.decoders import decoder_from_config, decoder_named
from thinkery.plan.known_models import CONFIGS
from thinkery.types import UserError


def on_meta(config: dict[str, Any]) -> PreTrainedModel:
    fields = {name: value for name, value in config.items() if name not in ("model_type", "quantization_config")}
    with torch.device("meta"):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(AutoConfig.for_model(config["model_type"], **fields))
    return model


@pytest.mark.parametrize(
    "name",
    ["Qwen/Qwen2.5-1.5B", "Qwen/Qwen2.5-7B", "Qwen/Qwen3-0.6B-Base", "Qwen/Qwen3-8B-Base", "meta-llama/Llama-3.1-8B"],
)
def test_a_dense_model_has_the_shape_that_its_modules_have(name: str) -> None:
    model = on_meta(dict(CONFIGS[name]))
    known = decoder_named(name)
    assert known.learning == known.sampling == shape_of(model, CONFIGS[name]["vocab_size"], torch.bfloat16)
    assert known.common == known.active


@pytest.mark.parametrize("name", ["Qwen/Qwen3-30B-A3B", "deepseek-ai/DeepSeek-V3-Base"])
def test_a_mixture_has_the_parameters_that_its_modules_have(name: str) -> None:
    config = {**CONFIGS[name], "num_hidden_layers": 5, "head_dim": CONFIGS[name].get("head_dim", 64)}
    parameters = sum(parameter.numel() for parameter in on_meta(config).parameters())
    assert decoder_from_config(config, name).parameters == parameters


@pytest.mark.parametrize(
    ("name", "parameters", "active"),
    [  # in billions, as their authors state them; Qwen counts the embeddings among the active ones
        ("deepseek-ai/DeepSeek-V3-Base", 671.0, 37.0),
        ("Qwen/Qwen3-30B-A3B", 30.5, 3.3),
        ("Qwen/Qwen2.5-7B", 7.61, 7.07),
        ("Qwen/Qwen2.5-32B", 32.5, 32.0),
        ("meta-llama/Llama-3.1-8B", 8.03, 7.5),
        ("meta-llama/Llama-3.3-70B-Instruct", 70.6, 69.5),
    ],
)
def test_known_models_are_as_large_as_their_authors_say(name: str, parameters: float, active: float) -> None:
    known = decoder_named(name)
    assert known.parameters / 1e9 == pytest.approx(parameters, rel=0.01)
    assert known.active / 1e9 == pytest.approx(active, rel=0.08)


def test_deepseek_caches_70_kilobytes_a_token() -> None:
    # 70.272 KB: Insights into DeepSeek-V3 (arXiv 2505.09343), table 1
    shape = decoder_named("deepseek-ai/DeepSeek-V3-Base").sampling
    assert shape.cached * shape.element == 70_272


def test_absorbed_attention_costs_what_its_products_cost() -> None:
    # a query of 512 + 64 numbers against the cache, and its 512 latent numbers weighted, in each of 128 heads
    known = decoder_named("deepseek-ai/DeepSeek-V3-Base")
    assert 4 * known.sampling.attention == 61 * 128 * 2 * (576 + 512)
    assert 4 * known.learning.attention == 61 * 128 * 2 * (192 + 128)


def test_a_batch_touches_the_experts_that_its_tokens_draw() -> None:
    known = decoder_named("deepseek-ai/DeepSeek-V3-Base")
    assert known.routed_by(1) == pytest.approx(known.routed * 8 / 256)
    assert known.routed_by(2) == pytest.approx(known.routed * (8 / 256) * (2 - 8 / 256))
    assert known.routed_by(5000) == pytest.approx(known.routed)
    assert decoder_named("Qwen/Qwen2.5-7B").routed_by(7) == 0


def test_a_shared_copy_repeats_what_is_not_routed() -> None:
    known = decoder_named("deepseek-ai/DeepSeek-V3-Base")
    assert known.held(1) == known.parameters
    assert known.held(128) == known.parameters - known.routed + known.routed / 128
    assert decoder_named("Qwen/Qwen2.5-7B").held(4) == decoder_named("Qwen/Qwen2.5-7B").parameters / 4


def test_a_folder_and_a_shipped_model_are_read_from_their_config(tmp_path: Path) -> None:
    folder = Path(resolve_model("thinkery://mini-base"))
    shipped = decoder_named("thinkery://mini-base")
    assert shipped.parameters == decoder_named(str(folder)).parameters
    assert decoder_named("my/own", folder).parameters == shipped.parameters
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
    assert shipped.learning == shape_of(model, 2048, torch.bfloat16)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "gpt2"}, "can't plan for model_type 'gpt2'; known: llama"),
        ({"model_type": "llama", "hidden_size": 64}, "its config.json has no num_attention_heads"),
    ],
)
def test_what_can_not_be_sized_is_named(tmp_path: Path, config: dict[str, Any], message: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=message.replace("(", r"\(")):
        decoder_named("my/own", tmp_path)


def test_an_unknown_model_is_not_downloaded() -> None:
    with pytest.raises(UserError, match="the sizes of my/own are not known here, and nothing is downloaded"):
        decoder_named("my/own")
    with pytest.raises(UserError, match="--config nowhere: no readable config"):
        decoder_named("my/own", Path("nowhere"))
