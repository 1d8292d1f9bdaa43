"""The grader: groups in order, weighted totals, overlap with generation, and a deadline for the step."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from thinkery.models.template import TEMPLATES, Template
from thinkery.recipe import RewardSpec
from thinkery.recipe.verification import Verification
from thinkery.rewards import Grader, GraderSpec, group_metrics
from thinkery.types import Completion, Outcome, Problem, UserError

pytestmark = pytest.mark.slow

# Equal, but sympy takes far longer than the test's patience to see it.
SLOW = r"\sum_{k=1}^{60} \sqrt{1+\sqrt{k}}"

ZERO, CHAT = TEMPLATES["r1-zero"], TEMPLATES["chat-think"]


def problem(name: str, reference: str, **fields: Any) -> Problem:
    return Problem(id=name, prompt=f"What is {name}?", reference=reference, **fields)


def completion(of: Problem, index: int, text: str, finish_reason: Any = "stop", length: int = 3) -> Completion:
    return Completion(of.id, index, (1, 2), tuple(range(length)), (0.0,) * length, text, finish_reason, 0)


def answer(value: str) -> str:
    return f"<think>\nhm\n</think>\n<answer>{value}</answer>"


def make(template: Template, weights: dict[str, float], **settings: Any) -> Grader:
    rewards = {name: RewardSpec(weight=weight) for name, weight in weights.items()}
    return Grader(GraderSpec(template, rewards, max_completion_length=64, **settings))


@pytest.fixture
def grader() -> Iterator[Grader]:
    with make(ZERO, {"accuracy": 1.0, "format": 0.25}) as opened:
        yield opened


def test_groups_come_in_the_order_of_problems_whatever_the_order_of_completions(grader: Grader) -> None:
    problems = [problem("a", "1"), problem("b", "\\sqrt{2}"), problem("c", "3")]
    texts = {
        "a": [answer("1"), answer("2"), "<answer>1</answer>", "1"],
        "b": [answer("\\sqrt{2}"), answer("2^{1/2}"), answer("\\sqrt{3}"), answer("2")],
        "c": [answer("3")] * 4,
    }
    submissions = [(p, completion(p, g, texts[p.id][g])) for p in problems for g in range(4)]
    random.Random(0).shuffle(submissions)
    for one, sample in submissions:
        grader.submit(one, sample)
    groups = grader.collect(problems, 4)
    assert [group.problem.id for group in groups] == ["a", "b", "c"]
    assert all([c.index for c in group.completions_G] == [0, 1, 2, 3] for group in groups)
    assert [group.totals_G for group in groups] == [(1.25, 0.25, 1.0, 0.0), (1.25, 1.25, 0.25, 0.25), (1.25,) * 4]
    assert groups[0].rewards_G == {"accuracy": (1.0, 0.0, 1.0, 0.0), "format": (1.0, 1.0, 0.0, 0.0)}
    assert [v.outcome for v in groups[0].verdicts_G] == ["correct", "wrong", "correct", "no_answer"]


def test_collect_leaves_other_problems_for_later(grader: Grader) -> None:
    first, second = problem("a", "1"), problem("b", "2")
    for one in (first, second):
        grader.submit(one, completion(one, 0, answer(one.reference)))
    assert len(grader.collect([second], 1)) == 1
    assert len(grader.collect([first], 1)) == 1
    with pytest.raises(ValueError, match="never submitted"):
        grader.collect([first], 1)


def test_a_completion_is_submitted_once(grader: Grader) -> None:
    one = problem("a", "1")
    grader.submit(one, completion(one, 0, answer("1")))
    with pytest.raises(ValueError, match="twice"):
        grader.submit(one, completion(one, 0, answer("1")))


def test_an_unreadable_reference_gives_no_accuracy(grader: Grader) -> None:
    one = problem("a", "\\frac{")
    grader.submit(one, completion(one, 0, answer("x")))
    (group,) = grader.collect([one], 1)
    assert group.rewards_G["accuracy"] == (None,)
    assert group.totals_G == (0.25,)
    assert group_metrics([group])["grading/reference_unparseable"] == 1


def test_a_hanging_answer_is_a_counted_timeout() -> None:
    with make(ZERO, {"accuracy": 1.0}, verification=Verification(deadline_s=3.0)) as grader:
        one = problem("a", "\\sqrt{2}")
        for index, value in enumerate(["5^(5^(5^(5^5)))", "\\sqrt{2}"]):
            grader.submit(one, completion(one, index, answer(value)))
        (group,) = grader.collect([one], 2)
    assert [v.outcome for v in group.verdicts_G] == [Outcome.TIMEOUT, Outcome.CORRECT]
    assert group_metrics([group])["grading/timeouts"] == 1


def test_a_prefilled_think_is_the_template_s_to_know() -> None:
    with make(CHAT, {"accuracy": 1.0, "format": 1.0}) as grader:
        one = problem("a", "1")
        grader.submit(one, completion(one, 0, "hm</think>\n\\boxed{1}"))
        grader.submit(one, completion(one, 1, "hm, \\boxed{1}", "length"))
        (group,) = grader.collect([one], 2)
    assert group.totals_G == (2.0, 0.0)


def test_conversations_reach_the_rewards_as_messages(grader: Grader) -> None:
    one = Problem("a", ({"role": "user", "content": "What is a?"},), "1", columns={"hint": "small"})
    grader.submit(one, completion(one, 0, answer("1")))
    (group,) = grader.collect([one], 1)
    assert group.totals_G == (1.25,)


def test_unknown_names_are_refused_with_the_known_ones(grader: Grader) -> None:
    with pytest.raises(UserError, match=r"'acuracy'; did you mean accuracy\?.*accuracy, format"):
        make(ZERO, {"acuracy": 1.0})
    with pytest.raises(UserError, match=r"problem a: there is no verifier 'maths'.*math"):
        grader.submit(problem("a", "1", verifier="maths"), completion(problem("a", "1"), 0, answer("1")))


def test_without_rewards_there_are_verdicts_and_totals_of_zero() -> None:
    one = problem("a", "1")
    with make(ZERO, {}) as grader:
        for index, value in enumerate("12"):
            grader.submit(one, completion(one, index, answer(value)))
        (group,) = grader.collect([one], 2)
    assert [v.outcome for v in group.verdicts_G] == [Outcome.CORRECT, Outcome.WRONG]
    assert (group.rewards_G, group.totals_G) == ({}, (0.0, 0.0))


def test_verdicts_alone_ask_no_reward(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def loud(completions, **columns):\n    raise ValueError('asked')\n")
    problems = [problem("a", "1"), problem("b", "2")]
    with make(ZERO, {f"{tmp_path / 'mine.py'}:loud": 1.0}) as grader:
        for one in problems:
            for index, value in enumerate("21"):
                grader.submit(one, completion(one, index, answer(value)))
        second, first = grader.verdicts(problems[::-1], 2)
    assert [v.correct for v in first] == [False, True]
    assert [v.correct for v in second] == [True, False]


def test_a_reward_enters_at_its_step_and_is_not_asked_before(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from pathlib import Path\n"
        "def late(completions, **columns):\n"
        f"    Path({str(tmp_path / 'asked')!r}).write_text('yes')\n"
        "    return [10.0 for _ in completions]\n"
    )
    late, one = f"{tmp_path / 'mine.py'}:late", problem("a", "1")
    rewards = {"accuracy": RewardSpec(weight=2.0), late: RewardSpec(weight=0.5, from_step=3)}
    with Grader(GraderSpec(ZERO, rewards, max_completion_length=64)) as grader:
        totals = {}
        for step in (0, 2, 3, 4, None):
            grader.submit(one, completion(one, 0, answer("1")))
            (group,) = grader.collect([one], 1, step=step)
            totals[step] = group.totals_G[0]
            assert (late in group.rewards_G) == (late in grader.errors) == (tmp_path / "asked").exists()
    assert totals == {0: 2.0, 2: 2.0, 3: 7.0, 4: 7.0, None: 7.0}


def test_what_no_rule_can_check_has_no_accuracy_and_is_paid_by_the_rest(tmp_path: Path) -> None:
    """A batch of both kinds: rules read the reasoning, somebody else the general part, the format counts for both."""
    (tmp_path / "mine.py").write_text(
        "def kind(completions, domain, **columns):\n    return [0.5 if d == 'general' else None for d in domain]\n"
    )
    checked, free = problem("a", "1"), problem("b", "Dear Sir", verifier="none", domain="general", language="zh")
    weights = {"accuracy": 1.0, "format": 0.25, f"{tmp_path / 'mine.py'}:kind": 2.0}
    with make(ZERO, weights) as grader:
        for one in (checked, free):
            grader.submit(one, completion(one, 0, answer(one.reference)))
            grader.submit(one, completion(one, 1, "?"))
        groups = grader.collect([checked, free], 2)
    reasoning, general = groups
    assert [v.outcome for v in general.verdicts_G] == [Outcome.UNCHECKED] * 2
    assert general.rewards_G["accuracy"] == (None, None)
    assert (reasoning.totals_G, general.totals_G) == ((1.25, 0.0), (1.25, 1.0))
    metrics = group_metrics(groups)
    assert metrics["accuracy"] == metrics["rewards/accuracy/mean"] == metrics["accuracy/lang_en"] == 0.5
    assert "accuracy/lang_zh" not in metrics
    assert group_metrics([general]).keys().isdisjoint({"accuracy", "rewards/accuracy/mean"})


def test_a_verdict_that_is_missing_at_the_step_s_deadline_is_a_timeout() -> None:
    """The verdict's own deadline is far away, so only the step's can end the wait."""
    with make(ZERO, {"accuracy": 1.0}, verification=Verification(deadline_s=60.0, step_deadline_s=0.2)) as grader:
        one = problem("slow", SLOW)
        grader.submit(one, completion(one, 0, answer(SLOW.replace("1", "3"))))
        (group,) = grader.collect([one], 1)
    assert group.verdicts_G[0].outcome is Outcome.TIMEOUT


def test_a_reward_of_the_user_s_that_fails_stops_the_step_or_counts_as_zero_as_told(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "def calm(completions, **columns):\n"
        "    if any('boom' in text for text in completions):\n"
        "        raise ValueError('this one is loud')\n"
        "    return [0.5 for _ in completions]\n"
    )
    reward, one = f"{tmp_path / 'mine.py'}:calm", problem("a", "1")
    with make(ZERO, {reward: 2.0}, reward_errors="zero") as grader:
        for index, text in enumerate(["quiet", "boom", "still"]):
            grader.submit(one, completion(one, index, text))
        (group,) = grader.collect([one], 3)
        assert group.totals_G == (1.0, 0.0, 1.0)
        assert grader.errors == {reward: 1}
    with make(ZERO, {reward: 2.0}) as grader:
        grader.submit(one, completion(one, 0, "boom"))
        with pytest.raises(UserError, match=r"(?s)calm.*this one is loud"):
            grader.collect([one], 1)


def test_problems_of_several_kinds_are_judged_side_by_side(grader: Grader) -> None:
    problems = [problem("a", "1"), problem("b", "B", verifier="choice", columns={"choices": ["Rome", "Paris"]})]
    for one, text in zip(problems, ["1", "Paris"], strict=True):
        grader.submit(one, completion(one, 0, answer(text)))
    assert [group.totals_G for group in grader.collect(problems, 1)] == [(1.25,), (1.25,)]
