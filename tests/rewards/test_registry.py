"""Names become rewards and verifiers; what is misspelt is refused with what there is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from thinkery.models.template import TEMPLATES
from thinkery.recipe import RewardSpec
from thinkery.recipe.verification import Verification
from thinkery.rewards.calling import GradedRow, call_rewards
from thinkery.rewards.interfaces import RewardContext
from thinkery.rewards.registry import REWARDS, VERIFIERS, check_rewards, make_reward, make_rewards, make_verifier
from thinkery.rewards.reward_process import RewardProcess
from thinkery.types import Completion, Outcome, Problem, UserError, Verdict

CONTEXT = RewardContext(TEMPLATES["r1-zero"], max_completion_length=64)
NEEDED: dict[str, dict[str, Any]] = {
    "length": {"buffer": 16},
    "helpful": {"model": "an/elsewhere"},  # a model is loaded when its set is first met
    "safety": {"model": "an/elsewhere"},
    "model": {"model": "an/elsewhere", "on": "helpful"},
}


@pytest.mark.parametrize("name", sorted(REWARDS))
def test_every_reward_gives_one_value_a_completion(name: str) -> None:
    reward = make_reward(name, CONTEXT, NEEDED.get(name, {}))
    texts = ["<think>two and two is four</think><answer>4</answer>", "", "4"]
    columns = {"verdict": [Verdict(Outcome.CORRECT), *[Verdict(Outcome.WRONG)] * 2], "language": ["en"] * 3}
    values = reward(["2+2?"] * 3, texts, [[1] * 10, [], [1]], **columns)
    assert isinstance(values, list)
    assert len(values) == 3
    assert all(value is None or -1 <= value <= 1 for value in values)


@pytest.mark.parametrize("name", sorted(VERIFIERS))
def test_every_verifier_is_made_for_a_template(name: str) -> None:
    make_verifier(name, TEMPLATES["chat-think"], Verification()).close()


def test_accuracy_pays_for_parts_and_abstains_where_the_reference_is_unreadable() -> None:
    abstains = [Verdict(Outcome.REFERENCE_UNPARSEABLE), Verdict(Outcome.UNCHECKED)]
    verdicts = [Verdict(Outcome.WRONG, score=0.5), Verdict(Outcome.CORRECT), *abstains]
    reward = make_reward("accuracy", CONTEXT, {})
    assert reward(["?"] * 4, ["x"] * 4, [[1]] * 4, verdict=verdicts) == [0.5, 1.0, None, None]


@pytest.mark.parametrize(
    ("rewards", "said"),
    [
        ({"acuracy": {}}, r"zero.rewards: there is no reward 'acuracy'; did you mean accuracy\?"),
        ({"kindness": {}}, r"there is no reward 'kindness'; your own is written my_rewards.py:my_function"),
        ({"helpful": {}}, r"reward 'helpful' needs the option 'model'"),
        ({"accuracy": {"scale": 2}}, r"reward 'accuracy' has no option 'scale'; its options: none"),
        ({"length": {}}, r"reward 'length' needs the option 'buffer'"),
        ({"length": {"bufer": 3}}, r"reward 'length' has no option 'bufer'; its options: buffer"),
        ({"nowhere.py:f": {}}, r"zero.rewards: .*nowhere.py"),
    ],
)
def test_mistakes_are_said_before_anything_starts(rewards: dict[str, Any], said: str) -> None:
    specs = {name: RewardSpec(**options) for name, options in rewards.items()}
    with pytest.raises(UserError, match=said):
        check_rewards("zero.rewards", specs, 64)


def test_a_reward_of_the_user_s_is_found_by_file_and_name(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def units(completions, **columns):\n    return [1.0] * len(completions)\n")
    name = f"{tmp_path / 'mine.py'}:units"
    with RewardProcess(CONTEXT) as process:
        made = make_rewards({"format": RewardSpec(), name: RewardSpec()}, CONTEXT, process)
        row = GradedRow(
            Problem("p", "?", "4"), Completion("p", 0, (1,), (1,), (0.0,), "x", "stop", 0), Verdict(Outcome.WRONG)
        )
        assert call_rewards(made, [row], on_error="stop", timeout_s=60)[0] == {"format": [0.0], name: [1.0]}
