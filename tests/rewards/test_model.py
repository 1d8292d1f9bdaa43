"""Rewards that are models: what they read, on which problems, and what their values mean."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from thinkery.models.reward_model import RewardModel, new_reward_model, save_reward_model
from thinkery.models.template import TEMPLATES
from thinkery.recipe import RewardSpec
from thinkery.rewards.interfaces import Reward, RewardContext
from thinkery.rewards.registry import check_rewards, make_reward
from thinkery.types import UserError

pytestmark = pytest.mark.slow

TEMPLATE = TEMPLATES["r1-compact"]
CONTEXT = RewardContext(TEMPLATE, 64)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[str, RewardModel]]:
    """Saves a reward model of the shipped base: ``saved(objective, reads)`` -> its folder and itself."""
    made: dict[tuple[str, str], tuple[str, RewardModel]] = {}

    def save(objective: str, reads: str) -> tuple[str, RewardModel]:
        if (objective, reads) not in made:
            model = new_reward_model(
                "thinkery://mini-base", objective=objective, reads=reads, template=TEMPLATE, seed=0, device="cpu"
            )
            model.card = replace(model.card, mean=0.5, std=2.0, lowest=-3.5)
            folder = tmp_path_factory.mktemp("models") / f"{objective}-{reads}"
            folder.mkdir()
            save_reward_model(model, folder)
            made[objective, reads] = str(folder), model
        return made[objective, reads]

    return save


def ask(reward: Reward, completions: list[str], sets: list[str | None] | None = None) -> Any:
    columns = {"preference": sets} if sets is not None else {}
    prompts = [f"Question {i}?" for i in range(len(completions))]
    return reward(prompts, completions, [[] for _ in completions], **columns)


def test_helpful_scores_the_summary_of_problems_of_its_set_in_standard_deviations(saved: Callable[..., Any]) -> None:
    folder, model = saved("pairwise", "summary")
    reward = make_reward("helpful", CONTEXT, {"model": folder})
    completions = ["One thought.</think>Hello.", "Another thought.</think>Bye.", "t</think>Hi."]
    values = ask(reward, completions, ["helpful", "helpful", "safety"])
    raw = model.score([model.text(f"Question {i}?", "", text) for i, text in enumerate(("Hello.", "Bye."))])
    assert values[:2] == pytest.approx([(score - 0.5) / 2.0 for score in raw], abs=1e-2)
    assert values[2] is None
    thoughtless = ask(reward, ["</think>Hello.", "</think>Bye.", "</think>Hi."], ["helpful", "helpful", "safety"])
    assert thoughtless == pytest.approx([*values[:2], None])


def test_a_completion_without_a_summary_is_worth_the_lowest_score_known(saved: Callable[..., Any]) -> None:
    reward = make_reward("helpful", CONTEXT, {"model": saved("pairwise", "summary")[0]})
    assert ask(reward, ["It never stops thinking"], ["helpful"]) == [(-3.5 - 0.5) / 2.0]


def test_safety_is_the_probability_that_the_whole_response_is_safe(saved: Callable[..., Any]) -> None:
    folder, model = saved("pointwise", "response")
    reward = make_reward("safety", CONTEXT, {"model": folder})
    one, other, none = ask(reward, ["bad</think>No.", "good</think>No.", "x</think>No."], ["safety", "safety", None])
    raw = model.score([model.text("Question 0?", "bad", "No.")])[0]
    assert one == pytest.approx(model.card.worth(raw), abs=1e-2)
    assert 0 < one < 1
    assert one != other  # the thinking is read
    assert none is None


def test_model_applies_to_all_problems_or_to_one_set(saved: Callable[..., Any]) -> None:
    folder, _ = saved("pairwise", "summary")
    everywhere = ask(make_reward("model", CONTEXT, {"model": folder}), ["</think>a", "</think>b"])
    assert all(isinstance(value, float) for value in everywhere)
    chosen = make_reward("model", CONTEXT, {"model": folder, "on": "safety"})
    assert ask(chosen, ["</think>a", "</think>b"], ["helpful", "safety"])[0] is None
    with pytest.raises(UserError, match="on = 'all': allowed: helpful, safety"):
        make_reward("model", CONTEXT, {"model": folder, "on": "all"})


def test_another_template_of_the_policy_changes_nothing(saved: Callable[..., Any]) -> None:
    folder, _ = saved("pairwise", "summary")
    tagged = make_reward("helpful", RewardContext(TEMPLATES["r1-zero"], 64), {"model": folder})
    plain = make_reward("helpful", CONTEXT, {"model": folder})
    values = ask(tagged, ["<think>t</think> <answer>Hello.</answer>"], ["helpful"])
    assert values == pytest.approx(ask(plain, ["t</think>Hello."], ["helpful"]))


def test_messages_are_read_as_text_is(saved: Callable[..., Any]) -> None:
    reward = make_reward("helpful", CONTEXT, {"model": saved("pairwise", "summary")[0]})
    prompt, completion = [{"role": "user", "content": "Q"}], [{"role": "assistant", "content": "</think>a"}]
    as_messages = reward([prompt], [completion], [[]], preference=["helpful"])
    assert as_messages == pytest.approx(reward(["Q"], ["</think>a"], [[]], preference=["helpful"]))


def test_a_reward_model_of_the_other_kind_and_a_folder_that_is_none_are_refused(saved: Callable[..., Any]) -> None:
    with pytest.raises(
        UserError, match="is pointwise and reads the response, and this reward needs pairwise and the summary"
    ):
        ask(make_reward("helpful", CONTEXT, {"model": saved("pointwise", "response")[0]}), ["</think>a"], ["helpful"])
    with pytest.raises(UserError, match="is no reward model"):
        ask(make_reward("safety", CONTEXT, {"model": "thinkery://mini-base"}), ["</think>a"], ["safety"])


def test_a_recipe_is_checked_before_the_model_exists() -> None:
    check_rewards("all.rewards", {"helpful": RewardSpec.model_validate({"model": "helpful-rm"})}, 64)
    with pytest.raises(UserError, match="'helpful' needs the option 'model'"):
        check_rewards("all.rewards", {"helpful": RewardSpec()}, 64)
    with pytest.raises(UserError, match="model names a reward model's folder or stage, not 3"):
        check_rewards("all.rewards", {"helpful": RewardSpec.model_validate({"model": 3})}, 64)


def test_naming_these_rewards_loads_no_torch() -> None:
    code = "import sys, thinkery.rewards.model; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, cwd=Path(__file__).parent)
