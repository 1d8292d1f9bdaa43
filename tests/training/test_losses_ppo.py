"""PPO's credit assignment against plain loops in float64, and where it must agree with simpler formulas."""

from __future__ import annotations

import random
import statistics

import pytest
import torch

from thinkery.training.losses import explained_variance, gae, value_loss, whitened

LENGTHS = (1, 7, 3, 12)


def episodes() -> tuple[list[float], list[list[float]]]:
    generator = random.Random(0)
    rewards = [generator.choice([0.0, 1.0, 1.25]) for _ in LENGTHS]
    return rewards, [[generator.gauss(0.4, 0.3) for _ in range(length)] for length in LENGTHS]


def loop_gae(reward: float, values: list[float], lam: float) -> list[float]:
    """The sum of discounted temporal differences, as it is written (Schulman et al., eq. 16)."""
    after = [*values[1:], 0.0]
    rewards = [0.0] * (len(values) - 1) + [reward]
    deltas = [r + v_next - v for r, v, v_next in zip(rewards, values, after, strict=True)]
    return [sum(lam**k * delta for k, delta in enumerate(deltas[t:])) for t in range(len(values))]


@pytest.mark.parametrize("lam", [0.0, 0.5, 0.95, 1.0])
def test_advantages_agree_with_the_sum_as_it_is_written(lam: float) -> None:
    rewards, values = episodes()
    advantages = gae(rewards, [torch.tensor(v, dtype=torch.float64) for v in values], lam)
    for actual, reward, value in zip(advantages, rewards, values, strict=True):
        assert actual.tolist() == pytest.approx(loop_gae(reward, value, lam), abs=1e-12)


def test_with_lambda_one_the_advantage_is_the_reward_less_the_value() -> None:
    rewards, values = episodes()
    advantages = gae(rewards, [torch.tensor(v) for v in values], 1.0)
    for actual, reward, value in zip(advantages, rewards, values, strict=True):
        assert actual.tolist() == pytest.approx([reward - v for v in value], abs=1e-6)


def test_with_a_smaller_lambda_the_reward_fades_on_its_way_to_the_first_token() -> None:
    (advantage_T,) = gae([1.0], [torch.zeros(100)], 0.95)
    assert advantage_T[-1].item() == 1.0
    assert advantage_T[0].item() == pytest.approx(0.95**99)


def test_whitened_advantages_have_mean_zero_and_spread_one_over_the_batch() -> None:
    rewards, values = episodes()
    white = whitened(gae(rewards, [torch.tensor(v) for v in values], 0.9))
    assert [len(advantages) for advantages in white] == list(LENGTHS)
    every = [a for advantages in white for a in advantages]
    assert statistics.fmean(every) == pytest.approx(0.0, abs=1e-12)
    assert statistics.stdev(every) == pytest.approx(1.0)


def test_a_batch_without_spread_has_no_advantage() -> None:
    assert whitened([torch.full((3,), 0.7), torch.full((2,), 0.7)]) == [(0.0,) * 3, (0.0,) * 2]
    assert whitened([torch.tensor([2.0])]) == [(0.0,)]
    assert whitened(gae([], [], 1.0)) == []


def test_the_value_loss_draws_values_to_returns_and_never_returns_to_values() -> None:
    values = torch.tensor([0.0, 1.0], requires_grad=True)
    returns = torch.tensor([1.0, -1.0], requires_grad=True)
    loss_N = value_loss(values, returns)
    assert loss_N.tolist() == [0.5, 2.0]
    loss_N.sum().backward()
    assert values.grad is not None
    assert values.grad.tolist() == [-1.0, 2.0]
    assert returns.grad is None


def test_explained_variance_is_one_for_perfect_values_and_zero_for_a_constant() -> None:
    returns = torch.tensor([0.0, 1.0, 0.5, 1.0])
    assert explained_variance(returns, returns) == 1.0
    assert explained_variance(torch.full((4,), 0.3), returns) == pytest.approx(0.0)
    assert explained_variance(-returns, returns) < 0
    assert explained_variance(returns, torch.ones(4)) == 0.0
