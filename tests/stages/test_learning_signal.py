"""A stage in which no step had anything to learn from: when that is known, and what is said of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from thinkery.models.template import TEMPLATES
from thinkery.recipe import RLStage
from thinkery.rewards.grader import group_metrics
from thinkery.stages.learning_signal import LearningSignal
from thinkery.types import Completion, FinishReason, Group, Outcome, Problem, UserError, Verdict

ZERO = TEMPLATES["r1-zero"]


def stage_of(**settings: Any) -> RLStage:
    given = {"rewards": {"accuracy": 1}, "steps": 100, "learning_rate": 1e-4, "no_signal_steps": 2} | settings
    return RLStage.model_validate(
        {"name": "zero", "kind": "rl", "from": "base", "problems": {"source": "mini"}} | given
    )


def group(
    totals: Sequence[float], outcome: Outcome = Outcome.WRONG, finish_reason: FinishReason = "stop", name: str = "p"
) -> Group:
    completions = tuple(
        Completion(name, index, (1,), (2, 3), (0.0, 0.0), "?", finish_reason, 0) for index in range(len(totals))
    )
    verdicts = (Verdict(outcome),) * len(totals)
    return Group(Problem(name, "?", "4"), completions, verdicts, {"accuracy": tuple(totals)}, tuple(totals))


def look(signal: LearningSignal, step: int, *groups: Group, **more: float) -> None:
    signal.look(step, groups, group_metrics(groups) | more)


def refusal(stage: RLStage, *groups: Group, **more: float) -> str:
    """What is said after ``no_signal_steps`` steps of the same groups."""
    signal = LearningSignal(stage, ZERO)
    last = (stage.no_signal_steps or stage.steps) - 1
    for step in range(last):
        look(signal, step, *groups, **more)
    with pytest.raises(UserError) as caught:
        look(signal, last, *groups, **more)
    return str(caught.value)


def quiet(stage: RLStage, *steps: Sequence[Group]) -> None:
    """Nothing is said of these steps."""
    signal = LearningSignal(stage, ZERO)
    for step, groups in enumerate(steps):
        look(signal, step, *groups)


def test_after_so_many_steps_without_a_difference_within_any_group_it_stops() -> None:
    said = refusal(stage_of(no_signal_steps=3, beta=0.1), group([0, 0]), group([1, 1], name="q"))
    assert said.splitlines()[:2] == [
        "zero: no step had any signal: in 3 steps with 12 completions the completions of every group earned the same, "
        "so nothing was learnt, and the stage stops",
        "  mean of each reward: accuracy 0.5",
    ]
    assert said.endswith("To wait longer, raise no_signal_steps = 3.")


def test_one_group_in_one_step_is_a_signal_for_good() -> None:
    dead = [group([1, 1]), group([0, 0], name="q")]
    quiet(stage_of(), dead, [group([1, 1]), group([0, 1], name="q")], *[dead] * 5)


def test_a_spread_that_is_rounding_is_no_signal() -> None:
    assert "no step had any signal" in refusal(stage_of(), group([0.1 + 0.2, 0.3]))


def test_the_end_of_a_shorter_stage_is_the_same() -> None:
    signal = LearningSignal(stage_of(steps=1, no_signal_steps=20), ZERO)
    with pytest.raises(UserError, match="in 1 step with 2 completions") as caught:
        look(signal, 0, group([0, 0]))
    assert str(caught.value).endswith("set no_signal_steps: null.")


def test_a_recipe_that_is_only_tried_can_go_on_all_the_same() -> None:
    quiet(stage_of(steps=2, no_signal_steps=None), *[[group([0, 0])]] * 2)


def test_a_teacher_is_a_signal_whatever_the_rewards() -> None:
    quiet(stage_of(teacher="base", rewards={}), *[[group([0, 0])]] * 5)


def test_ppo_learns_from_differences_between_problems_and_steps() -> None:
    stage = stage_of(advantage_estimator="gae")
    quiet(stage, *[[group([0, 0]), group([1, 1], name="q")]] * 5)
    quiet(stage, [group([0, 0])], [group([1, 1])], *[[group([1, 1])]] * 5)
    assert "2 steps with 4 completions all completions earned the same" in refusal(stage, group([1, 1]))


def test_a_reward_that_has_not_entered_yet_is_waited_for() -> None:
    stage = stage_of(rewards={"accuracy": 1, "format": {"weight": 1, "from_step": 10}})
    signal = LearningSignal(stage, ZERO)
    for step in range(11):
        look(signal, step, group([0, 0]))
    with pytest.raises(UserError, match="in 12 steps"):
        look(signal, 11, group([0, 0]))


def test_for_ppo_a_reward_that_enters_is_no_difference_by_itself() -> None:
    stage = stage_of(advantage_estimator="gae", rewards={"accuracy": 1, "format": {"weight": 1, "from_step": 1}})
    signal = LearningSignal(stage, ZERO)
    look(signal, 0, group([0, 0]))
    look(signal, 1, group([1, 1]))
    with pytest.raises(UserError, match="no step had any signal"):
        look(signal, 2, group([1, 1]))


@pytest.mark.parametrize(
    ("groups", "more", "cause"),
    [
        ([group([0, 0], finish_reason="length")], {}, "100% of completions were cut off: raise max_completion_length"),
        ([group([0, 0], Outcome.NO_ANSWER)], {}, "100% had no answer where the template r1-zero looks for one"),
        ([group([0, 0])], {}, "No answer was right: take easier problems"),
        ([group([1, 1], Outcome.CORRECT)], {}, "Every answer was right: take harder problems"),
        ([group([0, 0], Outcome.TIMEOUT)], {}, "2 verdicts a step timed out"),
        ([group([0, 0])], {"rewards/accuracy/errors": 2.0}, "accuracy failed on 4 completions, which reward_errors"),
        ([group([3, 3], Outcome.UNCHECKED)], {}, "Do the rewards depend on the completion?"),
    ],
)
def test_what_is_likely_to_be_the_cause_is_said(groups: list[Group], more: dict[str, float], cause: str) -> None:
    assert cause in refusal(stage_of(), *groups, **more)


def test_rewards_without_weight_and_rewards_that_never_apply_are_named() -> None:
    said = refusal(stage_of(rewards={"accuracy": 0, "language": 0}), group([0, 0]))
    assert "accuracy 0, language does not apply" in said
    assert "All rewards have the weight 0" in said


@pytest.mark.parametrize("estimator", ["group", "gae"])
def test_what_was_seen_before_a_checkpoint_counts_after_it(tmp_path: Path, estimator: str) -> None:
    stage = stage_of(no_signal_steps=3, advantage_estimator=estimator)
    before, whole, after = (LearningSignal(stage, ZERO) for _ in range(3))
    for step in range(2):
        look(before, step, group([0.1, 0.1]))
        look(whole, step, group([0.1, 0.1]))
    before.save(tmp_path / "signal")
    after.load(tmp_path / "signal")
    said = []
    for signal in (whole, after):
        with pytest.raises(UserError) as caught:
            look(signal, 2, group([0.1, 0.1]))
        said.append(str(caught.value))
    assert said[0] == said[1]
    assert "in 3 steps with 6 completions" in said[0]


def test_a_signal_that_was_found_before_a_checkpoint_is_not_looked_for_after_it(tmp_path: Path) -> None:
    stage = stage_of()
    before, after = LearningSignal(stage, ZERO), LearningSignal(stage, ZERO)
    look(before, 0, group([0, 1]))
    before.save(tmp_path / "signal")
    after.load(tmp_path / "signal")
    for step in range(1, 5):
        look(after, step, group([0, 0]))
