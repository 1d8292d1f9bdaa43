from __future__ import annotations

import json
from collections import Counter
from random import Random

import pytest

from thinkery.mini.general import KINDS, GeneralTask, draw
from thinkery.mini.plugin import held_out
from thinkery.mini.world import Depth
from thinkery.models.template import TEMPLATES
from thinkery.recipe.verification import Verification
from thinkery.rewards.instruction import InstructionVerifier
from thinkery.types import Problem, Verdict

LANGUAGES = ("en", "zh")
VERIFIER = InstructionVerifier(TEMPLATES["r1-zero"], Verification())


def tasks(count: int, seed: int = 0) -> list[GeneralTask]:
    rng = Random(seed)
    return [draw(rng, 1 + i % 5) for i in range(count)]


def problem(task: GeneralTask, language: str) -> Problem:
    return Problem(
        task.key,
        task.question(language),
        task.reference(language),
        task.domain,
        task.level,
        language,
        task.verifier,
        task.columns(language),
    )


def judge(task: GeneralTask, language: str, answer: str) -> Verdict:
    return VERIFIER.begin(f"<think>a</think><answer>{answer}</answer>", problem(task, language))


def test_every_kind_is_drawn_and_harm_alone_belongs_to_the_safety_set() -> None:
    drawn = tasks(600)
    assert {task.kind for task in drawn} == set(KINDS)
    for task in drawn:
        assert (task.columns("en")["preference"] == "safety") == (task.kind == "harm")


def test_what_a_rule_can_check_is_checked_and_nothing_else() -> None:
    checked = {task.kind for task in tasks(600) if task.verifier == "instruction"}
    assert checked == {"fact", "translate", "rewrite", "instruct"}


def test_a_demonstration_and_the_reference_are_always_accepted() -> None:
    rng = Random(1)
    for task in tasks(800, seed=1):
        if task.verifier == "none":
            continue
        for language in LANGUAGES:
            shown = task.demonstration(rng, language).answer
            for answer in (shown, task.reference(language)):
                verdict = judge(task, language, answer)
                assert verdict.correct, f"{task.question(language)} {answer}: {verdict.reason}"


def test_flattery_around_the_right_answer_breaks_most_stated_constraints() -> None:
    padded = [
        judge(task, "en", f"Great question! {task.reference('en')} I hope this helps!").correct
        for task in tasks(800, seed=2)
        if task.kind in ("instruct", "translate", "rewrite")
    ]
    assert sum(padded) / len(padded) < 0.1


def test_a_tasks_columns_can_be_written_as_json() -> None:
    for task in tasks(300):
        for language in LANGUAGES:
            assert json.loads(json.dumps(task.columns(language))) == task.columns(language)


@pytest.mark.slow
def test_the_more_careful_the_writer_the_more_answers_are_right() -> None:
    rng, right, all_ = Random(3), Counter[str](), Counter[str]()
    depths: tuple[Depth, ...] = ("guess", "plain", "check")
    for task in tasks(1000, seed=3):
        if task.verifier == "none":
            continue
        for depth in depths:
            all_[depth] += 1
            right[depth] += judge(task, "en", task.write(rng, depth, "en", ("en",)).answer).correct
    guess, plain, check = (right[depth] / all_[depth] for depth in depths)
    assert 0.15 < guess < 0.45 < plain < 0.75 < check < 0.97


def test_a_key_belongs_to_one_side_of_the_split_whatever_the_wording() -> None:
    sides: dict[str, set[bool]] = {}
    wordings: dict[str, set[str]] = {}
    for task in tasks(4000, seed=4):
        sides.setdefault(task.key, set()).add(held_out(task))
        wordings.setdefault(task.key, set()).add(task.question("en"))
    assert all(len(side) == 1 for side in sides.values())
    assert any(len(wording) > 1 for wording in wordings.values())
    share = sum(True in side for side in sides.values()) / len(sides)
    assert 0.09 < share < 0.16
    assert len(sides) > 2000


@pytest.mark.slow
def test_no_question_is_on_both_sides_of_the_split() -> None:
    drawn = tasks(5000, seed=5)
    for language in LANGUAGES:
        train = {task.question(language) for task in drawn if not held_out(task)}
        test = {task.question(language) for task in drawn if held_out(task)}
        assert not train & test


def test_hello_gets_no_thought_and_a_fact_gets_one() -> None:
    rng = Random(6)
    for task in tasks(500, seed=6):
        thinking = task.demonstration(rng, "en").thinking
        assert bool(thinking) == (task.kind not in ("chat", "self", "howto"))
        assert "{}" not in thinking


def test_a_thought_may_mix_its_languages_phrase_by_phrase() -> None:
    rng = Random(7)
    harm = next(task for task in tasks(200, seed=7) if task.kind == "harm")
    thoughts = {harm.write(rng, "check", "en", LANGUAGES).thinking for _ in range(60)}
    assert any("harm somebody" in text and "礼貌" in text for text in thoughts)


@pytest.mark.parametrize("language", LANGUAGES)
def test_texts_are_short(language: str) -> None:
    rng = Random(8)
    for task in tasks(800, seed=8):
        assert len(task.question(language)) <= 120
        written = task.write(rng, "guess", language, (language,))
        assert len(written.answer) <= 260
        assert written.answer.strip()
        assert "{" not in task.question(language)


def test_the_same_seed_draws_and_writes_the_same() -> None:
    def texts() -> list[str]:
        rng = Random(9)
        drawn = [draw(rng, 3) for _ in range(100)]
        return [task.question("zh") + task.write(rng, "plain", "zh", ("zh",)).answer for task in drawn]

    assert texts() == texts()
