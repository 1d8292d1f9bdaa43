"""Code, science and logic of the miniature world: what their tasks have in common, judged by the real verifiers."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cache
from random import Random
from typing import Any

import pytest

from thinkery.mini import code, logic, stem
from thinkery.mini.plugin import held_out
from thinkery.mini.world import LEVELS, Depth, WorldTask
from thinkery.models.template import TEMPLATES
from thinkery.recipe.verification import Verification
from thinkery.rewards.registry import make_verifier
from thinkery.types import Outcome, Problem, Verdict

pytestmark = pytest.mark.slow

DOMAINS = {"code": code, "stem": stem, "logic": logic}
KINDS = {
    "code": {"number", "text", "list", "condition", "examples"},
    "stem": {"fact", "member", "rank", "formula", "chain"},
    "logic": {"order", "truth", "turn", "calendar"},
}
REFLECTION = re.compile(r"heck|Verify|Wait|Wrong|mistake|检查|验算|等等|不对|错了")
CHINESE = re.compile(r"[\u3000-\u9fff\uff00-\uffef]")
LATIN_IN_CHINESE = {  # letters of options, units and symbols, Python
    "logic": "A B C D",
    "stem": "A B C D N O S V W J m s kg ohm He Na Mg Al Cl Ca Fe Cu Zn Ag Au",
    "code": "f x y a b def return for in if else not sum len sorted upper lower python",
}

domains = pytest.mark.parametrize("domain", list(DOMAINS))


class Judge:
    """The real verifiers of a template."""

    def __init__(self, template: str) -> None:
        self.template = TEMPLATES[template]
        self.verifiers = {n: make_verifier(n, self.template, Verification(workers=1)) for n in ("choice", "code")}

    def reference_completion(self, task: WorldTask, language: str) -> Outcome:
        """The outcome of the problem's own solution."""
        completion = self.verifiers[task.verifier].reference_completion(problem_of(task, language))
        assert completion is not None
        return self._outcome(task, language, completion)

    def answer(self, task: WorldTask, language: str, answer: str) -> Outcome:
        """The outcome of an answer, in the tag or as the summary that the template wants."""
        written = answer if self.template.answer_tag else task.summary(Random(0), language, answer)
        return self._outcome(task, language, self.template.write("Thinking.", written))

    def _outcome(self, task: WorldTask, language: str, completion: str) -> Outcome:
        verdict = self.verifiers[task.verifier].begin(completion, problem_of(task, language))
        return verdict.outcome if isinstance(verdict, Verdict) else verdict.result(20).outcome


@pytest.fixture(scope="module", params=["r1-zero-compact", "r1-compact"])
def judge(request: pytest.FixtureRequest) -> Iterator[Judge]:
    """A template with an answer tag, and one without."""
    judge = Judge(request.param)
    yield judge
    for verifier in judge.verifiers.values():
        verifier.close()


@cache
def drawn(domain: str, count: int, seed: int = 0) -> list[WorldTask]:
    """Tasks of the levels in turn."""
    rng = Random(seed)
    return [DOMAINS[domain].draw(rng, LEVELS[i % len(LEVELS)]) for i in range(count)]


def problem_of(task: WorldTask, language: str) -> Problem:
    return Problem(
        id="p",
        prompt=task.question(language),
        reference=task.reference(language),
        domain=task.domain,
        level=task.level,
        language=language,
        verifier=task.verifier,
        columns=task.columns(language),
    )


def is_right(task: WorldTask, answer: str) -> bool:
    """Judged without the verifiers. The world writes the programs itself, so they are run here."""
    if task.verifier == "choice":
        return answer == task.reference("en")
    names: dict[str, Any] = {}
    cases = json.loads(task.reference("en"))["test_cases"]
    try:
        exec(compile(answer, "written", "exec"), names)
        return all(names["f"](*case["input"]) == case["output"] for case in cases)
    except (SyntaxError, AttributeError, TypeError):
        return False


@domains
def test_a_seed_gives_the_same_task_and_the_same_writing(domain: str) -> None:
    rng = Random(0)
    for i, first in enumerate(drawn(domain, 300)):
        second = DOMAINS[domain].draw(rng, LEVELS[i % 5])
        for language in ("en", "zh"):
            assert first.question(language) == second.question(language) == first.question(language)
            assert first.reference(language) == second.reference(language)
            assert first.columns(language) == second.columns(language)
            for depth in ("guess", "plain", "check"):
                assert first.write(Random(1), depth, language, (language,)) == second.write(
                    Random(1), depth, language, (language,)
                )


@domains
def test_tasks_have_the_level_that_was_asked_for_and_all_kinds_occur(domain: str) -> None:
    tasks = drawn(domain, 1000)
    assert [task.level for task in tasks[:5]] == list(LEVELS)
    assert {task.domain for task in tasks} == {domain}
    assert {task.kind for task in tasks} == KINDS[domain]
    assert json.loads(json.dumps(dict(tasks[0].columns("zh")))) == tasks[0].columns("zh")


@domains
def test_the_key_is_the_substance_so_one_key_has_one_answer(domain: str) -> None:
    answers: dict[str, set[str]] = defaultdict(set)
    wordings: dict[str, set[str]] = defaultdict(set)
    for task in drawn(domain, 10000):
        columns = task.columns("en")
        right = columns.get("solution_code") or task.reference("en")
        answers[task.key].add(right)
        wordings[task.key].add(task.question("en"))
    assert all(len(right) == 1 for right in answers.values())
    assert sum(len(texts) > 1 for texts in wordings.values()) > 30  # so the key isn't just the wording


@domains
def test_train_and_test_share_no_question_and_one_task_in_eight_is_held_out(domain: str) -> None:
    tasks = drawn(domain, 10000)
    test = [task for task in tasks if held_out(task)]
    for language in ("en", "zh"):
        seen = {task.question(language) for task in tasks if not held_out(task)}
        assert not seen & {task.question(language) for task in test}
    for level in LEVELS:
        assert 0.08 < sum(task.level == level for task in test) / 2000 < 0.18
    assert {task.kind for task in test} == KINDS[domain]


@domains
def test_levels_hold_enough_different_tasks(domain: str) -> None:
    keys = {(task.level, task.key) for task in drawn(domain, 10000)}
    assert min(Counter(level for level, _ in keys).values()) > 500


@domains
def test_texts_are_short(domain: str) -> None:
    rng = Random(2)
    longest: Counter[str] = Counter()
    for task in drawn(domain, 3000):
        longest["question"] = max(longest["question"], len(task.question("en")))
        for depth in ("guess", "plain", "check"):
            written = task.write(rng, depth, "en", ("en",))
            longest[depth] = max(longest[depth], len(written.thinking))
            longest["answer"] = max(longest["answer"], len(written.answer))
    limits = {"question": 220, "guess": 90, "plain": 260, "check": 460, "answer": 90}
    assert all(longest[name] <= limit for name, limit in limits.items()), longest


@domains
def test_each_language_keeps_to_its_own_script(domain: str) -> None:
    rng = Random(3)
    for task in drawn(domain, 1500):
        depth: Depth = rng.choice(("guess", "plain", "check"))
        for language in ("en", "zh"):
            written = task.write(rng, depth, language, (language,))
            text = " ".join((task.question(language), written.thinking, task.summary(rng, language, written.answer)))
            if language == "en":
                assert not CHINESE.search(text), text
            else:
                plain = re.sub(r"'\w*'", "", text)  # without the letters that a task is about
                assert set(re.findall(r"[A-Za-z]+", plain)) <= set(LATIN_IN_CHINESE[domain].split()), text
                assert CHINESE.search(task.question("zh"))


@domains
def test_who_works_is_more_often_right_and_who_checks_most_often(domain: str) -> None:
    rng = Random(4)
    right: Counter[tuple[str, int]] = Counter()
    for task in drawn(domain, 1500):
        for depth in ("guess", "plain", "check"):
            right[depth, task.level] += is_right(task, task.write(rng, depth, "en", ("en",)).answer)
    share = {key: count / 300 for key, count in right.items()}
    for level in LEVELS:
        assert share["check", level] > 0.9
        assert share["check", level] > share["plain", level] + 0.03
    means = {depth: sum(share[depth, level] for level in LEVELS) / 5 for depth in ("guess", "plain", "check")}
    assert means["plain"] > means["guess"] + 0.15
    assert share["guess", 5] < 0.4 < share["guess", 1] < 0.6
    if domain != "code":  # a hard step is what a plain writer gets wrong
        assert share["check", 5] > share["plain", 5] + 0.3


@domains
def test_only_who_checks_reflects(domain: str) -> None:
    rng = Random(5)
    texts = {
        depth: [task.write(rng, depth, "zh", ("en", "zh")).thinking for task in drawn(domain, 500)]
        for depth in ("guess", "plain", "check")
    }
    assert not any(REFLECTION.search(text) for text in texts["guess"] + texts["plain"])
    assert sum(bool(REFLECTION.search(text)) for text in texts["check"]) > 0.3 * len(texts["check"])


@pytest.mark.parametrize("domain", ["stem", "logic"])
def test_options_differ_and_the_right_one_stands_anywhere(domain: str) -> None:
    places: Counter[int] = Counter()
    tasks = drawn(domain, 4000)
    for task in tasks:
        for language in ("en", "zh"):
            options = task.columns(language)["choices"]
            assert len(set(options)) == len(options) in (3, 4)
            assert task.question(language)[:-1].endswith((", " if language == "en" else "，").join(options))
        if len(options) == 4:
            places[options.index(task.reference("zh"))] += 1
    total = sum(places.values())
    assert all(abs(count / total - 0.25) < 0.03 for count in places.values()), places


@pytest.mark.parametrize("domain", ["stem", "logic"])
def test_the_verifier_accepts_the_right_option_alone(domain: str, judge: Judge) -> None:
    for task in drawn(domain, 400, seed=6):
        for language in ("en", "zh"):
            assert judge.reference_completion(task, language) is Outcome.CORRECT
            for option in task.columns(language)["choices"]:
                expected = Outcome.CORRECT if option == task.reference(language) else Outcome.WRONG
                summary = task.summary(Random(0), language, option)
                assert judge.answer(task, language, option) is expected, summary


def test_the_verifier_runs_what_the_world_writes(judge: Judge) -> None:
    rng = Random(7)
    seen: Counter[tuple[str, bool]] = Counter()
    for task in drawn("code", 400, seed=8):
        answer = task.write(rng, rng.choice(("guess", "check")), "zh", ("en", "zh")).answer
        expected = is_right(task, answer)
        if seen[task.kind, expected] == 2:
            continue
        seen[task.kind, expected] += 1
        assert judge.reference_completion(task, "en") is Outcome.CORRECT
        assert judge.answer(task, "en", answer) is (Outcome.CORRECT if expected else Outcome.WRONG), answer
    assert seen == {(kind, right): 2 for kind in KINDS["code"] for right in (True, False)}
