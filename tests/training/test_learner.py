"""The learner on a tiny real model: its loss and gradient against a plain float64 reference, and its promises."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from thinkery.models.attention import CausalLayout, hidden_states
from thinkery.models.loading import Policy
from thinkery.training.backend import LocalBackend
from thinkery.training.learner import Learner, LearnerConfig, Sample
from thinkery.training.packing import split_microbatches
from thinkery.types import UserError

pytestmark = pytest.mark.slow

MakePolicy = Callable[..., Policy]
MakeSamples = Callable[..., list[Sample]]
Tensors = dict[str, torch.Tensor]
TEMPERATURE, MAX_LENGTH = 0.9, 20


def settings(**changes: Any) -> LearnerConfig:
    fields = {"learning_rate": 1e-3, "temperature": TEMPERATURE, "max_completion_length": MAX_LENGTH}
    return LearnerConfig(**(fields | {"max_grad_norm": 1e9, "total_steps": 10} | changes))


def weights(policy: Policy) -> Tensors:
    return {name: parameter.detach().clone() for name, parameter in policy.model.named_parameters()}


def same(left: Tensors, right: Tensors) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def watched_update(learner: Learner, samples: list[Sample]) -> tuple[dict[str, float], Tensors, Tensors]:
    """An update's metrics, and the gradient and the weights of its last optimizer step (before it)."""
    gradients: Tensors = {}
    before: Tensors = {}

    def watch(name: str) -> Callable[[torch.Tensor], None]:
        def keep(parameter: torch.Tensor) -> None:
            assert parameter.grad is not None
            gradients[name], before[name] = parameter.grad.clone(), parameter.detach().clone()

        return keep

    named = list(learner.policy.model.named_parameters())
    handles = [parameter.register_post_accumulate_grad_hook(watch(name)) for name, parameter in named]
    metrics = learner.update(samples, 0)
    for handle in handles:
        handle.remove()
    return metrics, gradients, before


def sequence_logps(policy: Policy, sample: Sample) -> torch.Tensor:
    """Log-probabilities of one completion: a forward of its own and the full softmax."""
    ids = torch.tensor([sample.prompt_ids + sample.token_ids])
    hidden_TD = hidden_states(policy.model, ids, None, CausalLayout())[0]
    logits_TV = (policy.model.lm_head(hidden_TD) / TEMPERATURE)[:, : policy.valid_vocab]
    logp_TV = torch.log_softmax(logits_TV, dim=-1)
    return logp_TV[len(sample.prompt_ids) - 1 : -1].gather(1, torch.tensor(sample.token_ids)[:, None])[:, 0]


def reference_loss(policy: Policy, start: Policy, samples: list[Sample], config: LearnerConfig) -> torch.Tensor:
    """GRPO sequence by sequence and token by token; old policy and reference are ``start``."""
    high = config.epsilon if config.epsilon_high is None else config.epsilon_high
    cap, mode = config.importance_sampling_cap, config.importance_sampling_correction
    per_sequence = []
    for sample in samples:
        with torch.no_grad():
            old_T = sequence_logps(start, sample)
        losses = []
        for token, logp in enumerate(sequence_logps(policy, sample)):
            ratio, advantage = (logp - old_T[token]).exp(), sample.advantages[token]
            objective = torch.minimum(ratio * advantage, ratio.clamp(1 - config.epsilon, 1 + high) * advantage)
            if config.delta is not None and advantage < 0:
                objective = objective.clamp(min=config.delta * advantage)
            weight = math.exp(old_T[token].item() - sample.rollout_logprobs[token])
            masked = weight if 1 / cap <= weight <= cap else 0.0
            objective = objective * {"none": 1.0, "truncate": min(weight, cap), "mask": masked}[mode]
            log_ratio = old_T[token] - logp
            kl = {"k1": -log_ratio, "k2": log_ratio**2 / 2, "k3": log_ratio.exp() - 1 - log_ratio}
            losses.append(-objective + config.beta * kl[config.kl_estimator])
        per_sequence.append(torch.stack(losses))
    if config.loss_type == "grpo":
        return torch.stack([losses.mean() for losses in per_sequence]).mean()
    total = torch.cat(per_sequence).sum()
    return total / (sum(map(len, per_sequence)) if config.loss_type == "dapo" else len(samples) * MAX_LENGTH)


VARIANTS: list[dict[str, Any]] = [
    {"loss_type": "grpo", "beta": 0.5, "kl_estimator": "k3", "importance_sampling_correction": "truncate"},
    {"loss_type": "dapo", "beta": 0.5, "kl_estimator": "k1", "importance_sampling_correction": "mask"},
    {"loss_type": "dr_grpo", "beta": 0.5, "kl_estimator": "k2"},
    {"loss_type": "dapo", "epsilon": 0.1, "epsilon_high": 0.15, "delta": 1.2},
]


def by_token(samples: list[Sample]) -> list[Sample]:
    """The samples with another advantage for each token, some of them without any."""
    return [
        replace(sample, advantage=tuple(sample.advantages[0] * (t % 3 - 1) for t in range(len(sample.token_ids))))
        for sample in samples
    ]


@pytest.mark.parametrize("of_tokens", [False, True], ids=["one advantage", "one a token"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_loss_and_gradient_agree_with_a_float64_reference(
    make_policy: MakePolicy, make_samples: MakeSamples, variant: dict[str, Any], of_tokens: bool
) -> None:
    samples = by_token(make_samples()) if of_tokens else make_samples()
    config = settings(**variant, num_iterations=2, microbatch_tokens=90, learning_rate=0.02)
    learner = Learner(make_policy(dtype=torch.float64), config)
    metrics, gradients, before = watched_update(learner, samples)
    assert metrics["ratio/max"] > 1.3  # the second pass is far from the first

    start, middle = make_policy(dtype=torch.float64), make_policy(dtype=torch.float64)
    middle.model.load_state_dict(before, strict=False)
    first, second = (reference_loss(policy, start, samples, config) for policy in (start, middle))
    second.backward()
    assert metrics["loss"] == pytest.approx((first.item() + second.item()) / 2, rel=1e-6)
    for name, parameter in middle.model.named_parameters():
        assert parameter.grad is not None
        assert (gradients[name] - parameter.grad).norm() <= 1e-6 * parameter.grad.norm(), name


@pytest.mark.parametrize("loss_type", ["grpo", "dapo", "dr_grpo"])
def test_loss_and_gradient_do_not_depend_on_the_cut(
    make_policy: MakePolicy, make_samples: MakeSamples, loss_type: str
) -> None:
    samples = make_samples()
    budgets = {len(split_microbatches(samples, range(16), budget)): budget for budget in range(30, 400)}
    results = []
    for count in (1, 3, 8):
        config = settings(loss_type=loss_type, beta=0.1, microbatch_tokens=budgets[count])
        results.append(watched_update(Learner(make_policy(), config), samples))
    (whole, whole_gradients, _), *cut = results
    for metrics, gradients, _ in cut:
        assert metrics["loss"] == pytest.approx(whole["loss"], rel=1e-6)
        for name, gradient in gradients.items():
            assert (gradient - whole_gradients[name]).norm() <= 1e-6 * gradient.norm(), name


def test_lanes_change_no_more_than_the_rounding(make_policy: MakePolicy, make_samples: MakeSamples) -> None:
    samples, results = make_samples(), []
    config = settings(beta=0.1, num_minibatches=2, num_iterations=2, microbatch_tokens=90)
    for workers in (1, 3, 3):
        policy = make_policy(dtype=torch.float64)
        learner = Learner(policy, config, backend=LocalBackend(policy, workers))
        metrics = [learner.update(samples, step) for step in range(2)]
        results.append((metrics, weights(learner.policy)))
    (one, one_weights), (three, three_weights), again = results
    assert again[0] == three
    assert same(again[1], three_weights)
    for left, right in zip(one, three, strict=True):
        assert right == pytest.approx(left, rel=1e-6)
    for name, weight in one_weights.items():  # AdamW makes steps of gradients that are nothing but rounding, too
        assert (weight - three_weights[name]).norm() <= 1e-5 * weight.norm(), name


@pytest.mark.parametrize("compute_dtype", [torch.float32, torch.bfloat16])
def test_the_first_update_has_ratio_one_and_no_divergence(
    make_policy: MakePolicy, make_samples: MakeSamples, compute_dtype: torch.dtype
) -> None:
    learner = Learner(make_policy(compute_dtype=compute_dtype), settings(beta=0.1, microbatch_tokens=60))
    metrics = learner.update(make_samples(), 0)
    assert metrics["kl"] == 0.0
    assert metrics["ratio/max"] == 1.0
    assert metrics["clip_ratio/low"] == metrics["clip_ratio/high"] == 0.0
    assert learner.update(make_samples(), 1)["kl"] > 0.0


def test_the_reference_is_replaced_every_so_many_steps(make_policy: MakePolicy, make_samples: MakeSamples) -> None:
    learner = Learner(make_policy(), settings(beta=0.1, reference_refresh_steps=3))
    divergences = [learner.update(make_samples(), step)["kl"] for step in range(7)]
    assert [kl == 0.0 for kl in divergences] == [True, False, False, True, False, False, True]


def test_later_minibatches_are_off_policy(make_policy: MakePolicy, make_samples: MakeSamples) -> None:
    learner = Learner(make_policy(), settings(num_minibatches=2))
    metrics = learner.update(make_samples(num_prompts=6), 0)
    assert metrics["ratio/max"] > 1.0
    assert learner.policy.version == 1


def test_mismatch_and_entropy_are_means_over_the_trained_tokens(
    make_policy: MakePolicy, make_samples: MakeSamples
) -> None:
    policy, samples = make_policy(), make_samples()
    trained = [sample for sample in samples if sample.teaches]
    with torch.no_grad():
        gaps = torch.cat([sequence_logps(policy, s) - torch.tensor(s.rollout_logprobs) for s in trained])
    metrics = Learner(policy, settings()).update(samples, 0)
    assert metrics["mismatch_abs"] == pytest.approx(gaps.abs().mean().item(), rel=1e-5)
    assert metrics["mismatch_kl"] == pytest.approx((gaps.exp() - 1 - gaps).mean().item(), rel=1e-5)
    assert metrics["tokens_trained"] == len(gaps)
    assert 0.0 < metrics["entropy"] < math.log(policy.valid_vocab)


def test_good_completions_become_likelier_and_bad_ones_less_likely(
    make_policy: MakePolicy, make_samples: MakeSamples
) -> None:
    policy, samples = make_policy(), make_samples()

    def gain() -> float:
        with torch.no_grad():
            return sum(s.advantages[0] * sequence_logps(policy, s).sum().item() for s in samples)

    learner, before = Learner(policy, settings(learning_rate=3e-3)), gain()
    for step in range(5):
        learner.update(samples, step)
    assert gain() > before + 10.0


def test_without_advantage_nothing_moves(make_policy: MakePolicy, make_samples: MakeSamples) -> None:
    policy = make_policy()
    before = weights(policy)
    metrics = Learner(policy, settings()).update([replace(s, advantage=0.0) for s in make_samples()], 0)
    assert same(weights(policy), before)
    assert metrics == {"tokens_trained": 0.0, "learning_rate": 1e-3}


def test_a_loss_that_is_not_finite_stops_before_the_weights_change(
    make_policy: MakePolicy, make_samples: MakeSamples
) -> None:
    policy, samples = make_policy(), make_samples()
    before = weights(policy)
    samples[9] = replace(samples[9], advantage=math.nan)
    with pytest.raises(UserError, match=r"step 7: the loss is nan, first in sample 9\."):
        Learner(policy, settings(microbatch_tokens=60)).update(samples, 7)
    assert same(weights(policy), before)
    assert all(parameter.grad is None for parameter in policy.model.parameters())


def test_a_gradient_that_is_not_finite_stops_before_the_weights_change(
    make_policy: MakePolicy, make_samples: MakeSamples
) -> None:
    policy = make_policy()
    before = weights(policy)
    name = "model.layers.1.mlp.up_proj.weight"
    policy.model.get_parameter(name).register_hook(lambda gradient: gradient * math.inf)
    with pytest.raises(UserError, match=f"step 7: the gradient norm is .*, first in {name}\\."):
        Learner(policy, settings()).update(make_samples(), 7)
    assert same(weights(policy), before)
    assert all(parameter.grad is None for parameter in policy.model.parameters())


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_loaded_learner_goes_on_bit_for_bit(
    make_policy: MakePolicy, make_samples: MakeSamples, tmp_path: Path, optimizer: str
) -> None:
    samples = make_samples()
    config = settings(
        optimizer=optimizer,
        beta=0.1,
        reference_refresh_steps=2,
        num_minibatches=2,
        lr_scheduler_type="cosine",
        warmup_steps=2,
    )
    whole = Learner(make_policy(compute_dtype=torch.bfloat16), config)
    expected = [whole.update(samples, step) for step in range(5)]
    first = Learner(make_policy(compute_dtype=torch.bfloat16), config)
    actual = [first.update(samples, step) for step in range(3)]
    first.save(tmp_path / "learner")
    second = Learner(make_policy(compute_dtype=torch.bfloat16), config)
    second.load(tmp_path / "learner")
    assert second.policy.version == 3
    actual += [second.update(samples, step) for step in range(3, 5)]
    assert actual == expected
    assert same(weights(second.policy), weights(whole.policy))


def test_loading_needs_a_learner_of_the_same_model(make_policy: MakePolicy, tmp_path: Path) -> None:
    learner = Learner(make_policy(), settings())
    with pytest.raises(UserError, match="holds no learner"):
        learner.load(tmp_path)
    learner.save(tmp_path / "learner")
    with pytest.raises(UserError, match="saved without a reference"):
        Learner(make_policy(), settings(beta=0.1)).load(tmp_path / "learner")
    other = make_policy()
    del other.model.model.layers[1]
    with pytest.raises(UserError, match="another model's weights"):
        Learner(other, settings()).load(tmp_path / "learner")


def test_equal_advantages_of_all_tokens_are_one_advantage(make_policy: MakePolicy, make_samples: MakeSamples) -> None:
    samples = make_samples()
    results = [watched_update(Learner(make_policy(), settings()), samples)]
    spread = [replace(sample, advantage=sample.advantages) for sample in samples]
    results.append(watched_update(Learner(make_policy(), settings()), spread))
    assert results[0][0] == results[1][0]
    assert same(results[0][1], results[1][1])


def test_a_sample_has_one_advantage_or_one_for_each_token() -> None:
    assert Sample((1,), (2, 3), (-0.5, -0.5), 1.5).advantages == (1.5, 1.5)
    assert not Sample((1,), (2, 3), (-0.5, -0.5), (0.0, 0.0)).teaches
    with pytest.raises(ValueError, match="one advantage, or one per completion token"):
        Sample((1,), (2, 3), (-0.5, -0.5), (1.0,))


def test_a_sample_needs_a_logprob_for_each_token() -> None:
    with pytest.raises(ValueError, match="one log-probability per completion token"):
        Sample((1,), (2, 3), (-0.5,), 1.0)
