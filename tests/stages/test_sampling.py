"""How an RL stage comes by its groups: dynamic sampling, and rewards that are models, from the shipped base."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from thinkery.models.loading import load_policy, resolve_model
from thinkery.models.reward_model import new_reward_model, save_reward_model
from thinkery.pipeline import run_recipe
from thinkery.problems.source import open_source
from thinkery.recipe import Recipe
from thinkery.report.terminal import PlainView
from thinkery.run import Run
from thinkery.stages.context import StageContext
from thinkery.stages.sampling import Sampler, open_grader
from thinkery.types import Outcome, UserError

pytestmark = pytest.mark.slow

BASE = "thinkery://mini-base"
MATH: dict[str, Any] = {"source": "mini", "domains": {"math": 1}, "levels": [1]}
TALK: dict[str, Any] = {"source": "mini", "domains": {"general": 1}, "levels": [1], "seed": 1}


def recipe_of(**settings: Any) -> Recipe:
    stage = {
        "name": "zero",
        "kind": "rl",
        "from": "base",
        "problems": MATH,
        "rewards": {"accuracy": 1, "format": 1},
        "steps": 1,
        "num_problems": 6,
        "num_generations": 4,
        "max_completion_length": 48,
        "learning_rate": 3e-4,
    }
    return Recipe.model_validate({"name": "short", "base": BASE, "stages": [stage | settings]})


@contextmanager
def sampler_of(recipe: Recipe, folder: Path) -> Iterator[Sampler]:
    stage = recipe.stages[0]
    policy = load_policy(BASE, template=None, dtype="float32")
    folder.mkdir()
    with Run(folder) as run:
        context = StageContext(recipe, run.stage("zero"), PlainView(), resolve_model)
        with open_grader(stage, context, policy) as grader:
            yield Sampler(stage, context, policy, open_source(stage.problems), grader)


@pytest.fixture(scope="module")
def reward_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Reward models that have learnt nothing yet: what they say is arbitrary, and differs from text to text."""
    folder = tmp_path_factory.mktemp("reward_models")
    for name, objective, reads in (("helpful", "pairwise", "summary"), ("safety", "pointwise", "response")):
        (folder / name).mkdir()
        made = new_reward_model(BASE, objective=objective, reads=reads, template=None, seed=0)
        save_reward_model(made, folder / name)
    return {name: str(folder / name) for name in ("helpful", "safety")}


def test_dynamic_sampling_fills_the_step_with_groups_that_teach(tmp_path: Path) -> None:
    recipe = recipe_of(dynamic_sampling=True, max_refills=40)
    with sampler_of(recipe, tmp_path / "run") as sampler:
        groups = sampler.informative_groups(0)
    assert len(groups) == 6
    assert len({group.problem.id for group in groups}) == 6
    assert all(0 < sum(v.correct for v in group.verdicts_G) < 4 for group in groups)
    assert sampler.drawn == 6 + sampler.metrics["dynamic_sampling/dead"]


def test_where_no_rule_can_check_dynamic_sampling_asks_whether_the_totals_differ(tmp_path: Path) -> None:
    (tmp_path / "talk.jsonl").write_text(
        "".join(json.dumps({"prompt": f"Talk of {n}.", "answer": "", "verifier": "none"}) + "\n" for n in range(40))
    )
    (tmp_path / "mine.py").write_text(
        "def odd(completions, problem_id, **columns):\n"
        "    return [float(len(c)) if int(p.split('-')[1]) % 2 else 1.0 for c, p in zip(completions, problem_id)]\n"
    )
    recipe = recipe_of(
        problems={"source": str(tmp_path / "talk.jsonl")},
        rewards={f"{tmp_path / 'mine.py'}:odd": 1},
        dynamic_sampling=True,
        max_refills=8,
    )
    with sampler_of(recipe, tmp_path / "run") as sampler:
        groups = sampler.informative_groups(0)
    assert all(v.outcome is Outcome.UNCHECKED for group in groups for v in group.verdicts_G)
    assert all(len(set(group.totals_G)) > 1 for group in groups)
    assert sampler.metrics["dynamic_sampling/dead"] > 0


def test_the_all_scenario_stage_pays_each_kind_of_problem_its_own_rewards(
    tmp_path: Path, reward_models: dict[str, str]
) -> None:
    """DeepSeek-R1: rules on reasoning, a reward model on general problems and late, format and language on all."""
    rewards = {"accuracy": 1, "format": 1, "language": 0.5}
    late = {name: {"weight": 1, "model": place, "from_step": 1} for name, place in reward_models.items()}
    recipe = recipe_of(
        problems=MATH | {"also": [TALK]}, rewards=rewards | late, num_problems=24, num_generations=2, steps=2
    )
    with sampler_of(recipe, tmp_path / "groups") as sampler:
        early, groups = sampler.informative_groups(0), sampler.informative_groups(1)
    assert all(group.rewards_G.keys() == rewards.keys() for group in early)
    kinds = {group.problem.columns.get("preference"): group for group in groups}
    assert kinds.keys() == {None, "helpful", "safety"}
    for kind, group in kinds.items():
        assert all((value is None) == (name != kind) for name in late for value in group.rewards_G[name])
        checked = group.problem.verifier != "none"
        assert all((value is not None) == checked for value in group.rewards_G["accuracy"])
        assert None not in group.rewards_G["format"]
        for g, total in enumerate(group.totals_G):
            paid = {name: group.rewards_G[name][g] for name in group.rewards_G}
            weights = {"language": 0.5}
            assert total == pytest.approx(sum(weights.get(n, 1) * v for n, v in paid.items() if v is not None))

    run_recipe(recipe, tmp_path / "run", view=PlainView())
    first, second = map(json.loads, (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    assert {"rewards/helpful/mean", "rewards/safety/mean"} <= second.keys() - first.keys()
    assert {"accuracy", "cons", "language", "incoherent", "format"} <= first.keys()


def test_a_reward_model_of_another_tokenizer_is_refused_before_anything_is_sampled(
    tmp_path: Path, reward_models: dict[str, str]
) -> None:
    other = tmp_path / "other"
    shutil.copytree(reward_models["helpful"], other)
    tokenizer = json.loads((other / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    first, second = list(vocabulary)[-2:]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    (other / "tokenizer.json").write_text(json.dumps(tokenizer))
    recipe = recipe_of(problems=TALK, rewards={"helpful": {"weight": 1, "model": str(other)}})
    with pytest.raises(UserError, match="has another tokenizer"), sampler_of(recipe, tmp_path / "run"):
        pass


def test_a_stage_has_its_own_template_or_the_base_the_recipes_or_the_saved_one(tmp_path: Path) -> None:
    recipe = recipe_of().model_copy(update={"template": "chat-think"})
    (tmp_path / "run").mkdir()
    with Run(tmp_path / "run") as run:
        context = StageContext(recipe, run.stage("zero"), PlainView(), resolve_model)
        chosen = [context.template_of("base", "r1-zero"), context.template_of("base", None)]
        assert [template.name if template else None for template in chosen] == ["r1-zero", "chat-think"]
        assert context.template_of("dev1", "r1-zero") == chosen[0]
        assert context.template_of("dev1", None) is None
