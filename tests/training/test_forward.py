"""Chunked log-probabilities against the full softmax, and the promise that [tokens, vocabulary] is never built."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from thinkery.training.forward import token_logprobs

N, D, V = 50, 16, 37


def inputs(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    hidden_ND = torch.randn(N, D, generator=generator, dtype=dtype).requires_grad_()
    head_VD = torch.randn(V, D, generator=generator, dtype=dtype).requires_grad_()
    target_N = torch.randint(0, V, (N,), generator=generator)
    return hidden_ND, head_VD, target_N, torch.randn(N, generator=generator, dtype=dtype)


def full(
    hidden_ND: torch.Tensor, head_VD: torch.Tensor, target_N: torch.Tensor, temperature: float
) -> tuple[torch.Tensor, torch.Tensor]:
    logp_NV = torch.log_softmax(hidden_ND @ head_VD.T / temperature, dim=1)
    return logp_NV.gather(1, target_N[:, None])[:, 0], -(logp_NV.exp() * logp_NV).sum(dim=1)


@pytest.mark.parametrize("temperature", [1.0, 0.6])
@pytest.mark.parametrize("chunk", [1, 7, None])
def test_values_and_gradients_are_those_of_the_full_softmax(chunk: int | None, temperature: float) -> None:
    hidden_ND, head_VD, target_N, weight_N = inputs(torch.float64)
    logp_N, entropy_N = token_logprobs(hidden_ND, head_VD, target_N, temperature=temperature, chunk=chunk)
    expected_N, expected_entropy_N = full(hidden_ND, head_VD, target_N, temperature)
    assert torch.allclose(logp_N, expected_N, rtol=1e-12)
    assert torch.allclose(entropy_N, expected_entropy_N, rtol=1e-12)
    gradients = torch.autograd.grad((weight_N * logp_N).sum(), (hidden_ND, head_VD))
    expected = torch.autograd.grad((weight_N * expected_N).sum(), (hidden_ND, head_VD))
    assert all(torch.allclose(ours, theirs, rtol=1e-10) for ours, theirs in zip(gradients, expected, strict=True))


def test_gradcheck() -> None:
    hidden_ND, head_VD, target_N, _ = inputs(torch.float64)
    hidden_ND, target_N = hidden_ND.detach()[:5].requires_grad_(), target_N[:5]

    def logp(hidden: torch.Tensor, head: torch.Tensor) -> torch.Tensor:
        return token_logprobs(hidden, head, target_N, temperature=0.8, chunk=2)[0]

    assert torch.autograd.gradcheck(logp, (hidden_ND, head_VD))


def test_large_logits_stay_finite_in_fp32() -> None:
    hidden_ND, head_VD, target_N, _ = inputs(torch.float32)
    logp_N, entropy_N = token_logprobs(hidden_ND * 100, head_VD, target_N)
    expected_N, _ = full(hidden_ND * 100, head_VD, target_N, 1.0)
    assert torch.allclose(logp_N, expected_N, rtol=1e-5)
    assert torch.isfinite(entropy_N).all()


def test_entropy_carries_no_gradient() -> None:
    hidden_ND, head_VD, target_N, _ = inputs(torch.float32)
    assert not token_logprobs(hidden_ND, head_VD, target_N)[1].requires_grad


def test_under_autocast_products_are_bf16_and_the_rest_fp32() -> None:
    hidden_ND, head_VD, target_N, weight_N = inputs(torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logp_N, _ = token_logprobs(hidden_ND, head_VD, target_N)
        linear_NV = torch.nn.functional.linear(hidden_ND, head_VD).float()
    expected_N = torch.log_softmax(linear_NV, dim=1).gather(1, target_N[:, None])[:, 0]
    assert logp_N.dtype is torch.float32
    assert torch.allclose(logp_N, expected_N, atol=1e-6)
    (weight_N * logp_N).sum().backward()
    assert head_VD.grad is not None
    assert head_VD.grad.dtype is torch.float32


class Largest(TorchDispatchMode):
    """Notes the most elements that any operation gave back."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for one in result if isinstance(result, tuple | list) else (result,):
            if isinstance(one, torch.Tensor):
                self.elements = max(self.elements, one.numel())
        return result


def test_no_array_of_tokens_by_vocabulary_in_forward_or_backward() -> None:
    tokens, vocabulary, chunk = 1000, 500, 20
    hidden_ND = torch.randn(tokens, 4, requires_grad=True)
    head_VD = torch.randn(vocabulary, 4, requires_grad=True)
    with Largest() as largest:
        token_logprobs(hidden_ND, head_VD, torch.zeros(tokens, dtype=torch.long), chunk=chunk)[0].sum().backward()
    assert largest.elements == chunk * vocabulary
