"""Which tokens get which advantage, from the shipped base: PPO with its critic, and distillation from a teacher."""

from __future__ import annotations

import json
import shutil
import statistics
from pathlib import Path
from typing import Any

import pytest
import torch

from thinkery.models.loading import load_policy, resolve_model, save_policy
from thinkery.pipeline import run_recipe
from thinkery.recipe import Recipe
from thinkery.report.terminal import PlainView
from thinkery.rollout.native.engine import NativeRollout
from thinkery.run import Run
from thinkery.stages.advantage_estimator import make_advantage_estimator, mean_advantages
from thinkery.stages.context import StageContext
from thinkery.types import Group, Outcome, Problem, Sampling, UserError, Verdict

pytestmark = pytest.mark.slow

BASE = "thinkery://mini-base"


def recipe_of(**settings: Any) -> Recipe:
    stage = {
        "name": "zero",
        "kind": "rl",
        "from": "base",
        "problems": {"source": "mini", "domains": {"math": 1}, "levels": [1]},
        "rewards": {"accuracy": 1, "format": 1},
        "steps": 1,
        "num_problems": 4,
        "num_generations": 4,
        "max_completion_length": 40,
        "learning_rate": 3e-4,
        "dtype": "float32",
    }
    return Recipe.model_validate({"name": "short", "base": BASE, "stages": [stage | settings]})


def sampled_groups(recipe: Recipe) -> list[Group]:
    """Groups of real completions with made-up totals."""
    policy = load_policy(BASE, template=None, dtype="float32")
    problems = [Problem(f"p{n}", f"What is {n}+2?", str(n + 2)) for n in range(3)]
    sampling = Sampling(num_generations=4, max_completion_length=40, temperature=0.9)
    completions = list(NativeRollout(policy).generate(problems, sampling, seed=0, step=0, stage="zero"))
    groups = []
    for problem in problems:
        own = sorted((c for c in completions if c.problem_id == problem.id), key=lambda c: c.index)
        groups.append(Group(problem, tuple(own), (Verdict(Outcome.UNCHECKED),) * 4, {}, (0.0, 1.0, 2.0, 1.0)))
    return groups


def metrics_of(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def context_of(recipe: Recipe, folder: Path) -> StageContext:
    return StageContext(recipe, Run(folder).stage("zero"), PlainView(), resolve_model)


def test_ppo_credits_the_token_where_things_turned(tmp_path: Path) -> None:
    """Values start at zero and lambda is 1: every token's advantage is the reward, whitened over all tokens."""
    recipe = recipe_of(preset="ppo", value_learning_rate=1e-3)
    policy, groups = load_policy(BASE, template=None, dtype="float32"), sampled_groups(recipe_of())
    credit = make_advantage_estimator(recipe.stages[0], context_of(recipe, tmp_path), policy)
    samples, metrics = credit.assign(groups, 0)
    totals = [total for group in groups for total in group.totals_G]
    tokens = [total for total, sample in zip(totals, samples, strict=True) for _ in sample.token_ids]
    mean, spread = statistics.fmean(tokens), statistics.stdev(tokens)
    for total, sample in zip(totals, samples, strict=True):
        assert sample.advantage == pytest.approx([(total - mean) / spread] * len(sample.token_ids))
    assert metrics["value/loss"] == pytest.approx(statistics.fmean(total**2 / 2 for total in tokens))
    assert metrics["value/explained_variance"] == 0.0
    later, _ = credit.assign(groups, 1)  # the critic has learnt, and tells tokens apart
    assert all(len(set(sample.advantages)) > 1 for sample in later if len(sample.token_ids) > 1)
    assert [[round(a, 6) for a in row] for row in mean_advantages(samples, groups)] == [
        [round((total - mean) / spread, 6) for total in group.totals_G] for group in groups
    ]


def test_a_ppo_stage_warms_its_critic_up_and_then_learns(tmp_path: Path) -> None:
    recipe = recipe_of(preset="ppo", steps=5, value_warmup_steps=2, value_learning_rate=3e-3)
    run_recipe(recipe, tmp_path / "run", view=PlainView())
    steps = metrics_of(tmp_path / "run")
    assert ["loss" in step for step in steps] == [False, False, True, True, True]
    assert all(step["value/grad_norm"] > 0 for step in steps)
    assert steps[-1]["value/loss"] < steps[0]["value/loss"]


def test_during_the_warm_up_the_policy_stays_as_it_is(tmp_path: Path) -> None:
    recipe = recipe_of(preset="ppo", steps=1, value_warmup_steps=1)
    run_recipe(recipe, tmp_path / "run", view=PlainView())
    result = load_policy(tmp_path / "run" / "checkpoints" / "zero" / "model", template=None).model.state_dict()
    start = load_policy(BASE, template=None).model.state_dict()
    assert all(torch.equal(start[name], tensor) for name, tensor in result.items())


def test_a_student_of_itself_diverges_from_its_teacher_only_as_it_learns(tmp_path: Path) -> None:
    """The rewards pull it away, and the divergence grows from nothing."""
    recipe = recipe_of(teacher=BASE, steps=4, learning_rate=1e-3)
    run_recipe(recipe, tmp_path / "run", view=PlainView())
    first, *_, last = (step["teacher_kl"] for step in metrics_of(tmp_path / "run"))
    assert abs(first) < 1e-5
    assert last > 100 * abs(first)


def test_without_rewards_the_teacher_alone_is_learnt_from(tmp_path: Path) -> None:
    """The student, spoilt before, comes back to the model that it was made from."""
    spoilt = load_policy(BASE, template=None, dtype="float32")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in spoilt.model.parameters():
            if parameter.ndim == 2:
                parameter += 0.4 * parameter.std() * torch.randn(parameter.shape, generator=generator)
    save_policy(spoilt, tmp_path / "spoilt")
    recipe = recipe_of(
        **{"from": str(tmp_path / "spoilt")}, teacher=BASE, rewards={}, steps=10, num_problems=8, learning_rate=5e-4
    )
    run_recipe(recipe, tmp_path / "run", view=PlainView())
    divergences = [step["teacher_kl"] for step in metrics_of(tmp_path / "run")]
    assert statistics.fmean(divergences[-3:]) < 0.7 * statistics.fmean(divergences[:3])
    assert all(step["reward"] == 0 for step in metrics_of(tmp_path / "run"))


def test_a_teacher_of_another_tokenizer_is_refused(tmp_path: Path) -> None:
    shutil.copytree(resolve_model(BASE), tmp_path / "other")
    tokenizer = json.loads((tmp_path / "other" / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    first, second = list(vocabulary)[-2:]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    (tmp_path / "other" / "tokenizer.json").write_text(json.dumps(tokenizer))
    recipe = recipe_of(teacher=str(tmp_path / "other"))
    with pytest.raises(UserError, match=r"zero\.teacher = '.*other' has another tokenizer .* than the student"):
        run_recipe(recipe, tmp_path / "run", view=PlainView())
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
