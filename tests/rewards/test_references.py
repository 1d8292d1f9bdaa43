"""Golds go through their own verifiers: refused ones stop, unreadable ones are masked, missing ones are named."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from thinkery.models.template import TEMPLATES
from thinkery.recipe import RewardSpec
from thinkery.rewards import Grader, GraderSpec, check_references
from thinkery.types import Problem, UserError

pytestmark = pytest.mark.slow


def problem(name: str, reference: str, **fields: Any) -> Problem:
    return Problem(id=name, prompt=f"What is {name}?", reference=reference, **fields)


@pytest.fixture(params=["r1-zero", "chat-think"])
def grader(request: pytest.FixtureRequest) -> Iterator[Grader]:
    rewards = {"accuracy": RewardSpec()}
    with Grader(GraderSpec(TEMPLATES[request.param], rewards, max_completion_length=64)) as opened:
        yield opened


GOOD = [
    problem("a", "1"),
    problem("b", "\\sqrt{2}"),
    problem("c", "1{,}000"),
    problem("d", "\\text{east}"),
    problem("e", "\\{1, 2\\}"),
    problem("f", "B", verifier="choice", columns={"choices": ["Rome", "Paris"]}),
]


def test_good_references_are_accepted_in_the_template_s_own_form(grader: Grader) -> None:
    done: list[int] = []
    report = check_references(grader, GOOD, done.append)
    assert (report.checked, list(report.refused), list(report.unparseable)) == (len(GOOD), [], [])
    report.require()
    assert report.notes() == []
    assert done[-1] == len(GOOD)


def test_what_no_rule_can_check_is_no_reference(grader: Grader) -> None:
    free = problem("free", "a poem of some kind", verifier="none")
    assert check_references(grader, [*GOOD, free]) == check_references(grader, GOOD)
    nothing = check_references(grader, [free])
    nothing.require()
    assert (nothing.checked, nothing.notes()) == (0, [])


def test_unreadable_references_are_masked_and_named(grader: Grader) -> None:
    bad = [
        problem("x", ""),
        problem("y", "\\frac{"),
        problem("v", "notfound"),
        problem("z", "Q", verifier="choice", columns={"choices": ["1"]}),
    ]
    report = check_references(grader, [*GOOD, *bad])
    report.require()
    assert report.masked == {"v", "x", "y", "z"}
    assert "4 of 10 references can't be read" in report.notes()[0]
    assert any("x:" in note for note in report.notes())
    with pytest.raises(UserError, match="no problem has a reference that can be read"):
        check_references(grader, bad).require()


def test_a_program_that_fails_its_own_tests_stops_and_one_that_is_missing_is_named(grader: Grader) -> None:
    tests = json.dumps({"language": "python", "test_cases": [{"input": "2", "output": "4", "type": "stdin_stdout"}]})
    solutions = {"right": "print(2 * int(input()))", "wrong": "print(5)"}
    problems = [
        problem(name, tests, verifier="code", columns={"solution_code": code}) for name, code in solutions.items()
    ]
    report = check_references(grader, [*problems, problem("missing", tests, verifier="code")])
    assert [p.id for p, _ in report.refused] == ["wrong"]
    assert [p.id for p in report.without] == ["missing"]
    assert "1 problems hold no solution" in "\n".join(report.notes())
    with pytest.raises(UserError, match=r"(?s)1 of 3 problems.*wrong:"):
        report.require()
