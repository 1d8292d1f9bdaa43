"""Every term of the loss against the papers' formulas in float64, written here a second time in plain Python."""

from __future__ import annotations

import itertools
import math
import random

import pytest
import torch

from thinkery.training import losses as grpo

LENGTHS = [3, 1, 6, 4]
GENERATOR = random.Random(5)
NUM_TOKENS = sum(LENGTHS)
LOGP = [-abs(GENERATOR.gauss(1, 1)) for _ in range(NUM_TOKENS)]
OLD = [logp + GENERATOR.gauss(0, 0.6) for logp in LOGP]
ROLLOUT = [logp + GENERATOR.gauss(0, 0.5) for logp in OLD]
REFERENCE = [logp + GENERATOR.gauss(0, 0.5) for logp in LOGP]
ADVANTAGES = [1.3, -0.7, -2.1, 0.4]


def reference_objective(ratio: float, advantage: float, low: float, high: float, delta: float | None) -> float:
    objective = min(ratio * advantage, min(max(ratio, 1 - low), 1 + high) * advantage)
    return max(objective, delta * advantage) if delta is not None and advantage < 0 else objective


def reference_kl(logp: float, reference: float, estimator: str) -> float:
    ratio = math.exp(reference) / math.exp(logp)
    return {"k1": -math.log(ratio), "k2": math.log(ratio) ** 2 / 2, "k3": ratio - 1 - math.log(ratio)}[estimator]


def reference_correction(old: float, rollout: float, mode: str, cap: float) -> float:
    weight = math.exp(old) / math.exp(rollout)
    return {"none": 1.0, "truncate": min(weight, cap), "mask": weight if 1 / cap <= weight <= cap else 0.0}[mode]


def reference_loss(
    logps: list[float], *, loss_type: str, estimator: str, mode: str, delta: float | None, beta: float = 0.07
) -> float:
    per_sequence: list[list[float]] = []
    token = 0
    for length, advantage in zip(LENGTHS, ADVANTAGES, strict=True):
        per_sequence.append([])
        for _ in range(length):
            logp, old = logps[token], OLD[token]
            objective = reference_objective(math.exp(logp - old), advantage, 0.2, 0.28, delta)
            objective *= reference_correction(old, ROLLOUT[token], mode, 1.7)
            per_sequence[-1].append(-objective + beta * reference_kl(logp, REFERENCE[token], estimator))
            token += 1
    if loss_type == "grpo":
        return sum(sum(losses) / len(losses) for losses in per_sequence) / len(LENGTHS)
    total = sum(itertools.chain(*per_sequence))
    return total / NUM_TOKENS if loss_type == "dapo" else total / (len(LENGTHS) * 20)


def ours(
    logp_N: torch.Tensor, *, loss_type: str, estimator: str, mode: str, delta: float | None, beta: float = 0.07
) -> torch.Tensor:
    def tensor(values: list[float]) -> torch.Tensor:
        return torch.tensor(values, dtype=logp_N.dtype)

    lengths_S = torch.tensor(LENGTHS)
    ratio_N = grpo.importance_ratio(logp_N, tensor(OLD))
    advantage_N = tensor(ADVANTAGES).repeat_interleave(lengths_S)
    loss_N = grpo.clipped_surrogate(ratio_N, advantage_N, epsilon=0.2, epsilon_high=0.28, delta=delta)
    loss_N = loss_N * grpo.importance_correction(tensor(OLD), tensor(ROLLOUT), mode, 1.7)
    loss_N = loss_N + beta * grpo.kl_penalty(logp_N, tensor(REFERENCE), estimator)
    weight_N = grpo.token_weights(
        lengths_S,
        loss_type,
        num_sequences=len(LENGTHS),
        num_tokens=NUM_TOKENS,
        max_completion_length=20,
    )
    return (weight_N * loss_N).sum()


VARIANTS = [
    {"loss_type": loss_type, "estimator": estimator, "mode": mode, "delta": delta}
    for loss_type in ("grpo", "dapo", "dr_grpo")
    for estimator in ("k1", "k2", "k3")
    for mode in ("none", "truncate", "mask")
    for delta in (None, 1.4)
]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_loss_and_gradient_agree_with_the_formulas(dtype: torch.dtype) -> None:
    for variant in VARIANTS:
        logp_N = torch.tensor(LOGP, dtype=dtype, requires_grad=True)
        loss = ours(logp_N, **variant)
        loss.backward()
        expected = reference_loss(LOGP, **variant)
        tolerance = {torch.float64: 1e-6, torch.float32: 1e-5}[dtype]  # float32 rounds the inputs themselves
        assert loss.item() == pytest.approx(expected, rel=tolerance), variant
        assert logp_N.grad is not None
        for token in range(NUM_TOKENS):
            step = 1e-5  # central differences of the reference: error about step^2
            up, down = ([*LOGP[:token], LOGP[token] + sign * step, *LOGP[token + 1 :]] for sign in (1, -1))
            slope = (reference_loss(up, **variant) - reference_loss(down, **variant)) / (2 * step)
            assert logp_N.grad[token].item() == pytest.approx(slope, rel=tolerance, abs=1e-8), variant


def test_dual_clip_stops_the_gradient_of_large_ratios_on_negative_advantages_only() -> None:
    logp_N = torch.tensor([2.0, 2.0, 0.1], requires_grad=True)  # ratios 7.4, 7.4, 1.1
    advantage_N = torch.tensor([-1.0, 1.0, -1.0])
    grpo.clipped_surrogate(logp_N.exp(), advantage_N, epsilon=0.2, epsilon_high=10.0, delta=12.0).sum().backward()
    assert logp_N.grad is not None
    assert logp_N.grad.tolist() == pytest.approx([math.exp(2), -math.exp(2), math.exp(0.1)])
    logp_N.grad = None
    surrogate_N = grpo.clipped_surrogate(logp_N.exp(), advantage_N, epsilon=0.2, epsilon_high=0.3, delta=3.0)
    assert surrogate_N.tolist() == pytest.approx([3.0, -1.3, math.exp(0.1)])
    surrogate_N.sum().backward()
    assert logp_N.grad is not None
    assert logp_N.grad.tolist() == pytest.approx([0.0, 0.0, math.exp(0.1)])


def test_epsilon_ten_never_clips_from_below() -> None:
    ratio_N = torch.tensor([1e-4, 0.5, 10.9])
    surrogate_N = grpo.clipped_surrogate(ratio_N, -torch.ones(3), epsilon=10.0, epsilon_high=10.0)
    assert torch.equal(surrogate_N, ratio_N)


def test_equal_policies_have_ratio_one_and_no_divergence() -> None:
    logp_N = torch.tensor(LOGP)
    assert torch.equal(grpo.importance_ratio(logp_N, logp_N), torch.ones(NUM_TOKENS))
    for estimator in ("k1", "k2", "k3"):
        assert torch.count_nonzero(grpo.kl_penalty(logp_N, logp_N, estimator)) == 0


def test_k1_and_k3_average_to_the_divergence_and_k2_has_its_gradient() -> None:
    logits = torch.tensor([0.3, -1.0, 0.8, 0.1], dtype=torch.float64, requires_grad=True)
    ref_logp_V = torch.log_softmax(torch.tensor([-0.2, 0.4, 0.5, 0.0], dtype=torch.float64), 0)
    logp_V = torch.log_softmax(logits, 0)
    probs_V = logp_V.exp()
    divergence = (probs_V * (logp_V - ref_logp_V)).sum()
    for estimator in ("k1", "k3"):
        estimate = (probs_V * grpo.kl_penalty(logp_V, ref_logp_V, estimator)).sum()
        assert estimate.item() == pytest.approx(divergence.item(), rel=1e-9)
    (expected,) = torch.autograd.grad(divergence, logits, retain_graph=True)
    (gradient,) = torch.autograd.grad((probs_V.detach() * grpo.kl_penalty(logp_V, ref_logp_V, "k2")).sum(), logits)
    assert torch.allclose(gradient, expected, rtol=1e-9)


def test_the_correction_has_no_gradient() -> None:
    old_N = torch.tensor(OLD, requires_grad=True)
    for mode in ("none", "truncate", "mask"):
        assert not grpo.importance_correction(old_N, torch.tensor(ROLLOUT), mode, 2.0).requires_grad


@pytest.mark.parametrize("loss_type", ["grpo", "dapo", "dr_grpo"])
def test_weights_of_parts_are_parts_of_the_weights(loss_type: str) -> None:
    counts = {"num_sequences": 4, "num_tokens": NUM_TOKENS, "max_completion_length": 20}
    whole = grpo.token_weights(torch.tensor(LENGTHS), loss_type, **counts)
    parts = [grpo.token_weights(torch.tensor([length]), loss_type, **counts) for length in LENGTHS]
    assert torch.equal(whole, torch.cat(parts))
