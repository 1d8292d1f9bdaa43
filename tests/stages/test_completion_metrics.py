"""What is read off completions: thinking with and without tags, rows from all groups alike."""

from __future__ import annotations

import pytest

from thinkery.mini.plugin import mini_problem
from thinkery.models.loading import Policy, load_policy
from thinkery.stages.step_metrics import completion_rows, read, reading_metrics, thinking_of
from thinkery.types import Completion, Group, Outcome, Verdict

pytestmark = pytest.mark.slow

TAGGED = "<think>2*3=6. Check: 2*3=6.</think><answer>6</answer>"
UNTAGGED = "I guess 7. The answer is 7."


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy("thinkery://mini-base", template=None)


def completion(policy: Policy, problem_id: str, index: int, text: str) -> Completion:
    ids = tuple(policy.tokenizer(text, add_special_tokens=False)["input_ids"])
    return Completion(problem_id, index, (1,), ids, (0.0,) * len(ids), text, "stop", 0)


@pytest.fixture
def groups(policy: Policy) -> list[Group]:
    verdicts = (Verdict(Outcome.CORRECT, answer="6"), Verdict(Outcome.WRONG, answer="7"))
    made = []
    for i in range(3):
        problem = mini_problem(i, "train")
        both = tuple(completion(policy, problem.id, g, text) for g, text in enumerate((TAGGED, UNTAGGED)))
        made.append(Group(problem, both, verdicts, {"accuracy": (1.0, 0.0)}, (1.0, 0.0)))
    return made


def test_thinking_is_what_the_tags_enclose_or_everything(policy: Policy) -> None:
    tagged, untagged = (completion(policy, "p", g, text) for g, text in enumerate((TAGGED, UNTAGGED)))
    assert thinking_of(tagged, policy) == "2*3=6. Check: 2*3=6."
    assert thinking_of(untagged, policy) == UNTAGGED
    readings = read([tagged, untagged], policy)
    assert 0 < readings["p", 0].length < len(tagged.token_ids)
    assert readings["p", 1].length == len(untagged.token_ids)


def test_metrics_of_reading(policy: Policy, groups: list[Group]) -> None:
    metrics = reading_metrics(groups, policy)
    assert metrics["reflection"] == 0.5
    assert metrics["reflections_per_completion"] == 0.5
    assert metrics["cons"] == 0.5  # one vote each: a tie counts half


def test_rows_are_taken_from_all_groups_alike(policy: Policy, groups: list[Group]) -> None:
    rows = completion_rows(groups, [(1.0, -1.0)] * 3, policy, limit=4)
    assert [(row["problem_id"], row["index"]) for row in rows] == [
        ("mini-train-0-0", 0),
        ("mini-train-0-1", 0),
        ("mini-train-0-2", 0),
        ("mini-train-0-0", 1),
    ]
    assert rows[0]["thinking"] == "2*3=6. Check: 2*3=6."
    assert rows[0]["correct"] is True
    assert rows[3]["answer"] is None
    assert rows[3]["advantage"] == -1.0
