"""Pre-training from nothing, interrupted and resumed, small enough for a test."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from thinkery.mini.plugin import WORLD, documents
from thinkery.models.attention import CausalLayout, hidden_states
from thinkery.models.template import TAGS, TEMPLATES, Template
from thinkery.pipeline import Stopped, run_recipe
from thinkery.recipe import Recipe
from thinkery.report.terminal import PlainView
from thinkery.stages.pretrain import TokenStream, deterministic, new_policy, train_tokenizer

pytestmark = pytest.mark.slow


def recipe() -> Recipe:
    stage = {
        "name": "pretrain",
        "kind": "pretrain",
        "corpus": {"source": "mini"},
        "tokens": 60 * 4 * 64,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "intermediate_size": 64,
        "context_length": 64,
        "batch_size": 4,
        "save_steps": 20,
    }
    return Recipe.model_validate({"name": "tiny-base", "stages": [stage]})


class CtrlC(PlainView):
    """A person who presses Ctrl-C when a step is shown."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at

    def step(self, step: int, metrics: Mapping[str, float]) -> None:
        if step >= self.at:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "base"
    run_recipe(recipe(), folder, view=PlainView())
    return folder / "checkpoints" / "pretrain" / "model"


def test_the_loss_falls_below_that_of_guessing(base: Path) -> None:
    lines = [json.loads(line) for line in (base.parents[2] / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [20, 40, 60]
    assert lines[-1]["loss"] < lines[0]["loss"] < math.log(1024)


def test_the_output_loads_with_transformers_and_keeps_its_template(base: Path) -> None:
    model, tokenizer = AutoModelForCausalLM.from_pretrained(base), AutoTokenizer.from_pretrained(base)
    inputs = tokenizer("User: What is 1+1?\nAssistant:", return_tensors="pt")
    assert model.generate(**inputs, max_new_tokens=4, do_sample=False).shape[1] > inputs["input_ids"].shape[1]
    assert model.config.vocab_size == len(tokenizer) == model.get_output_embeddings().weight.shape[0]
    assert Template.load(base) == TEMPLATES["r1-zero-compact"]


def test_interrupted_and_resumed_gives_the_same_bits(base: Path, tmp_path: Path) -> None:
    with pytest.raises(Stopped, match="run the same command to resume"):
        run_recipe(recipe(), tmp_path / "run", view=CtrlC(at=40))
    run_recipe(recipe(), tmp_path / "run", view=PlainView())
    resumed = tmp_path / "run" / "checkpoints" / "pretrain" / "model" / "model.safetensors"
    assert resumed.read_bytes() == (base / "model.safetensors").read_bytes()


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_gradients_are_the_same_bits_every_time_on_two_threads() -> None:
    stage = recipe().stages[0].model_copy(update={"compile": True, "context_length": 256, "batch_size": 16})
    tokenizer = train_tokenizer(WORLD, stage.corpus.seed, stage.vocab_size)
    policy = new_policy(stage, tokenizer)
    input_BT = torch.tensor(TokenStream(WORLD, tokenizer, 0).take(16 * 256)[:-1]).view(16, 256)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with deterministic():
            forward = torch.compile(lambda ids_BT: hidden_states(policy.model, ids_BT, None, CausalLayout()))
            gradients = []
            for _ in range(6):
                policy.model.zero_grad()
                forward(input_BT).square().mean().backward()
                gradients.append(policy.model.get_input_embeddings().weight.grad.clone())
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(gradient, gradients[0]) for gradient in gradients)
    assert not torch.are_deterministic_algorithms_enabled()


def test_digits_and_tags_are_tokens_of_their_own() -> None:
    tokenizer = train_tokenizer(WORLD, seed=0, vocab_size=1024)
    text = "<think>47*36=1692，等等</think><answer>1692</answer>"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    tokens = [tokenizer.decode([i]) for i in ids]
    assert "".join(token for token in tokens if token.isdigit()) == "473616921692"
    assert all(len(token) == 1 for token in tokens if token.isdigit())
    assert set(TAGS) <= set(tokens)
    assert tokenizer.decode(ids) == text
    assert len(tokenizer) <= 1024


def test_the_stream_is_the_corpus_in_order_and_rows_overlap_by_one() -> None:
    tokenizer = train_tokenizer(WORLD, seed=0, vocab_size=512)
    stream = TokenStream(WORLD, tokenizer, seed=3)
    first, second = stream.take(500), stream.take(500)
    assert first[-1] == second[0]
    assert len(first) == 501
    end = tokenizer.eos_token
    text = tokenizer.decode(first[1:] + second[1:], skip_special_tokens=False)
    expected = "".join(document + end for _, document in zip(range(100), documents(3), strict=False))
    assert expected.startswith(text.rstrip("\N{REPLACEMENT CHARACTER}"))
