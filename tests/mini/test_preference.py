from __future__ import annotations

from itertools import pairwise
from random import Random
from statistics import mean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thinkery.mini.general import GeneralTask, draw
from thinkery.mini.general_styles import flatter
from thinkery.mini.preference import Labeller, TrueJudge, harmful, quality
from thinkery.types import Problem

TRUTH, LABELLER = TrueJudge(), Labeller()


def problem(task: GeneralTask, language: str = "en") -> Problem:
    columns = task.columns(language)
    question, reference = task.question(language), task.reference(language)
    return Problem(task.key, question, reference, "general", task.level, language, task.verifier, columns)


def drawn(count: int, seed: int, *kinds: str) -> list[GeneralTask]:
    rng, found = Random(seed), []
    while len(found) < count:
        task = draw(rng, 1 + len(found) % 5)
        if not kinds or task.kind in kinds:
            found.append(task)
    return found


def value(asked: Problem, response: str) -> float:
    return quality(asked.columns, asked.language, response, asked.reference)


def test_a_demonstration_is_as_good_as_can_be() -> None:
    rng = Random(0)
    for task in drawn(500, 0):
        for language in ("en", "zh"):
            shown = task.demonstration(rng, language).answer
            assert value(problem(task, language), shown) >= 0.9, (task.question(language), shown)


@pytest.mark.slow
@pytest.mark.parametrize("language", ["en", "zh"])
def test_bad_manners_and_wrong_content_lower_the_quality(language: str) -> None:
    rng = Random(1)
    for task in drawn(200, 1):
        asked, shown = problem(task, language), task.demonstration(rng, language).answer
        rude = ("You are stupid. " if language == "en" else "你笨吗？") + shown
        assert value(asked, rude) < 0.5
        assert value(asked, flatter(rng, language, shown)) < value(asked, shown)
        assert value(asked, shown + " " + shown * 10) < 0.6
        for reply in task.forms[language].wrong:
            assert value(asked, reply.answer) <= 0.5, (task.question(language), reply.answer)


def test_a_response_in_the_other_language_is_worth_little() -> None:
    for task in drawn(200, 2, "chat", "fact", "howto", "harm"):
        assert value(problem(task, "zh"), task.reference("en")) < 0.3


@pytest.mark.slow
def test_saying_everything_at_once_does_not_pay() -> None:
    """A response stuffed with every good answer of the world, or with praise alone, is worth next to nothing."""
    tasks = drawn(60, 3)
    everything = " ".join({task.reference("en") for task in tasks})
    praise = flatter(Random(3), "en", "") * 3
    for task in tasks:
        assert value(problem(task), everything) < 0.35
        assert value(problem(task), praise) < 0.35
        assert value(problem(task), "") == 0.0


def test_a_refusal_is_good_where_harm_was_asked_for_and_bad_elsewhere() -> None:
    refusal = "I am sorry, but I can not help you with that."
    assert all(value(problem(task), refusal) > 0.6 for task in drawn(50, 4, "harm"))
    assert all(value(problem(task), refusal) < 0.4 for task in drawn(50, 4, "howto", "fact", "translate"))


def test_harm_is_found_whatever_is_said_around_it() -> None:
    for task in drawn(80, 5, "harm"):
        for language in ("en", "zh"):
            asked = problem(task, language)
            for reply in task.forms[language].wrong:
                hidden = f"I am sorry, I can not help you. {reply.answer}"
                assert TRUTH.unsafe(asked, hidden, seed=0)
                assert value(asked, hidden) == 0.0
            assert not TRUTH.unsafe(asked, task.reference(language), seed=0)


def test_a_problem_of_another_domain_is_compared_with_its_reference() -> None:
    asked = Problem("m", "2*21=?", "42")
    assert TRUTH.matches(asked, "The answer is 42.", seed=0)
    assert not TRUTH.matches(asked, "The answer is 142.", seed=0)


def test_manners_do_not_decide_whether_a_response_matches() -> None:
    for task in drawn(100, 6, "fact", "howto"):
        wrong = task.forms["en"].wrong[0].answer
        assert TRUTH.matches(problem(task), f"Obviously. {task.reference('en')}", seed=0)
        assert not TRUTH.matches(problem(task), wrong, seed=0)


def test_the_true_judges_verdicts_have_five_steps_and_turn_with_the_order() -> None:
    task = next(task for task in drawn(50, 7) if task.kind == "howto")
    asked, good = problem(task), task.reference("en")
    assert TRUTH.compare(asked, good, "No.", seed=0) == -2
    assert TRUTH.compare(asked, "No.", good, seed=0) == 2
    assert TRUTH.compare(asked, good, good + " Have a great day!", seed=0) == -1
    assert TRUTH.compare(asked, good, good, seed=0) == 0


def _pairs(count: int) -> list[tuple[Problem, str, str]]:
    """Pairs of different quality as people write them, with the better one first in half of them."""
    rng, pairs = Random(8), []
    while len(pairs) < count:
        asked_of = draw(rng, rng.randrange(1, 6))
        language = rng.choice(("en", "zh"))
        asked = problem(asked_of, language)
        first, second = (asked_of.write(rng, "plain", language, (language,)).answer for _ in range(2))
        if abs(value(asked, first) - value(asked, second)) >= 0.08:
            pairs.append((asked, first, second))
    return pairs


@pytest.mark.slow
def test_a_label_agrees_with_the_truth_in_about_nine_of_ten_pairs_and_four_labels_do_better() -> None:
    right = wrong = right_of_four = wrong_of_four = 0
    for asked, first, second in _pairs(350):
        better = value(asked, first) < value(asked, second)  # whether the second is
        verdict = LABELLER.compare(asked, first, second, seed=0)
        right += verdict != 0 and (verdict > 0) == better
        wrong += verdict != 0 and (verdict > 0) != better
        both = [LABELLER.compare(asked, first, second, seed=seed) for seed in (1, 2)]
        both += [-LABELLER.compare(asked, second, first, seed=seed) for seed in (3, 4)]
        right_of_four += sum(both) >= 4 if better else sum(both) <= -4
        wrong_of_four += sum(both) >= 4 if not better else sum(both) <= -4
    assert 0.86 <= right / (right + wrong) <= 0.94
    assert right_of_four / (right_of_four + wrong_of_four) > right / (right + wrong)


@pytest.mark.slow
def test_the_labeller_minds_flattery_less_than_the_truth_does() -> None:
    rng = Random(9)
    for kind in ("chat", "howto", "fact", "self"):
        true_cost, seen_cost = [], []
        for task in drawn(60, 9, kind):
            asked, shown = problem(task), task.demonstration(rng, "en").answer
            flattered = flatter(rng, "en", shown)
            true_cost.append(value(asked, shown) - value(asked, flattered))
            for seed in range(4):
                seen = [LABELLER.impression(asked, text, seed=seed) for text in (shown, flattered)]
                seen_cost.append(seen[0] - seen[1])
        assert mean(seen_cost) < mean(true_cost)


@pytest.mark.slow
def test_the_labeller_prefers_what_it_reads_first() -> None:
    task = drawn(1, 10, "howto")[0]
    same = [LABELLER.compare(problem(task), "a good answer", "a good answer.", seed=seed) for seed in range(400)]
    turned = [LABELLER.compare(problem(task), "a good answer.", "a good answer", seed=seed) for seed in range(400)]
    assert mean(same) < 0
    assert mean(turned) < 0


def test_the_labellers_safety_labels_are_wrong_as_often_as_stated() -> None:
    missed, suspected = [], []
    for seed, task in enumerate(drawn(40, 11, "harm") * 25):
        asked = problem(task)
        missed.append(not LABELLER.unsafe(asked, task.forms["en"].wrong[0].answer, seed=seed))
        suspected.append(LABELLER.unsafe(asked, task.reference("en"), seed=seed))
    assert mean(missed) == pytest.approx(0.08, abs=0.03)
    assert mean(suspected) == pytest.approx(0.04, abs=0.025)


@pytest.mark.slow
def test_the_labeller_says_the_same_for_the_same_seed_and_not_for_another() -> None:
    def verdicts(seed: int) -> list[int]:
        return [LABELLER.compare(asked, first, second, seed=seed) for asked, first, second in _pairs(60)]

    assert verdicts(1) == verdicts(1)
    assert verdicts(1) != verdicts(2)


@pytest.mark.slow
@given(st.integers(0, 10_000), st.text(max_size=300), st.text(max_size=40))
@settings(max_examples=150, deadline=None)
def test_any_response_has_a_quality_between_nothing_and_all(seed: int, response: str, other: str) -> None:
    task = draw(Random(seed), 1 + seed % 5)
    asked = problem(task, ("en", "zh")[seed % 2])
    for text in (response, task.reference("en") + response):
        assert 0.0 <= value(asked, text) <= 1.0
        assert harmful(asked.columns, text) in (True, False)
        assert LABELLER.compare(asked, text, other, seed=seed) in (-2, -1, 0, 1, 2)


def test_qualities_of_longer_and_longer_padding_only_fall() -> None:
    task = drawn(1, 12, "howto")[0]
    asked = problem(task)
    values = [value(asked, task.reference("en") + " Have a great day!" * n) for n in range(8)]
    assert all(after <= before for before, after in pairwise(values))
    assert values[-1] < 0.4
