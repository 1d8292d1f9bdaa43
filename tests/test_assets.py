"""The shipped models: small, readable by transformers alone, and from the recipe that is shipped with them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from thinkery.mini.plugin import WORLD
from thinkery.models.loading import resolve_model
from thinkery.recipe import PretrainStage, load_recipe
from thinkery.stages.pretrain import train_tokenizer

RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "mini-base.yaml"
STAGES = {stage.name: stage for stage in load_recipe(RECIPE).stages if isinstance(stage, PretrainStage)}
BASE = Path(resolve_model("thinkery://mini-base"))


def folder_of(name: str) -> Path:
    return Path(resolve_model(f"thinkery://{name}"))


def test_the_base_is_at_most_12_megabytes() -> None:
    assert sum(path.stat().st_size for path in BASE.iterdir()) <= 12e6


def test_transformers_alone_loads_it_and_continues_a_page_of_drill() -> None:
    model, tokenizer = AutoModelForCausalLM.from_pretrained(BASE), AutoTokenizer.from_pretrained(BASE)
    inputs = tokenizer("7*8=56, 30+45=75, 63/7=", return_tensors="pt")
    output = model.generate(**inputs, max_new_tokens=1, do_sample=False)
    assert tokenizer.decode(output[0, inputs["input_ids"].shape[1] :]) == "9"


@pytest.mark.slow
def test_the_recipe_makes_its_tokenizer() -> None:
    stage = STAGES["mini-base"]
    made, shipped = train_tokenizer(WORLD, stage.corpus.seed, stage.vocab_size), AutoTokenizer.from_pretrained(BASE)
    assert made.get_vocab() == shipped.get_vocab()
    text = "<think>47*36=1652. Verify: 47*30=1410</think><answer>1692</answer> 等等"
    assert made(text)["input_ids"] == shipped(text)["input_ids"]


@pytest.mark.parametrize("name", STAGES)
def test_a_shipped_model_has_the_shape_that_the_recipe_says(name: str) -> None:
    config = json.loads((folder_of(name) / "config.json").read_text())
    stage = STAGES[name]
    assert config["model_type"] == stage.architecture
    for field in (
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "intermediate_size",
    ):
        assert config[field] == getattr(stage, field)


@pytest.mark.parametrize("name", STAGES)
def test_all_shipped_models_read_the_same_tokens(name: str) -> None:
    """A student can be taught by the base's descendants only in words that both know."""
    assert AutoTokenizer.from_pretrained(folder_of(name)).get_vocab() == AutoTokenizer.from_pretrained(BASE).get_vocab()


@pytest.mark.parametrize("name", STAGES)
def test_the_manifest_says_how_it_was_made(name: str) -> None:
    manifest = json.loads((folder_of(name) / "manifest.json").read_text())
    record = manifest["stages"][name]
    assert record["status"] == "done"
    assert record["seconds"] <= 40 * 60
    model = AutoModelForCausalLM.from_pretrained(folder_of(name))
    assert record["summary"]["parameters"] == sum(p.numel() for p in model.parameters())
    assert {"torch", "transformers"} <= manifest["versions"].keys()
