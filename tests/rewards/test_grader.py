"""The grader: groups in order, weighted totals, metrics, and golds checked before training."""

import random
import statistics
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from thinkery.models.template import TEMPLATES
from thinkery.rewards import Grader, group_metrics
from thinkery.types import Completion, Outcome, Problem, UserError

ZERO, CHAT = TEMPLATES["r1-zero"], TEMPLATES["chat-think"]


def problem(name: str, reference: str, **fields: Any) -> Problem:
    return Problem(id=name, prompt=f"What is {name}?", reference=reference, **fields)


def completion(of: Problem, index: int, text: str, finish_reason: Any = "stop", length: int = 3) -> Completion:
    return Completion(of.id, index, (1, 2), tuple(range(length)), (0.0,) * length, text, finish_reason, 0)


def answer(value: str) -> str:
    return f"<think>\nhm\n</think>\n<answer>{value}</answer>"


@pytest.fixture
def grader() -> Iterator[Grader]:
    with Grader(ZERO, {"accuracy": 1.0, "format": 0.25}) as opened:
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
    assert group_metrics([group])["grading/gold_unparseable"] == 1


def test_a_hanging_answer_is_a_counted_timeout() -> None:
    with Grader(ZERO, {"accuracy": 1.0}, deadline_s=3.0) as grader:
        one = problem("a", "\\sqrt{2}")
        for index, value in enumerate(["5^(5^(5^(5^5)))", "\\sqrt{2}"]):
            grader.submit(one, completion(one, index, answer(value)))
        (group,) = grader.collect([one], 2)
    assert [v.outcome for v in group.verdicts_G] == [Outcome.TIMEOUT, Outcome.CORRECT]
    assert group_metrics([group])["grading/timeouts"] == 1


def test_a_prefilled_think_is_the_template_s_to_know() -> None:
    with Grader(CHAT, {"accuracy": 1.0, "format": 1.0}) as grader:
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


def test_golds_are_checked_before_training(grader: Grader) -> None:
    good = [problem("a", "1"), problem("b", "\\sqrt{2}"), problem("c", "1{,}000"), problem("d", "\\text{east}")]
    bad = [problem("e", ""), problem("f", "\\frac{")]
    assert grader.check_gold(good) == []
    grader.require_gold(good)
    assert grader.check_gold([*good, *bad]) == bad
    with pytest.raises(UserError, match="2 of 6 problems") as error:
        grader.require_gold([*good, *bad])
    assert "e:" in str(error.value)
    assert "f:" in str(error.value)


def test_golds_are_checked_in_the_template_s_own_form() -> None:
    with Grader(CHAT, {"accuracy": 1.0}) as grader:
        assert grader.check_gold([problem("a", "1"), problem("b", "\\{1, 2\\}")]) == []


def test_unknown_names_are_refused_with_the_known_ones(grader: Grader) -> None:
    with pytest.raises(UserError, match=r"'acuracy'.*accuracy, format"):
        Grader(ZERO, {"acuracy": 1.0})
    with pytest.raises(UserError, match=r"'maths'.*math"):
        grader.check_gold([problem("a", "1", verifier="maths")])
    with pytest.raises(UserError, match="at least one"):
        Grader(ZERO, {})


def graded(grader: Grader, rows: Sequence[tuple[Problem, list[str]]]) -> dict[str, float]:
    for one, texts in rows:
        for index, text in enumerate(texts):
            reason = "length" if text == "" else "stop"
            grader.submit(one, completion(one, index, text, reason, length=index + 1))
    return group_metrics(grader.collect([one for one, _ in rows], len(rows[0][1])))


def test_metrics_by_hand(grader: Grader) -> None:
    easy, hard = problem("a", "1", level=1), problem("b", "2", level=2, language="zh")
    metrics = graded(grader, [(easy, [answer("1")] * 4), (hard, [answer("2"), answer("1"), "", "<answer>2</answer>"])])
    totals = [1.25, 1.25, 1.25, 1.25], [1.25, 0.25, 0.0, 1.0]
    expected = {
        "reward": 6.25 / 8 + 1.25 / 8,
        "reward_std": statistics.stdev(totals[1]) / 2,
        "frac_reward_zero_std": 0.5,
        "rewards/accuracy/mean": 6 / 8,
        "rewards/format/mean": 6 / 8,
        "format": 6 / 8,
        "accuracy": 6 / 8,
        "accuracy/level_1": 1.0,
        "accuracy/level_2": 0.5,
        "accuracy/lang_en": 1.0,
        "accuracy/lang_zh": 0.5,
        "completions/mean_length": 2.5,
        "completions/clipped_ratio": 1 / 8,
        "grading/timeouts": 0.0,
        "grading/gold_unparseable": 0.0,
        "grading/no_answer": 1.0,
    }
    assert metrics == pytest.approx(expected)
    assert group_metrics([]) == {}
