"""Losses and advantages of the user's: a copy of ours does what ours does, and a mistake is said in words at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from thinkery.models.loading import Policy
from thinkery.training.custom import load_advantages, load_loss
from thinkery.training.learner import Learner, LearnerConfig, Sample
from thinkery.types import UserError

GRPO = """
import torch

def grpo(logp_N, old_logp_N, advantage_N, lengths_S, num_sequences, epsilon, epsilon_high, delta=None):
    ratio_N = torch.exp(logp_N - old_logp_N)
    clipped_N = torch.clamp(ratio_N, 1.0 - epsilon, 1.0 + epsilon_high)
    objective_N = torch.minimum(ratio_N * advantage_N, clipped_N * advantage_N)
    weight_N = (1.0 / (num_sequences * lengths_S.to(torch.float32))).repeat_interleave(lengths_S)
    return weight_N * -objective_N

def likelihood(logp_N, num_tokens):
    return -logp_N / num_tokens

def needs_more(logp_N, answers):
    return logp_N

def a_sum(logp_N, advantage_N):
    return (logp_N * advantage_N).sum()

def detached(logp_N, advantage_N):
    return logp_N.detach() * advantage_N

def raises(logp_N):
    return logp_N @ torch.ones(3)
"""
ADVANTAGES = """
def leave_one_out(totals_PG):
    return [[r - (sum(own) - r) / (len(own) - 1) for r in own] for own in totals_PG]

def by_token(totals_PG, lengths_PG):
    return [[[r / n] * n for r, n in zip(own, ns)] for own, ns in zip(totals_PG, lengths_PG)]

def too_few(totals_PG):
    return [own[1:] for own in totals_PG]

def nothing(totals_PG):
    return None
"""


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my_losses.py").write_text(GRPO)
    Path("my_advantages.py").write_text(ADVANTAGES)


def config(loss_type: str, **changes: object) -> LearnerConfig:
    return replace(LearnerConfig(learning_rate=1e-2, loss_type=loss_type, num_minibatches=2), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("named", ["my_losses.py:grpo", "my_losses:grpo"])
def test_a_user_s_copy_of_grpo_s_loss_gives_its_updates_bit_for_bit(
    make_policy: Callable[..., Policy], make_samples: Callable[..., list[Sample]], named: str
) -> None:
    weights = []
    for loss_type in ("grpo", named):
        policy = make_policy()
        learner = Learner(policy, config(loss_type))
        for step in range(2):
            learner.update(make_samples(), step)
        weights.append({name: value.detach().clone() for name, value in policy.model.named_parameters()})
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_loss_that_learns_without_advantage_sees_every_sample(
    make_policy: Callable[..., Policy], make_samples: Callable[..., list[Sample]]
) -> None:
    samples = [replace(sample, advantage=0.0) for sample in make_samples()]
    seen = [
        Learner(make_policy(), config(loss_type)).update(samples, 0)["tokens_trained"]
        for loss_type in ("my_losses.py:grpo", "my_losses.py:likelihood")
    ]
    assert seen == [0.0, sum(len(sample.token_ids) for sample in samples)]


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("needs_more", {}, "needs 'answers', which there is not; it can take logp_N, old_logp_N"),
        ("a_sum", {}, r"returned a tensor of shape \[\] for 8 tokens; it must return a tensor with one number a token"),
        ("detached", {}, "returned a loss without gradient; compute it from logp_N"),
        ("raises", {}, r"raised RuntimeError: .*\n  at my_losses.py, line \d+: return logp_N @ torch.ones\(3\)"),
        ("grpo", {"beta": 0.1}, "takes no beta, so beta = 0.1 would do nothing; add the parameter, or leave beta out"),
        ("grppo", {}, "has no function 'grppo'; did you mean grpo"),
    ],
)
def test_a_loss_that_is_none_is_an_error_in_words(name: str, changes: dict[str, float], said: str) -> None:
    with pytest.raises(UserError, match=said):
        load_loss(config(f"my_losses.py:{name}", **changes))


def test_a_user_s_leave_one_out_is_the_formula() -> None:
    totals_PG = [[0.0, 1.0, 1.5, 0.25], [3.0, 3.0, 3.0, 3.0]]
    found = load_advantages("my_advantages.py:leave_one_out", "group").of(totals_PG, [[1, 2, 3, 4]] * 2)
    totals = torch.tensor(totals_PG, dtype=torch.float64)
    expected = (totals - totals.mean(dim=1, keepdim=True)) * 4 / 3
    torch.testing.assert_close(torch.tensor(found, dtype=torch.float64), expected, rtol=1e-12, atol=1e-12)


def test_an_advantage_may_be_one_number_a_token() -> None:
    found = load_advantages("my_advantages.py:by_token", "group").of([[1.0, 3.0]], [[2, 3]])
    assert found == [[(0.5, 0.5), (1.0, 1.0, 1.0)]]


@pytest.mark.parametrize(
    ("name", "scale", "said"),
    [
        ("too_few", "group", r"returned groups of \[2, 2\] completions for groups of \[3, 3\]"),
        ("nothing", "group", "returned a NoneType; it must return one sequence a group"),
        ("leave_one_out", "none", "takes no scale, so scale_rewards = 'none' would do nothing"),
    ],
)
def test_an_advantage_that_is_none_is_an_error_in_words(name: str, scale: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        load_advantages(f"my_advantages.py:{name}", scale)  # type: ignore[arg-type]
