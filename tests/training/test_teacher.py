"""On-policy distillation on tiny real models: the divergence by the full softmax, and the student that it makes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from thinkery.models.attention import CausalLayout, hidden_states
from thinkery.models.loading import Policy
from thinkery.training.learner import Learner, LearnerConfig, Sample
from thinkery.training.teacher import Teacher

pytestmark = pytest.mark.slow

MakePolicy = Callable[..., Policy]
MakeSamples = Callable[..., list[Sample]]
TEMPERATURE = 0.8


def other_policy(make_policy: MakePolicy, dtype: torch.dtype = torch.float32) -> Policy:
    """The same model with other weights."""
    policy = make_policy(dtype=dtype)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in policy.model.parameters():
            if parameter.ndim == 2:
                parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    return policy


def log_probs(policy: Policy, prompt: tuple[int, ...], completion: tuple[int, ...]) -> torch.Tensor:
    """The whole distribution before each completion token [T, V]."""
    ids = torch.tensor([prompt + completion])
    hidden_TD = hidden_states(policy.model, ids, None, CausalLayout())[0][len(prompt) - 1 : -1]
    return torch.log_softmax(policy.model.lm_head(hidden_TD)[:, : policy.valid_vocab] / TEMPERATURE, dim=-1)


def teacher_of(policy: Policy, weight: float = 1.0) -> Teacher:
    return Teacher(policy, weight=weight, temperature=TEMPERATURE, microbatch_tokens=90)


def test_each_token_is_given_its_own_divergence(make_policy: MakePolicy, make_samples: MakeSamples) -> None:
    policy, samples = other_policy(make_policy, torch.float64), make_samples()
    taught, metrics = teacher_of(policy, weight=0.5).add_advantages(samples)
    divergences = []
    with torch.no_grad():
        for sample, got in zip(samples, taught, strict=True):
            rows = log_probs(policy, sample.prompt_ids, sample.token_ids)
            theirs = rows.gather(1, torch.tensor(sample.token_ids)[:, None])[:, 0].tolist()
            kl_T = [ours - one for ours, one in zip(sample.rollout_logprobs, theirs, strict=True)]
            assert got.advantage == pytest.approx([sample.advantage - 0.5 * kl for kl in kl_T], abs=1e-9)
            divergences += kl_T
    assert metrics["teacher_kl"] == pytest.approx(sum(divergences) / len(divergences), abs=1e-9)
    assert all(parameter.grad is None for parameter in policy.model.parameters())


def test_a_student_that_is_its_teacher_has_nothing_to_learn(make_policy: MakePolicy, make_samples: MakeSamples) -> None:
    teacher = teacher_of(make_policy())
    samples = [
        replace(sample, advantage=0.0, rollout_logprobs=tuple(logprobs))
        for sample, logprobs in zip(make_samples(), teacher.logprobs(make_samples()), strict=True)
    ]
    taught, metrics = teacher.add_advantages(samples)
    assert metrics["teacher_kl"] == 0.0
    assert not any(sample.teaches for sample in taught)


def test_a_student_comes_nearer_to_its_teacher_on_its_own_samples(make_policy: MakePolicy) -> None:
    """One token after each of four prompts, so that the whole divergence can be summed exactly."""
    student, teacher = make_policy(), other_policy(make_policy)
    prompts = [(2, 3), (4,), (5, 6, 7), (8, 9)]
    frozen = {name: p.clone() for name, p in teacher.model.named_parameters()}

    def divergence() -> float:
        with torch.no_grad():
            pairs = [(log_probs(student, p, (0,)), log_probs(teacher, p, (0,))) for p in prompts]
            return sum((ours.exp() * (ours - theirs)).sum().item() for ours, theirs in pairs) / len(prompts)

    config = LearnerConfig(learning_rate=3e-3, temperature=TEMPERATURE, total_steps=100)
    learner, guide, generator = Learner(student, config), teacher_of(teacher), torch.Generator().manual_seed(0)
    before = divergence()
    for step in range(25):
        samples = []
        with torch.no_grad():
            for prompt in prompts:
                logp_V = log_probs(student, prompt, (0,))[0]
                drawn = torch.multinomial(logp_V.exp(), 32, replacement=True, generator=generator).tolist()
                samples += [Sample(prompt, (token,), (logp_V[token].item(),), 0.0) for token in drawn]
        taught, _ = guide.add_advantages(samples)
        learner.update(taught, step)
    assert before > 0.5
    assert divergence() < before / 3
    assert all(torch.equal(frozen[name], p) for name, p in teacher.model.named_parameters())
