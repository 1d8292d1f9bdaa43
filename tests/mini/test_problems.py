"""The miniature world: splits that don't meet, answers that are right, checks that pay."""

import re
from itertools import islice
from random import Random

import pytest

from thinkery.mini.math import draw
from thinkery.mini.plugin import DOMAINS, LEVELS, documents, drill_step, held_out, mini_problem, mini_task
from thinkery.mini.solutions import take_apart, write
from thinkery.mini.tasks import Step, Task
from thinkery.types import UserError

pytestmark = pytest.mark.slow

EXPRESSION = re.compile(r"[\d+\-*/()]*[+\-*/][\d+\-*/()]*\d\)?")
EQUALITY = re.compile(r"(\d+)([+\-*/])(\d+)=(-?\d+)")


MATH = {"math": 1.0}


def draw_task(rng: Random, level: int) -> Task:
    return draw(rng, level).task


def value_of(expression: str) -> int:
    """Python's own arithmetic, as an independent reference."""
    value = eval(expression)  # the test made the text itself
    assert value == int(value)
    return int(value)


@pytest.mark.parametrize("level", LEVELS)
def test_chain_answers_agree_with_python(level: int) -> None:
    checked = 0
    for index in range(600):
        problem = mini_problem(index, "train", levels=[level], languages={"en": 1}, domains=MATH)
        if problem.columns["kind"] == "chain":
            assert value_of(EXPRESSION.search(problem.prompt)[0]) == int(problem.reference), problem.prompt
            checked += 1
    assert checked > 200


@pytest.mark.parametrize("level", LEVELS)
def test_equations_hold_for_their_answer(level: int) -> None:
    checked = 0
    for index in range(600):
        problem = mini_problem(index, "test", levels=[level], languages={"zh": 1}, domains=MATH)
        if problem.columns["kind"] == "equation":
            left, right = re.search(r"([\dx+\-*/]+)=(-?\d+)", problem.prompt).groups()
            assert value_of(left.replace("x", problem.reference)) == int(right), problem.prompt
            checked += 1
    assert checked > 50


def test_only_levels_4_and_5_need_a_hard_product() -> None:
    rng = Random(0)
    for _ in range(2000):
        level = rng.choice(LEVELS)
        assert any(step.hard for step in draw_task(rng, level).steps) == (level >= 4)


@pytest.mark.parametrize("domain", DOMAINS)
def test_no_task_is_in_both_splits(domain: str) -> None:
    """By substance: the same task never appears in both, whatever the wording or the language."""

    def keys(split: str) -> set[str]:
        return {mini_task(i, split, domains={domain: 1})[0].key for i in range(2000)}

    assert not keys("train") & keys("test")


def test_numbers_of_one_split_are_not_in_the_other() -> None:
    def numbers(split: str) -> set[str]:
        problems = (mini_problem(i, split, languages={"en": 1}, domains=MATH) for i in range(4000))
        return {re.sub(r"[^\d+\-*/=x]", " ", problem.prompt) for problem in problems}

    assert not numbers("train") & numbers("test")


@pytest.mark.parametrize("domain", DOMAINS)
def test_the_corpus_holds_no_held_out_question(domain: str, lines_of_the_corpus: set[str]) -> None:
    questions = {
        mini_problem(i, "test", languages={language: 1}, domains={domain: 1}).prompt
        for i in range(1500)
        for language in ("en", "zh")
    }
    assert not questions & lines_of_the_corpus


@pytest.fixture(scope="module")
def lines_of_the_corpus() -> set[str]:
    return {
        re.sub(r"^(Question: |问：|User: )", "", line) for d in islice(documents(1), 20_000) for line in d.splitlines()
    }


@pytest.mark.parametrize("domain", DOMAINS)
def test_the_corpus_asks_questions_of_every_domain(domain: str, lines_of_the_corpus: set[str]) -> None:
    rng = Random(5)
    asked = sum(
        DOMAINS[domain](rng, level).question("en") in lines_of_the_corpus for level in LEVELS for _ in range(400)
    )
    assert asked > 0


def test_the_held_out_share_is_about_one_in_eight() -> None:
    rng = Random(1)
    share = sum(held_out(draw(rng, rng.choice(LEVELS))) for _ in range(8000)) / 8000
    assert 0.1 < share < 0.15


def test_problems_are_counted_not_carried() -> None:
    forwards = [mini_problem(i, "train", seed=3) for i in range(50)]
    backwards = [mini_problem(i, "train", seed=3) for i in reversed(range(50))]
    assert forwards == backwards[::-1]
    assert forwards != [mini_problem(i, "train", seed=4) for i in range(50)]


def test_levels_and_languages_are_as_asked() -> None:
    problems = [mini_problem(i, "train", levels=[2, 4], languages={"zh": 3, "en": 1}) for i in range(400)]
    assert {p.level for p in problems} == {2, 4}
    assert 0.65 < sum(p.language == "zh" for p in problems) / 400 < 0.85


def test_domains_are_as_asked() -> None:
    problems = [mini_problem(i, "train", domains={"code": 1, "logic": 3}) for i in range(400)]
    assert {p.domain for p in problems} == {"code", "logic"}
    assert 0.65 < sum(p.domain == "logic" for p in problems) / 400 < 0.85
    assert {mini_problem(i, "test").domain for i in range(200)} == {"math", "code", "stem", "logic"}


def test_a_level_or_language_that_does_not_exist_is_named() -> None:
    with pytest.raises(UserError, match="no 9; levels are 1, 2, 3, 4, 5"):
        mini_problem(0, "train", levels=[9])
    with pytest.raises(UserError, match="no fr"):
        mini_problem(0, "train", languages={"fr": 1})
    with pytest.raises(UserError, match=r"no art; .*domains math, code, stem, logic, general"):
        mini_problem(0, "train", domains={"art": 1})


def test_checking_pays_on_hard_products_and_only_there() -> None:
    rng = Random(2)

    def right(depth: str, level: int) -> float:
        tasks = [draw_task(rng, level) for _ in range(1500)]
        return sum(write(rng, task, depth, ("en",))[1] == task.answer for task in tasks) / len(tasks)

    for level in (4, 5):
        assert right("guess", level) < 0.1
        assert right("plain", level) < 0.3
        assert right("check", level) > 0.85
    assert right("check", 1) - right("plain", 1) < 0.15


def test_a_product_taken_apart_is_right_at_every_step() -> None:
    rng = Random(3)
    for _ in range(500):
        step = Step(rng.randrange(12, 99), "*", rng.randrange(12, 99))
        if not step.hard:
            continue
        parts = EQUALITY.findall(take_apart(step))
        assert len(parts) == 3
        assert all(value_of(f"{a}{op}{b}") == int(result) for a, op, b, result in parts)
        assert int(parts[-1][3]) == step.result


def test_drills_are_exact_and_never_hard() -> None:
    rng = Random(4)
    for _ in range(3000):
        step = drill_step(rng)
        assert not step.hard
        assert value_of(f"{step.a}{step.op}{step.b}") == step.result


def test_the_corpus_has_every_format_and_mixes_languages() -> None:
    docs = list(islice(documents(5), 4000))
    share = {
        "tags": sum("<think>" in d and "</answer>" in d for d in docs),
        "instruction": sum(d.startswith("The User asks") for d in docs),
        "chinese": sum(bool(re.search("[一-鿿]", d)) for d in docs),
        "reflection": sum(bool(re.search(r"Check|check|Verify|检查|验算", d)) for d in docs),
    }
    assert 0.18 < share["tags"] / 4000 < 0.35
    assert 0.01 < share["instruction"] / 4000 < 0.06
    assert 0.25 < share["chinese"] / 4000 < 0.55
    assert 0.03 < share["reflection"] / 4000 < 0.25
