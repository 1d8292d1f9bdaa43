"""Weights in shared memory: the same parameters, seen by whoever maps them, and gone with the last who does."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM

from thinkery.machine.shared_weights import memory_of, pack, unpack
from thinkery.models.loading import Policy, load_policy, save_policy
from thinkery.types import Problem

pytestmark = pytest.mark.slow


@pytest.fixture
def policy(tiny_model: Path) -> Policy:
    return load_policy(tiny_model, template=None, device="cpu", dtype="float32")


def test_a_policys_weights_are_shared_and_unchanged(policy: Policy, tiny_model: Path) -> None:
    memory = memory_of(policy.model)
    assert memory is not None
    reference = AutoModelForCausalLM.from_pretrained(tiny_model)
    for (name, parameter), expected in zip(policy.model.named_parameters(), reference.parameters(), strict=True):
        assert torch.equal(parameter, expected), name
        assert memory.holds(parameter)
        assert parameter.data_ptr() % 64 == 0
        assert not parameter._is_view()  # of views, autocast would not keep what it casts


def test_what_is_unpacked_has_the_same_weights_and_sees_their_updates(policy: Policy) -> None:
    memory = memory_of(policy.model)
    assert memory is not None
    policy.encode_prompt(Problem("p", "1+1", ""))  # a template that was used
    other: Policy = unpack(pack(policy, memory), os.dup(memory.descriptor))
    pairs = list(zip(policy.model.named_parameters(), other.model.parameters(), strict=True))
    with torch.no_grad():
        for (_, parameter), _ in pairs:
            parameter.add_(1)
    for (name, parameter), seen in pairs:
        assert torch.equal(parameter, seen), name
        assert parameter.data_ptr() != seen.data_ptr()
    for (name, buffer), other_buffer in zip(policy.model.named_buffers(), other.model.buffers(), strict=True):
        assert torch.equal(buffer, other_buffer), name


@pytest.mark.parametrize("tied", [True, False])
def test_tied_weights_stay_tied(tied: bool) -> None:
    model = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 5, bias=False))
    if tied:
        model[1].weight = model[0].weight
    policy = Policy(model, None, None, torch.device("cpu"), torch.float32)  # type: ignore[arg-type]
    memory = memory_of(model)
    assert memory is not None
    other = unpack(pack(policy, memory), os.dup(memory.descriptor)).model
    assert (other[1].weight is other[0].weight) == tied


def test_weights_that_were_put_elsewhere_are_not_shared(policy: Policy) -> None:
    parameter = next(policy.model.parameters())
    parameter.data = parameter.data.clone()
    assert memory_of(policy.model) is None


def test_the_memory_goes_with_its_model(policy: Policy, tiny_model: Path) -> None:
    other = load_policy(tiny_model, template=None, device="cpu", dtype="float32")
    memory = memory_of(other.model)
    assert memory is not None
    descriptor = memory.descriptor
    del memory, other
    gc.collect()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_shared_weights_are_saved_as_any(policy: Policy, tmp_path: Path) -> None:
    save_policy(policy, tmp_path)
    again = load_policy(tmp_path, template=None, device="cpu", dtype="float32")
    for (name, parameter), saved in zip(policy.model.named_parameters(), again.model.parameters(), strict=True):
        assert torch.equal(parameter, saved), name
