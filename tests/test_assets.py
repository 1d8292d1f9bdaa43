"""The shipped base model: small, readable by transformers alone, and from the recipe that is shipped with it."""

from __future__ import annotations

import json
from pathlib import Path

from transformers import AutoModelForCausalLM, AutoTokenizer

from thinkery.models.loading import resolve_model
from thinkery.recipe import load_recipe
from thinkery.stages.pretrain import train_tokenizer

BASE = Path(resolve_model("thinkery://mini-base"))
RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "mini-base.yaml"


def test_the_base_is_at_most_12_megabytes() -> None:
    assert sum(path.stat().st_size for path in BASE.iterdir()) <= 12e6


def test_transformers_alone_loads_it_and_continues_a_page_of_drill() -> None:
    model, tokenizer = AutoModelForCausalLM.from_pretrained(BASE), AutoTokenizer.from_pretrained(BASE)
    inputs = tokenizer("7*8=56, 30+45=75, 63/7=", return_tensors="pt")
    output = model.generate(**inputs, max_new_tokens=1, do_sample=False)
    assert tokenizer.decode(output[0, inputs["input_ids"].shape[1] :]) == "9"


def test_the_recipe_makes_its_tokenizer_and_its_shape() -> None:
    stage = load_recipe(RECIPE).stages[0]
    made, shipped = train_tokenizer(stage.corpus.seed, stage.vocab_size), AutoTokenizer.from_pretrained(BASE)
    assert made.get_vocab() == shipped.get_vocab()
    text = "<think>47*36=1652. Verify: 47*30=1410</think><answer>1692</answer> 等等"
    assert made(text)["input_ids"] == shipped(text)["input_ids"]
    config = json.loads((BASE / "config.json").read_text())
    for name in ("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "intermediate_size"):
        assert config[name] == getattr(stage, name)


def test_the_manifest_says_how_it_was_made() -> None:
    manifest = json.loads((BASE / "manifest.json").read_text())
    assert manifest["stages"]["pretrain"]["status"] == "done"
    assert manifest["stages"]["pretrain"]["seconds"] <= 40 * 60
    assert manifest["stages"]["pretrain"]["summary"]["parameters"] == 3_394_304
    assert {"torch", "transformers"} <= manifest["versions"].keys()
