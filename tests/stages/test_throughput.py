"""What learning is said to cost, against the tokens that really pass through the decoder of a learner."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch

from thinkery.models.flops import Lengths, forward_compute, policy_shape
from thinkery.models.loading import Policy, load_policy, resolve_model
from thinkery.recipe import Recipe, RLStage
from thinkery.report.terminal import PlainView
from thinkery.run import Run
from thinkery.stages.advantage_estimator import learner_config
from thinkery.stages.context import StageContext
from thinkery.stages.step_metrics import LearningWork, lengths_of, pace, work_metrics
from thinkery.training.critic import Critic
from thinkery.training.learner import Learner, Sample

pytestmark = pytest.mark.slow


@pytest.fixture
def policy(tiny_model: Path) -> Policy:
    return load_policy(tiny_model, template=None, dtype="float32")


def stage_of(**settings: Any) -> tuple[RLStage, Recipe]:
    fields = {"name": "zero", "kind": "rl", "from": "base", "problems": {"source": "mini"}, "rewards": {"format": 1}}
    fields |= {"steps": 8, "learning_rate": 1e-4, "num_problems": 6, "microbatch_tokens": 100_000}
    recipe = Recipe.model_validate({"name": "short", "base": "thinkery://mini-base", "stages": [fields | settings]})
    stage = recipe.stages[0]
    assert isinstance(stage, RLStage)
    return stage, recipe


def samples_of(prompts: int = 6, generations: int = 3) -> list[Sample]:
    """Groups of which one taught nothing."""
    rng = random.Random(0)
    samples = []
    for prompt in range(prompts):
        prompt_ids = tuple(rng.randrange(200) for _ in range(4 + prompt))
        for _ in range(generations):
            token_ids = tuple(rng.randrange(200) for _ in range(rng.randint(2, 9)))
            advantage = 0.0 if prompt == 1 else rng.gauss(0, 1)
            samples.append(Sample(prompt_ids, token_ids, (-5.0,) * len(token_ids), advantage))
    return samples


class Passed:
    """Counts the tokens that pass a decoder, and those of its copies."""

    def __init__(self, policy: Policy) -> None:
        self.tokens = 0
        decoder = policy.model.get_submodule(policy.model.base_model_prefix)
        decoder.register_forward_pre_hook(self._count, with_kwargs=True)

    def __deepcopy__(self, memo: dict[int, Any]) -> Passed:
        return self

    def _count(self, module: torch.nn.Module, arguments: Any, named: dict[str, Any]) -> None:
        self.tokens += named["input_ids"].numel()


LEARNERS: dict[str, dict[str, Any]] = {
    "plain": {},
    "reference": {"beta": 0.01},
    "refreshed": {"beta": 0.01, "reference_refresh_steps": 2},
    "minibatches": {"num_minibatches": 3},
    "passes": {"num_iterations": 2, "num_minibatches": 2},
    "everything": {"beta": 0.01, "num_iterations": 2, "num_minibatches": 2, "reference_refresh_steps": 1},
}


@pytest.mark.parametrize("settings", LEARNERS.values(), ids=LEARNERS)
def test_the_tokens_are_those_that_pass_through_policy_and_reference(
    policy: Policy, tmp_path: Path, settings: dict[str, Any]
) -> None:
    stage, recipe = stage_of(**settings)
    passed = Passed(policy)
    learner = Learner(policy, learner_config(stage, 0))
    with Run(tmp_path / "run") as run:
        work = LearningWork(stage, StageContext(recipe, run.stage("zero"), PlainView(), resolve_model), policy)
    samples = samples_of()
    for step in range(4):
        passed.tokens = 0
        learner.update(samples, step)
        counted = work.of(samples, step, learns=True)
        assert sum(part.tokens for part in counted.values()) == passed.tokens


def test_a_critic_is_forwarded_and_learns_beside_the_policy(policy: Policy, tmp_path: Path) -> None:
    stage, recipe = stage_of(advantage_estimator="gae", num_minibatches=2)
    passed = Passed(policy)
    with Run(tmp_path / "run") as run:
        context = StageContext(recipe, run.stage("zero"), PlainView(), resolve_model)
        work = LearningWork(stage, context, policy)
    critic = Critic(policy, learner_config(stage, 0))
    samples = samples_of()
    values = critic.values(samples)
    critic.update(samples, values, 0)
    assert sum(part.tokens for part in work.of(samples, 0, learns=False).values()) == passed.tokens


def test_a_teacher_of_another_shape_is_counted_with_its_own(policy: Policy, tmp_path: Path) -> None:
    stage, recipe = stage_of(teacher="thinkery://mini-base")
    with Run(tmp_path / "run") as run:
        context = StageContext(recipe, run.stage("zero"), PlainView(), resolve_model)
        work = LearningWork(stage, context, policy)
    teacher = policy_shape(load_policy("thinkery://mini-base", template=None, dtype="float32"))
    samples = samples_of()
    assert work.of(samples, 0, learns=False)["reference"] == forward_compute(teacher, lengths_of(samples))


def test_samples_of_one_prompt_are_counted_together() -> None:
    samples = [Sample((1, 2, 3), (4,) * length, (-1.0,) * length, 1.0) for length in (2, 5)]
    samples.append(Sample((1, 2), (4,), (-1.0,), 1.0))
    assert lengths_of(samples) == [Lengths(3, (2, 5)), Lengths(2, (1,))]


def test_metrics_have_the_parts_that_did_something(policy: Policy) -> None:
    done = forward_compute(policy_shape(policy), [Lengths(3, (2, 5))])
    metrics = work_metrics({"update": done, "reference": forward_compute(policy_shape(policy), [])})
    assert metrics == {"tokens/update": 10.0, "flops/update": float(done.flops), "bytes/update": float(done.bytes)}
    assert pace({"rollout": 1.5, "other": 0.5}, 100) == {
        "time/rollout": 1.5,
        "time/other": 0.5,
        "time/step": 2.0,
        "tokens_per_second": 50.0,
    }
