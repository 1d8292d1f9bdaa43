"""Checkpoints in and out, as transformers alone sees them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from thinkery.models.loading import load_policy, resolve_model, save_policy
from thinkery.models.template import TEMPLATES
from thinkery.types import Problem, UserError

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("model_type", "tied"), [("qwen3", True), ("llama", False)])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_round_trip(
    make_checkpoint: Callable[..., Path], tmp_path: Path, model_type: str, tied: bool, dtype: str
) -> None:
    policy = load_policy(make_checkpoint(model_type, tied=tied), template=TEMPLATES["chat-think"], device="cpu")
    assert policy.version == 0
    assert not policy.model.training
    saved = tmp_path / "saved"
    save_policy(policy, saved, dtype=dtype)
    assert not list(saved.glob(".*"))

    model = AutoModelForCausalLM.from_pretrained(saved)
    assert model.dtype == getattr(torch, dtype)
    for (name, ours), (_, theirs) in zip(policy.model.named_parameters(), model.named_parameters(), strict=True):
        assert torch.equal(ours.to(theirs.dtype), theirs), name
    ids = torch.tensor([[5, 6, 7]])
    assert model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=4, do_sample=False).shape[1] > 3
    messages = [{"role": "user", "content": "CDE"}]
    text = AutoTokenizer.from_pretrained(saved).apply_chat_template(
        messages, tokenize=False, add_generation_prompt=True
    )
    assert text == TEMPLATES["chat-think"].render("CDE")

    again = load_policy(saved, template=None, device="cpu")
    assert again.template == policy.template
    assert {parameter.dtype for parameter in again.model.parameters()} == {torch.float32}


def test_a_head_with_a_bias_is_refused(make_checkpoint: Callable[..., Path]) -> None:
    with pytest.raises(UserError, match="a bias in its output head"):
        load_policy(make_checkpoint("phi", tied=False, kv_heads=4), template=TEMPLATES["r1-zero"], device="cpu")


def test_what_is_saved_names_no_place_and_no_attention(make_checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    source = make_checkpoint()
    saved = tmp_path / "saved"
    save_policy(load_policy(source, template=TEMPLATES["r1-zero"], device="cpu"), saved)
    for path in saved.glob("*.json"):
        assert str(tmp_path) not in path.read_text()
        assert "attn_implementation" not in path.read_text()
    assert "thinkery" not in (saved / "config.json").read_text()


def test_saving_again_replaces_and_leaves_other_files(make_checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    policy = load_policy(make_checkpoint(), template=TEMPLATES["r1-zero"], device="cpu")
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "notes.txt").write_text("kept")
    save_policy(policy, tmp_path / "saved")
    with torch.no_grad():
        policy.model.model.norm.weight.fill_(2.0)
    save_policy(policy, tmp_path / "saved")
    assert (tmp_path / "saved" / "notes.txt").read_text() == "kept"
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "saved").model.norm.weight.eq(2).all()


def test_what_a_policy_knows(make_checkpoint: Callable[..., Path]) -> None:
    policy = load_policy(make_checkpoint(), template=TEMPLATES["r1-zero-compact"], device="cpu", dtype="float32")
    assert policy.eos_token_ids == (0, 1, 2)  # the configuration's 0 and 2, the tokenizer's 1
    assert policy.valid_vocab == 37
    rendered = policy.template.render("CDE")
    want = policy.tokenizer(rendered, add_special_tokens=False)["input_ids"]
    assert policy.encode_prompt(Problem("p", "CDE", "1")) == tuple(want)
    with policy.autocast():
        assert not torch.is_autocast_enabled("cpu")
    policy.compute_dtype = torch.bfloat16
    with policy.autocast():
        assert torch.get_autocast_dtype("cpu") is torch.bfloat16
        assert torch.is_autocast_enabled("cpu")
    assert not torch.is_autocast_enabled("cpu")


def test_references(make_checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_checkpoint()
    assert resolve_model(str(folder)) == str(folder)
    assert resolve_model("Qwen/Qwen2.5-7B") == "Qwen/Qwen2.5-7B"
    for ref, message in (
        ("thinkery://no-such", "not shipped"),
        (str(tmp_path / "missing"), "no model at"),
        (str(tmp_path), "no config.json"),
    ):
        with pytest.raises(UserError, match=message):
            resolve_model(ref)


def test_a_checkpoint_without_template_needs_one_named(make_checkpoint: Callable[..., Path]) -> None:
    with pytest.raises(UserError, match="r1-zero"):
        load_policy(make_checkpoint(), template=None, device="cpu")


def test_a_broken_checkpoint_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "qwen3"}')
    with pytest.raises(UserError, match="has no tokenizer"):
        load_policy(tmp_path, template=TEMPLATES["r1-zero"], device="cpu")
