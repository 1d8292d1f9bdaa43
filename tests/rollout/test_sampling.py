"""Sampled tokens against their distribution in float64."""

from __future__ import annotations

import shutil

import pytest
import torch

from thinkery.rollout.native.kernels import COMPILERS, kernels
from thinkery.rollout.sampling import sample, uniforms
from thinkery.types import Sampling


def truncated(logits_V: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """The target distribution, token by token, in float64."""
    probs = (logits_V.double() / sampling.temperature).softmax(-1)
    order = probs.argsort(descending=True).tolist()
    kept = order[: sampling.top_k] if sampling.top_k else order
    total, mass, nucleus = sum(float(probs[token]) for token in kept), 0.0, []
    for token in kept:
        if mass >= sampling.top_p * total:
            break
        nucleus.append(token)
        mass += float(probs[token])
    target = torch.zeros_like(probs)
    target[nucleus] = probs[nucleus]
    return target / target.sum()


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(),
        Sampling(temperature=0.6),
        Sampling(temperature=1.5, top_k=7),
        Sampling(top_p=0.8),
        Sampling(top_k=20, top_p=0.5),
        Sampling(temperature=0.6, top_p=0.95, top_k=1000),
    ],
)
@pytest.mark.parametrize(("vocabulary", "spread"), [(40, 2.0), (300, 0.3)])  # the second has a wide nucleus
def test_distribution(sampling: Sampling, vocabulary: int, spread: float) -> None:
    draws = 60_000
    logits_V = spread * torch.randn(vocabulary, generator=torch.Generator().manual_seed(5))
    target_V = truncated(logits_V, sampling)
    u_S = uniforms(torch.tensor(11), torch.arange(draws))
    tokens_S, logprobs_S = (
        torch.cat(parts)
        for parts in zip(*(sample(logits_V.expand(len(u), -1), u, sampling) for u in u_S.split(10_000)), strict=True)
    )
    counts_V = tokens_S.bincount(minlength=vocabulary)
    assert counts_V[target_V == 0].sum() == 0
    expected = draws * target_V[target_V > 0]
    freedom = len(expected) - 1
    chi_square = ((counts_V[target_V > 0] - expected) ** 2 / expected).sum()
    assert chi_square <= freedom + 5 * (2 * freedom) ** 0.5
    want = (logits_V.double() / sampling.temperature).log_softmax(-1)[tokens_S]  # before truncation
    torch.testing.assert_close(logprobs_S.double(), want, atol=1e-5, rtol=0)


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(top_k=2), Sampling(top_p=0.9)])
def test_the_ends_of_the_unit_interval_never_give_an_impossible_token(sampling: Sampling) -> None:
    minus = -torch.inf
    logits_SV = torch.tensor([[minus, 0.0, 1.0, minus, 2.0, minus], [minus, minus, minus, 0.3, minus, minus]])
    for u in (0.0, 1 - 2.0**-53, 0.5):
        tokens_S, logprobs_S = sample(logits_SV, torch.full((2,), u, dtype=torch.float64), sampling)
        assert tokens_S[0] in (1, 2, 4)
        assert tokens_S[1] == 3
        assert logprobs_S.isfinite().all()


def test_greedy_reports_the_logprob_at_temperature_one() -> None:
    logits_SV = torch.randn(5, 30, generator=torch.Generator().manual_seed(0))
    tokens_S, logprobs_S = sample(logits_SV, torch.zeros(5, dtype=torch.float64), Sampling(temperature=0))
    assert tokens_S.tolist() == logits_SV.argmax(-1).tolist()
    torch.testing.assert_close(logprobs_S, logits_SV.log_softmax(-1).amax(-1))


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("vocabulary", [1, 40, 64, 2049])
def test_draws_invert_the_distribution(
    monkeypatch: pytest.MonkeyPatch, compiled: bool, temperature: float, dtype: torch.dtype, vocabulary: int
) -> None:
    logits_SV = (3 * torch.randn(2000, vocabulary + 7, generator=torch.Generator().manual_seed(1))).to(dtype)
    logits_SV[:, ::5] = -torch.inf
    logits_SV = logits_SV[:, 7:]  # rows of a wider matrix, of which some are cut off
    logits_SV[:, 0] = 0
    u_S = uniforms(torch.tensor(3), torch.arange(2000))
    if compiled and not any(map(shutil.which, COMPILERS)):
        pytest.skip("no C++ compiler on this machine")
    assert not compiled or kernels(dtype) is not None
    if not compiled:
        monkeypatch.setattr("thinkery.rollout.sampling.kernels", lambda dtype: None)
    tokens_S, logprobs_S = sample(logits_SV, u_S, Sampling(temperature=temperature))
    want_SV = (logits_SV.double() / temperature).log_softmax(-1)
    probability_S = want_SV.exp().gather(1, tokens_S[:, None])[:, 0]
    above_S = want_SV.exp().cumsum(-1).gather(1, tokens_S[:, None])[:, 0]
    assert (probability_S > 0).all()
    assert (u_S < above_S + 1e-6).all()
    assert (u_S > above_S - probability_S - 1e-6).all()
    torch.testing.assert_close(logprobs_S.double(), probability_S.log(), atol=1e-5, rtol=0)
