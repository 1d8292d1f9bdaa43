"""FailureBudget against float64 references, and the learner: microbatches, resume, refusals."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from thinkery.models.reward_model import Card, RewardModel
from thinkery.training.preference import (
    Example,
    Label,
    Pair,
    PreferenceConfig,
    PreferenceLearner,
    batch_of,
    pairwise_loss,
    pointwise_loss,
)
from thinkery.types import UserError

pytestmark = pytest.mark.slow


def reward_model_of(make_policy: Callable[..., object], objective: str = "pairwise") -> RewardModel:
    policy = make_policy()
    torch.manual_seed(3)
    policy.model.score = torch.nn.Linear(32, 1, bias=False)
    return RewardModel(
        policy.model, policy.tokenizer, policy.template, Card(objective, "summary", "x"), policy.device, torch.float32
    )


def pairs_of(count: int) -> list[Example]:
    """Whichever text holds more of token 5 is chosen."""
    rng = random.Random(0)
    pairs = []
    for _ in range(count):
        texts = [[rng.randrange(6, 37) for _ in range(rng.randint(3, 12))] for _ in range(2)]
        texts[0][rng.randrange(len(texts[0]))] = 5
        pairs.append(Pair(*texts))
    return pairs


def labels_of(count: int) -> list[Example]:
    return [label for pair in pairs_of(count // 2) for label in (Label(pair.chosen, True), Label(pair.rejected, False))]


def test_the_pairwise_loss_is_bradley_terry_in_float64_and_finite_far_out() -> None:
    chosen = torch.tensor([0.3, -2.0, 5.0, 800.0, -800.0], dtype=torch.float64)
    rejected = torch.tensor([0.1, 1.5, 5.0, -800.0, 800.0], dtype=torch.float64)
    losses = pairwise_loss(chosen, rejected).tolist()
    for loss, c, r in zip(losses[:3], chosen.tolist(), rejected.tolist(), strict=False):
        assert loss == pytest.approx(-math.log(math.exp(c) / (math.exp(c) + math.exp(r))), rel=1e-12)
    assert losses[3] == 0.0
    assert losses[4] == pytest.approx(1600.0)


def test_the_pairwise_gradient_is_the_chance_of_being_wrong() -> None:
    chosen = torch.tensor([0.3, -2.0], dtype=torch.float64, requires_grad=True)
    rejected = torch.tensor([0.1, 1.5], dtype=torch.float64, requires_grad=True)
    pairwise_loss(chosen, rejected).sum().backward()
    wrong = [1 / (1 + math.exp(c - r)) for c, r in ((0.3, 0.1), (-2.0, 1.5))]
    assert chosen.grad.tolist() == pytest.approx([-p for p in wrong], rel=1e-12)
    assert rejected.grad.tolist() == pytest.approx(wrong, rel=1e-12)


def test_the_pointwise_loss_is_cross_entropy_in_float64_and_finite_far_out() -> None:
    scores = torch.tensor([0.3, -2.0, 900.0], dtype=torch.float64)
    safe = pointwise_loss(scores, torch.tensor([True, True, True])).tolist()
    unsafe = pointwise_loss(scores, torch.tensor([False, False, False])).tolist()
    for s, yes, no in zip((0.3, -2.0), safe, unsafe, strict=False):
        p = 1 / (1 + math.exp(-s))
        assert yes == pytest.approx(-math.log(p), rel=1e-12)
        assert no == pytest.approx(-math.log(1 - p), rel=1e-12)
    assert (safe[2], unsafe[2]) == (0.0, 900.0)


@pytest.mark.parametrize("examples", [pairs_of(6), labels_of(6)], ids=["pairs", "labels"])
def test_an_update_does_not_depend_on_how_the_batch_is_cut(
    examples: list[Example], make_policy: Callable[..., object]
) -> None:
    results = []
    for budget in (1, 60, 10_000):
        model = reward_model_of(make_policy)
        config = PreferenceConfig(learning_rate=1e-3, total_steps=4, microbatch_tokens=budget)
        learner = PreferenceLearner(model, config)
        metrics = [learner.update(examples, step) for step in range(2)]
        results.append((metrics, {name: p.detach().clone() for name, p in model.model.named_parameters()}))
    for metrics, parameters in results[1:]:
        for now, first in zip(metrics, results[0][0], strict=True):
            assert now == pytest.approx(first, rel=1e-4)
        for name, value in parameters.items():
            assert torch.allclose(value, results[0][1][name], atol=1e-5), name


@pytest.mark.parametrize("examples", [pairs_of(64), labels_of(64)], ids=["pairs", "labels"])
def test_it_learns_what_sets_them_apart(examples: list[Example], make_policy: Callable[..., object]) -> None:
    learner = PreferenceLearner(
        reward_model_of(make_policy), PreferenceConfig(learning_rate=3e-3, total_steps=40, lr_scheduler_type="constant")
    )
    metrics = [learner.update(examples, step) for step in range(40)]
    assert metrics[-1]["accuracy"] > 0.95
    assert metrics[-1]["loss"] < 0.3 * metrics[0]["loss"]


def test_a_learner_that_was_loaded_goes_on_bit_for_bit(make_policy: Callable[..., object], tmp_path: Path) -> None:
    examples, config = pairs_of(8), PreferenceConfig(learning_rate=1e-3, total_steps=6)
    whole = PreferenceLearner(reward_model_of(make_policy), config)
    for step in range(3):
        whole.update(examples, step)
    whole.save(tmp_path)
    resumed = PreferenceLearner(reward_model_of(make_policy), config)
    resumed.load(tmp_path)
    for step in range(3, 6):
        assert whole.update(examples, step) == resumed.update(examples, step)


def test_the_rate_falls_by_a_cosine_to_a_tenth(make_policy: Callable[..., object]) -> None:
    config = PreferenceConfig(learning_rate=1e-3, total_steps=10)
    learner = PreferenceLearner(reward_model_of(make_policy), config)
    rates = [learner.update(pairs_of(1), step)["learning_rate"] for step in range(10)]
    expected = [1e-3 * (0.1 + 0.45 * (1 + math.cos(math.pi * step / 10))) for step in range(10)]
    assert rates == pytest.approx(expected)


def test_a_loss_that_is_not_finite_is_refused_and_changes_nothing(make_policy: Callable[..., object]) -> None:
    model = reward_model_of(make_policy)
    with torch.no_grad():
        model.model.score.weight[0, 0] = math.nan
    before = {name: p.detach().clone() for name, p in model.model.named_parameters()}
    learner = PreferenceLearner(model, PreferenceConfig(learning_rate=1e-3, total_steps=1))
    with pytest.raises(UserError, match="step 0: the loss is nan"):
        learner.update(pairs_of(2), 0)
    assert all(torch.equal(p, before[n]) or n == "score.weight" for n, p in model.model.named_parameters())
    assert all(p.grad is None for p in model.model.parameters())


def test_an_epoch_shows_every_example_once_in_an_order_of_its_own() -> None:
    epochs = [
        [i for step in range(4) for i in batch_of(10, 3, 4 * epoch + step, seed=0, stage="rm")] for epoch in range(2)
    ]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert epochs[0] != epochs[1]
    assert batch_of(10, 3, 1, seed=0, stage="rm") == epochs[0][3:6]
    assert batch_of(10, 10, 0, seed=1, stage="rm") != batch_of(10, 10, 0, seed=0, stage="rm")
