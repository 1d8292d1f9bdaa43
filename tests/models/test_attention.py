"""Our attention against transformers' own, on right-padded rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from thinkery.models.attention import SHORT_ROW, CausalLayout, check_supported, hidden_states
from thinkery.models.loading import load_policy
from thinkery.models.template import TEMPLATES
from thinkery.types import UserError


@pytest.mark.parametrize("length", [24, SHORT_ROW + 8])  # both ways to compute it
@pytest.mark.parametrize(("model_type", "kv_heads"), [("qwen3", 2), ("llama", 4), ("qwen2", 1)])
def test_causal_layout_equals_transformers(
    make_checkpoint: Callable[..., Path], model_type: str, kv_heads: int, length: int
) -> None:
    folder = make_checkpoint(model_type, kv_heads=kv_heads)
    policy = load_policy(folder, template=TEMPLATES["r1-zero"], device="cpu", dtype="float32")
    reference = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    ids_BT = torch.randint(0, 37, (3, length), generator=torch.Generator().manual_seed(0))
    real_BT = torch.arange(length) < torch.tensor([[length], [5], [length - 7]])
    got_BTD = hidden_states(policy.model, ids_BT, None, CausalLayout())
    want_BTD = reference.model(ids_BT, attention_mask=real_BT.long()).last_hidden_state
    torch.testing.assert_close(got_BTD[real_BT], want_BTD[real_BT], atol=2e-5, rtol=1e-4)
    direction_D = torch.randn(32, generator=torch.Generator().manual_seed(1))
    for hidden_BTD in (got_BTD, want_BTD):
        (hidden_BTD[real_BT] @ direction_D).sigmoid().sum().backward()
    grads = zip(policy.model.named_parameters(), reference.named_parameters(), strict=True)
    for (name, ours), (_, theirs) in grads:
        if theirs.grad is not None:
            scale = theirs.grad.abs().max().clamp(min=1e-3)
            torch.testing.assert_close(ours.grad / scale, theirs.grad / scale, atol=1e-4, rtol=0, msg=name)


def test_a_direct_call_is_refused(make_checkpoint: Callable[..., Path]) -> None:
    policy = load_policy(make_checkpoint(), template=TEMPLATES["r1-zero"], device="cpu", dtype="float32")
    with pytest.raises(RuntimeError, match="hidden_states"):
        policy.model(torch.tensor([[1, 2, 3]]))


@pytest.mark.parametrize(
    ("model_type", "settings", "message"),
    [
        ("mistral", {"sliding_window": 8}, "sliding"),
        ("qwen2", {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 0}, "sliding_attention"),
        ("gemma2", {}, "sliding_attention|softcapping"),
        ("gpt_oss", {}, "sliding_attention"),
        ("t5", {}, "encoder-decoder"),
        ("granite", {"logits_scaling": 8.0}, "logits_scaling"),
    ],
)
def test_what_layouts_do_not_know_is_refused_by_name(model_type: str, settings: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_supported(AutoConfig.for_model(model_type, **settings))


@pytest.mark.parametrize("model_type", ["qwen2", "qwen3", "llama"])
def test_dense_decoders_are_supported(model_type: str) -> None:
    check_supported(AutoConfig.for_model(model_type))
