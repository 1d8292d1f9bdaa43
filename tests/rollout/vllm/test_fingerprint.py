"""Fingerprints that don't depend on layout, on tensors laid out in several ways."""

from __future__ import annotations

import pytest
import torch

from thinkery.rollout.vllm.fingerprint import Held, signed, tensor_sum


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_fused_padded_or_cut_tensor_has_the_sum_of_its_parts(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(rows, 8).to(dtype) for rows in (12, 4, 4))
    parts = signed(sum(tensor_sum(part) for part in (q, k, v)))
    fused = torch.cat([q, k, v])
    assert tensor_sum(fused) == parts
    assert tensor_sum(torch.cat([fused, torch.zeros(5, 8, dtype=dtype)])) == parts
    assert signed(sum(tensor_sum(shard) for shard in fused.chunk(3, dim=1))) == parts
    assert tensor_sum(fused.t()) == parts


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_smallest_change_of_one_element_shows(dtype: torch.dtype) -> None:
    tensor = torch.linspace(-2, 2, 1001).to(dtype)
    before = tensor_sum(tensor)
    for index in (0, 7, 1000):
        other = tensor.clone()
        other[index] = (
            torch.nextafter(other[index].float(), torch.tensor(9.0)).to(dtype)
            if dtype is torch.float32
            else (other[index] * 1.01)
        )
        assert tensor_sum(other) != before


def test_what_an_engine_holds_is_compared_in_its_own_type_and_layout() -> None:
    weights = {"a.q.weight": torch.randn(4, 4), "a.k.weight": torch.randn(2, 4), "norm.weight": torch.randn(4)}
    cast = {name: tensor.bfloat16() for name, tensor in weights.items()}
    fused = signed(tensor_sum(cast["a.q.weight"]) + tensor_sum(cast["a.k.weight"]))
    held = Held(
        {
            ("a.q.weight", "a.k.weight"): ("bfloat16", (fused,)),
            ("norm.weight",): ("float32", (tensor_sum(weights["norm.weight"]),)),
            ("rotary.cache",): ("float32", (1,)),  # vLLM's own
        },
        unreadable=(),
    )
    assert held.require(weights.items()) == 3
    weights["a.k.weight"][0, 0] += 1
    with pytest.raises(RuntimeError, match=r"does not hold the policy's a\.q\.weight \+ a\.k\.weight"):
        held.require(weights.items())
