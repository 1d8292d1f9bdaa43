"""Programming in the miniature world: what its hidden tests tell apart, and expressions built step by step."""

from __future__ import annotations

import json
import re
from random import Random
from typing import Any

import pytest

from thinkery.mini import code
from thinkery.mini.code_operations import (
    ENDS,
    FILTERS,
    NUMBERS,
    TEXTS,
    Expression,
    Kind,
    Operation,
    draw_operation,
)  # fmt: skip
from thinkery.mini.world import LEVELS
from thinkery.rewards.programs.tests import CallTests, parse_tests


def function(source: str) -> Any:
    names: dict[str, Any] = {}
    exec(compile(source, "program", "exec"), names)
    return names["f"]


def outcome(f: Any, value: Any) -> Any:
    try:
        return f(value)
    except (TypeError, AttributeError) as error:
        return type(error)


def tasks(count: int, seed: int) -> list[code.CodeTask]:
    rng = Random(seed)
    return [code.draw(rng, LEVELS[i % 5]) for i in range(count)]


def many_inputs(kind: str) -> list[Any]:
    """More than the hidden tests have."""
    if kind == "text":
        return ["", "a", "AbCdE", "hello world", "xyz XYZ abc"]
    if kind == "list":
        return [[], list(range(-150, 151)), [3, 1, 2], [60, -7, 60], [-9]]
    return list(range(-120, 121))


@pytest.mark.parametrize(
    ("words", "expression"),
    [
        (["subtract 7", "multiply by 3"], "(x-7)*3"),
        (["multiply by 3", "subtract 7"], "x*3-7"),
        (["add 'ab' at the end", "reverse"], "(x+'ab')[::-1]"),
        (["repeat 3 times", "keep the first 5"], "(x*3)[:5]"),
        (["keep the last 2", "repeat 3 times"], "x[-2:]*3"),
        (["add 'q' at the front", "make upper case"], "('q'+x).upper()"),
    ],
)
def test_brackets_stand_where_python_needs_them_and_only_there(words: list[str], expression: str) -> None:
    known = {
        "subtract 7": Operation("subtract", 7),
        "multiply by 3": Operation("multiply", 3),
        "add 'ab' at the end": Operation("append", "ab"),
        "add 'q' at the front": Operation("prepend", "q"),
        "reverse": Operation("reverse"),
        "make upper case": Operation("upper"),
        "repeat 3 times": Operation("repeat", 3),
        "keep the first 5": Operation("first", 5),
        "keep the last 2": Operation("last", 2),
    }
    written = Expression("x")
    for word in words:
        assert known[word].words("en") == word
        written = known[word].write(written)
    assert written.source == expression


def test_a_filter_after_a_change_looks_at_the_changed_items() -> None:
    changed = Operation("add", 3).write(Expression("y", items=True))
    filtered = Operation("even").write(changed)
    assert filtered.source == "[y+3 for y in x if (y+3)%2==0]"
    assert Operation("total").write(filtered).source == "sum([y+3 for y in x if (y+3)%2==0])"
    assert Operation("even").do(Operation("add", 3).do([1, 2, 3])) == [4, 6]


@pytest.mark.parametrize("kind", sorted({*NUMBERS, *TEXTS, *FILTERS, *ENDS}))
def test_every_operation_is_written_as_it_is_done(kind: Kind) -> None:
    rng = Random(1)
    for _ in range(20):
        operation = draw_operation(rng, (kind,))
        listed = kind in FILTERS or kind in ENDS
        written = operation.write(Expression("y", items=True) if listed else Expression("x"))
        f = function(code.program(written))
        inputs = many_inputs("text" if kind in TEXTS else "list" if listed else "number")
        assert all(f(value) == operation.do(value) for value in inputs)


def test_solutions_agree_with_the_reference_implementation_beyond_the_tests() -> None:
    for task in tasks(500, 2):
        f = function(task.solution)
        assert all(f(value) == task.run(value) for value in many_inputs(task.kind)), task.solution


def test_a_program_that_passes_the_hidden_tests_is_right_elsewhere_too() -> None:
    rng = Random(3)
    caught = 0
    for task in tasks(1500, 4):
        program = task.write(rng, "guess", "en", ("en",)).answer
        try:
            f = function(program)
        except SyntaxError:
            continue
        passes = all(outcome(f, value) == task.run(value) for value in task.inputs)
        right = all(outcome(f, value) == task.run(value) for value in many_inputs(task.kind))
        caught += not passes
        assert passes == right, (program, task.solution)
    assert caught > 800


def test_the_reference_is_read_as_calls_of_f_in_one_reading() -> None:
    for task in tasks(300, 5):
        tests = parse_tests(task.reference("zh")).tests
        assert isinstance(tests, CallTests)
        assert (tests.function, tests.readings) == ("f", 1)
        assert 3 <= len(tests.tests) <= 5
        assert "expected" not in task.question("en")
        assert json.loads(task.reference("en")) == json.loads(task.reference("zh"))


def test_a_line_through_two_points_is_found_from_what_the_question_shows() -> None:
    rng = Random(6)
    for i in range(300):
        task = code.examples(rng, 4 + i % 2)
        f = function(task.solution)
        points = [(int(x), int(y)) for x, y in re.findall(r"f\((\d+)\)=(\d+)", task.question("en"))]
        assert len(points) == 2
        assert all(f(x) == y for x, y in points)


def test_the_summary_fences_the_program() -> None:
    summary = tasks(1, 7)[0].summary(Random(0), "zh", "def f(x):\n    return x+1")
    assert summary == "```python\ndef f(x):\n    return x+1\n```"
