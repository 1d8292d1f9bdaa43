"""The decoder of few operations against transformers' own modules."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from thinkery.models.attention import CausalLayout, hidden_states
from thinkery.models.loading import Policy, load_policy
from thinkery.models.template import Template
from thinkery.rollout import NativeRollout
from thinkery.rollout.native.cache import BLOCK
from thinkery.rollout.native.decoder import Decoder
from thinkery.rollout.native.kernels import COMPILERS
from thinkery.types import Completion, Problem, Sampling

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not any(map(shutil.which, COMPILERS)), reason="no C++ compiler on this machine"),
]

PLAIN = Template("plain", "{{ messages[0].content }}")
PROBLEMS = [Problem(text, text, "") for text in ("12+34=", "a", "what is 3*4+5*6", "hello: ", "zz top 1")]
SAMPLING = Sampling(4, max_completion_length=BLOCK + 9)
KINDS: dict[str, dict[str, Any]] = {
    "qwen3": {"kv_heads": 2},
    "qwen3 without groups": {"model_type": "qwen3", "kv_heads": 4, "tied": False},
    "qwen2": {"kv_heads": 1},
    "llama": {"kv_heads": 4, "attention_bias": True},
    "llama with scaled rotations": {
        "model_type": "llama",
        "rope_parameters": {
            "rope_type": "llama3",
            "rope_theta": 10000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        },
    },
    "mistral": {"kv_heads": 2, "sliding_window": None},
}


@pytest.fixture(params=KINDS)
def folder(request: pytest.FixtureRequest, make_checkpoint: Callable[..., Path]) -> Path:
    kind = {"model_type": request.param, "wide": True} | KINDS[request.param]
    return make_checkpoint(kind.pop("model_type"), **kind)


@pytest.fixture
def wide(make_checkpoint: Callable[..., Path]) -> Policy:
    return load_policy(make_checkpoint(wide=True), template=PLAIN, device="cpu", dtype="float32")


def sampled(policy: Policy) -> list[Completion]:
    return list(NativeRollout(policy).generate(PROBLEMS, SAMPLING, seed=0, step=0, stage="test"))


def logprobs(logits_TV: torch.Tensor, completion: Completion, policy: Policy) -> torch.Tensor:
    """A completion's log-probabilities under logits of prompt and completion."""
    predicting = logits_TV[len(completion.prompt_ids) - 1 : -1, : policy.valid_vocab].float()
    return predicting.log_softmax(-1).gather(1, torch.tensor(completion.token_ids)[:, None])[:, 0]


def differences(policy: Policy, model: PreTrainedModel) -> Iterator[torch.Tensor]:
    """Of every completion's log-probabilities from transformers' of the same tokens, in float32."""
    for completion in sampled(policy):
        ids = torch.tensor([completion.prompt_ids + completion.token_ids])
        with torch.no_grad():
            want = logprobs(model(ids).logits[0], completion, policy)
        yield (torch.tensor(completion.logprobs) - want).abs()


def test_every_family_samples_with_transformers_logprobs(folder: Path) -> None:
    policy = load_policy(folder, template=PLAIN, device="cpu", dtype="float32")
    assert Decoder.of(policy, 64) is not None
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    assert torch.cat(list(differences(policy, model))).max() < 1e-4


def test_bfloat16_is_no_further_from_float32_than_the_learners_forward(folder: Path) -> None:
    policy = load_policy(folder, template=PLAIN, device="cpu", dtype="bfloat16")
    assert Decoder.of(policy, 64) is not None
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    learners = []
    for completion in sampled(policy):
        ids = torch.tensor([completion.prompt_ids + completion.token_ids])
        with torch.no_grad(), policy.autocast():
            hidden = hidden_states(policy.model, ids, None, CausalLayout())
            logits_BTV = policy.model.get_output_embeddings()(hidden)
        with torch.no_grad():
            want = logprobs(model(ids).logits[0], completion, policy)
        learners.append((logprobs(logits_BTV[0], completion, policy) - want).abs())
    assert torch.cat(list(differences(policy, model))).mean() < 1.2 * torch.cat(learners).mean()


def test_a_call_decodes_with_the_weights_of_its_time(wide: Policy, make_checkpoint: Callable[..., Path]) -> None:
    before = {(c.problem_id, c.index): c.token_ids for c in sampled(wide)}
    with torch.no_grad():
        for parameter in wide.model.parameters():
            parameter.mul_(1.1)
    wide.version += 1
    model = AutoModelForCausalLM.from_pretrained(make_checkpoint(wide=True), attn_implementation="eager").eval()
    model.load_state_dict(wide.model.state_dict())
    assert torch.cat(list(differences(wide, model))).max() < 1e-4
    assert {(c.problem_id, c.index): c.token_ids for c in sampled(wide)} != before


def test_threads_within_a_worker_change_nothing(wide: Policy) -> None:
    threads = torch.get_num_threads()
    found = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            completions = NativeRollout(wide, workers=1).generate(PROBLEMS, SAMPLING, seed=0, step=0, stage="test")
            found.append({(c.problem_id, c.index): c.token_ids for c in completions})
    finally:
        torch.set_num_threads(threads)
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("hidden_act", "gelu"),
        ("model_type", "olmo2"),
        ("head_dim", 48),
        ("intermediate_size", 100),
        ("rope_parameters", {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}),
        ("rope_parameters", {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}),
    ],
)
def test_what_it_does_not_compute_is_left_to_transformers(wide: Policy, field: str, value: object) -> None:
    assert Decoder.of(wide, 64) is not None
    setattr(wide.model.config, field, value)
    assert Decoder.of(wide, 64) is None
