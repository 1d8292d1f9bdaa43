"""The critic on a tiny real model: its values and gradient against plain float64, and its promises."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from thinkery.models.attention import CausalLayout
from thinkery.models.loading import Policy
from thinkery.training.critic import Critic
from thinkery.training.learner import LearnerConfig, Sample
from thinkery.types import UserError

pytestmark = pytest.mark.slow

MakePolicy = Callable[..., Policy]
MakeSamples = Callable[..., list[Sample]]


def settings(**changes: Any) -> LearnerConfig:
    fields = {"learning_rate": 1e-2, "max_grad_norm": 1e9, "total_steps": 50, "microbatch_tokens": 90}
    return LearnerConfig(**(fields | changes))


def returns_of(samples: list[Sample]) -> list[torch.Tensor]:
    """Something to learn that the tokens tell: whether they are even."""
    return [torch.tensor([float(token % 2) for token in sample.token_ids], dtype=torch.float64) for sample in samples]


def own_values(critic: Critic, sample: Sample) -> torch.Tensor:
    """The values before each completion token: a forward of its own, in the order of the text."""
    model = critic._model
    ids = torch.tensor([sample.prompt_ids + sample.token_ids])
    positions = torch.arange(ids.shape[1])[None]
    output = model.decoder(input_ids=ids, position_ids=positions, use_cache=False, layout=CausalLayout())
    return model.head(output.last_hidden_state[0])[len(sample.prompt_ids) - 1 : -1, 0]


def test_values_start_at_zero_and_the_policy_is_not_touched(make_policy: MakePolicy, make_samples: MakeSamples) -> None:
    policy, samples = make_policy(), make_samples()
    before = {name: p.detach().clone() for name, p in policy.model.named_parameters()}
    critic = Critic(policy, settings())
    assert all(not values_T.any() for values_T in critic.values(samples))
    critic.update(samples, returns_of(samples), 0)
    assert any(values_T.any() for values_T in critic.values(samples))
    assert all(torch.equal(before[name], p) for name, p in policy.model.named_parameters())
    assert all(p.grad is None for p in policy.model.parameters())


def test_values_loss_and_gradient_agree_with_a_float64_loop(make_policy: MakePolicy, make_samples: MakeSamples) -> None:
    samples = make_samples()
    returns = returns_of(samples)
    critic = Critic(make_policy(dtype=torch.float64), settings())
    critic.update(samples, returns, 0)  # away from the start, where only the head has a gradient
    critic._optimizer.zero_grad()
    for actual, sample in zip(critic.values(samples), samples, strict=True):
        assert actual.tolist() == pytest.approx(own_values(critic, sample).tolist(), abs=1e-6)

    losses = [0.5 * (own_values(critic, s) - r) ** 2 for s, r in zip(samples, returns, strict=True)]
    expected = torch.cat(losses).mean()
    expected.backward()
    wanted = {name: p.grad.clone() for name, p in critic._model.named_parameters() if p.grad is not None}
    critic._optimizer.zero_grad()
    seen: dict[str, torch.Tensor] = {}
    for name, parameter in critic._model.named_parameters():
        parameter.register_post_accumulate_grad_hook(lambda p, name=name: seen.update({name: p.grad.clone()}))
    metrics = critic.update(samples, returns, 1)
    assert metrics["value/loss"] == pytest.approx(expected.item(), rel=1e-6)
    assert seen.keys() == wanted.keys()
    assert "decoder.layers.0.self_attn.q_proj.weight" in seen
    for name, gradient in wanted.items():
        assert (seen[name] - gradient).norm() <= 1e-6 * gradient.norm(), name


def test_it_learns_what_the_tokens_tell(make_policy: MakePolicy, make_samples: MakeSamples) -> None:
    samples = make_samples()
    returns = [torch.full((len(s.token_ids),), float(s.prompt_ids[0] % 2)) for s in samples]
    critic = Critic(make_policy(), settings(num_minibatches=2, num_iterations=2))
    losses = [critic.update(samples, returns, step)["value/loss"] for step in range(12)]
    assert losses[-1] < losses[0] / 10


def test_a_loaded_critic_goes_on_bit_for_bit(
    make_policy: MakePolicy, make_samples: MakeSamples, tmp_path: Path
) -> None:
    samples = make_samples()
    config = settings(num_minibatches=2, lr_scheduler_type="linear", warmup_steps=1, learning_rate=1e-3)
    whole, first, second = (Critic(make_policy(compute_dtype=torch.bfloat16), config) for _ in range(3))
    expected = [whole.update(samples, returns_of(samples), step) for step in range(4)]
    actual = [first.update(samples, returns_of(samples), step) for step in range(2)]
    first.save(tmp_path / "critic")
    second.load(tmp_path / "critic")
    actual += [second.update(samples, returns_of(samples), step) for step in range(2, 4)]
    assert actual == expected
    assert all(torch.equal(a, b) for a, b in zip(second.values(samples), whole.values(samples), strict=True))


def test_a_loss_that_is_not_finite_stops_before_the_weights_change(
    make_policy: MakePolicy, make_samples: MakeSamples
) -> None:
    samples = make_samples()
    critic = Critic(make_policy(), settings())
    returns = returns_of(samples)
    returns[5][0] = math.nan
    with pytest.raises(UserError, match=r"step 3: the loss is nan, first in sample 5\. The value model's update"):
        critic.update(samples, returns, 3)
    assert all(not values_T.any() for values_T in critic.values(samples))
