"""The probe: it sees a policy being spoilt by its reward, stops the stage and gives the best policy back."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from thinkery.models.loading import load_policy
from thinkery.pipeline import run_recipe
from thinkery.recipe import Recipe
from thinkery.report.terminal import PlainView
from thinkery.rewards.grader import Grader, GraderSpec
from thinkery.run import Run
from thinkery.stages.advantage_estimator import learner_config
from thinkery.stages.context import StageContext
from thinkery.stages.probe import Probe
from thinkery.types import UserError

pytestmark = pytest.mark.slow

HELD_OUT: dict[str, Any] = {"source": "mini", "split": "test", "domains": {"math": 1}, "levels": [1], "n": 12}


def recipe_of(rewards: dict[str, Any], probe: dict[str, Any], **settings: Any) -> Recipe:
    stage = {
        "name": "zero",
        "kind": "rl",
        "from": "base",
        "problems": HELD_OUT | {"split": "train"},
        "rewards": rewards,
        "num_problems": 4,
        "num_generations": 4,
        "max_completion_length": 32,
        "learning_rate": 1e-3,
        "probe": {"problems": HELD_OUT, "num_samples": 4} | probe,
        "dtype": "float32",
    }
    return Recipe.model_validate({"name": "probed", "base": "thinkery://mini-base", "stages": [stage | settings]})


def looks_of(folder: Path) -> dict[int, tuple[float, float]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: (line["probe/pass@1"], line["probe/best"]) for line in lines if "probe/pass@1" in line}


def score(model: Path | str, recipe: Recipe, folder: Path) -> float:
    """What the recipe's probe finds of a model."""
    stage = recipe.stages[0]
    policy = load_policy(model, template=None, dtype="float32")
    with Run(folder) as run, Grader(GraderSpec(policy.template, {}, max_completion_length=32)) as grader:
        context = StageContext(recipe, run.stage("zero"), PlainView(), str)
        learner = context.runtime.learner(policy, learner_config(stage, 0), context.clock)
        return Probe(stage.probe, stage, context, policy, grader, learner).look(0)["probe/pass@1"]


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, Path, dict[str, Any], str]:
    """A policy that is paid, and more and more, for saying something else than numbers."""
    folder = tmp_path_factory.mktemp("spoilt")
    (folder / "mine.py").write_text(
        "def mute(completions, **columns):\n    return [-float(sum(map(str.isdigit, c))) for c in completions]\n"
    )
    rewards = {"accuracy": 1, f"{folder / 'mine.py'}:mute": {"weight": 10, "from_step": 2}}
    recipe = recipe_of(rewards, {"every": 2, "max_drop": 0.15}, steps=40, save_steps=3, learning_rate=3e-3)
    said = io.StringIO()
    summary = run_recipe(recipe, folder / "run", view=PlainView(said))
    return recipe, folder / "run", summary["stages"]["zero"], said.getvalue()


def test_a_policy_that_falls_below_its_best_stops_the_stage(
    spoilt: tuple[Recipe, Path, dict[str, Any], str],
) -> None:
    _, folder, summary, said = spoilt
    looks = looks_of(folder)
    assert list(looks) == list(range(0, summary["stopped_at"] + 1, 2))
    scores = {step: score for step, (score, _) in looks.items()}
    assert summary["best_step"] == max(scores, key=lambda step: (scores[step], step))
    falls = [step for step, (score, best) in looks.items() if best - score > 0.15]
    assert falls == [summary["stopped_at"]]
    assert all(best == max(scores[s] for s in scores if s <= step) for step, (_, best) in looks.items())
    assert f"zero: stopped after step {summary['stopped_at']}: the probe's pass@1 fell from" in said
    assert f"the policy of step {summary['best_step']} is kept" in said


def test_the_result_is_the_best_policy_and_not_the_last(
    spoilt: tuple[Recipe, Path, dict[str, Any], str], tmp_path: Path
) -> None:
    recipe, folder, summary, _ = spoilt
    found = score(folder / "checkpoints" / "zero" / "model", recipe, tmp_path / "run")
    assert found == looks_of(folder)[summary["best_step"]][0]
    assert found > looks_of(folder)[summary["stopped_at"]][0] + 0.15


def test_no_weights_stay_behind(spoilt: tuple[Recipe, Path, dict[str, Any], str]) -> None:
    _, folder, _, _ = spoilt
    assert sorted(path.name for path in (folder / "checkpoints" / "zero").iterdir()) == ["model", "record.json"]


def test_without_max_drop_it_watches_and_never_stops(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def noise(completions, **columns):\n    return [len(c) for c in completions]\n")
    recipe = recipe_of({f"{tmp_path / 'mine.py'}:noise": 1}, {"every": 2}, steps=3)
    summary = run_recipe(recipe, tmp_path / "run", view=PlainView())
    assert summary["stages"]["zero"].keys().isdisjoint({"stopped_at", "best_step"})
    assert list(looks_of(tmp_path / "run")) == [0, 2, 3]  # before the first step, every second, and after the last


def test_every_look_at_the_same_policy_sees_the_same(tmp_path: Path) -> None:
    recipe = recipe_of({"accuracy": 1}, {}, steps=1)
    scores = [score("thinkery://mini-base", recipe, tmp_path / name) for name in ("a", "b")]
    assert scores[0] == scores[1] > 0


def test_a_set_that_no_rule_can_check_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "talk.jsonl"
    path.write_text(json.dumps({"prompt": "Say something nice.", "answer": "Hello!", "verifier": "none"}) + "\n")
    recipe = recipe_of({"format": 1}, {"problems": {"source": str(path)}}, steps=1)
    with pytest.raises(UserError, match=r"zero\.probe\.problems: no rule can check any of these 1 problems"):
        run_recipe(recipe, tmp_path / "run", view=PlainView())
