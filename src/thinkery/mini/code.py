"""Programming in the miniature world: a function f(x) from a description or from examples, checked by hidden tests.

One operation on a number (level 1), two (2), two on a text (3), a filter and a change of a list or a line through two
points (4), three operations or a condition (5). Thinking writes the expression operation by operation; checking runs
an example by hand. Left out: loops, more than one statement, and other languages than Python.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from thinkery.mini.code_operations import (
    ATOM,
    ENDS,
    FILTERS,
    NUMBERS,
    SUM,
    TEXTS,
    Expression,
    Operation,
    draw_operation,
)
from thinkery.mini.solutions import GUESS_RIGHT
from thinkery.mini.world import Depth, WrittenSolution
from thinkery.mini.written_steps import Teller

TRIED = {1: 0.2, 2: 0.3, 3: 0.5, 4: 0.5, 5: 0.5}  # how often a checked program is tried on an example, by level
BRACKETS_RIGHT = 0.6  # how often an operation that needs brackets is written right in one go
HEAD = "def f(x):\n    return "

_COLON = {"en": ": ", "zh": "："}
_BRACKETS = {"en": "brackets", "zh": "括号"}
_ASK = {
    "number": {
        "en": ("Write f(x) for a number x: {s}.", "f(x) takes a number: {s}. Write f."),
        "zh": ("写函数f(x)，x是数：{s}。", "函数f(x)对数x：{s}。写出f。"),
    },
    "text": {
        "en": ("Write f(x) for a string x: {s}.", "f(x) takes a string: {s}. Write f."),
        "zh": ("写函数f(x)，x是字符串：{s}。", "函数f(x)对字符串x：{s}。写出f。"),
    },
    "list": {
        "en": ("Write f(x) for a list x: {s}.", "f(x) takes a list of numbers: {s}. Write f."),
        "zh": ("写函数f(x)，x是列表：{s}。", "函数f(x)对数的列表x：{s}。写出f。"),
    },
    "examples": {
        "en": ("Find f(x)=a*x+b as Python: {s}.", "Write f(x)=a*x+b with {s}."),
        "zh": ("写函数f(x)=a*x+b：{s}。", "已知{s}，写出f(x)=a*x+b。"),
    },
}


@dataclass(frozen=True, slots=True)
class Stage:
    """One step to the program: what is said before the expression, the expression, and mistaken ones."""

    words: Callable[[Expression, str], str]
    write: Callable[[Expression], Expression]
    mistake: Callable[[Random, Expression], Expression]
    needs_brackets: Callable[[Expression], bool] = lambda e: False


@dataclass(frozen=True, slots=True)
class CodeTask:
    """A function to write (a ``WorldTask``). ``inputs`` are those of the hidden tests, ``trial`` an example's lines."""

    kind: str
    level: int
    key: str
    ask: dict[str, str]
    stages: tuple[Stage, ...] = field(repr=False)
    start: Expression
    run: Callable[[Any], Any] = field(repr=False)
    inputs: tuple[Any, ...]
    trial: str
    domain: str = "code"

    @property
    def verifier(self) -> str:
        """Programs are checked by hidden tests."""
        return "code"

    @property
    def solution(self) -> str:
        """The right program."""
        expression = self.start
        for stage in self.stages:
            expression = stage.write(expression)
        return program(expression)

    def question(self, language: str) -> str:
        """The description."""
        return self.ask[language]

    def reference(self, language: str) -> str:
        """The hidden tests as JSON, the same in both languages."""
        cases = [
            {"type": "function_call", "fn_name": "f", "input": [given], "output": self.run(given)}
            for given in self.inputs
        ]
        return json.dumps({"language": "python", "test_cases": cases})

    def columns(self, language: str) -> dict[str, Any]:
        """A solution, so that a problem's tests can be tested."""
        return {"kind": self.kind, "solution_code": self.solution}

    def write(self, rng: Random, depth: Depth, language: str, thinking: tuple[str, ...]) -> WrittenSolution:
        """A solution; the answer is the bare program."""
        teller = Teller(rng, depth, thinking)
        if depth == "guess":
            expression = self._guess(rng)
            teller.say("guess", lambda _: expression.source)
            return WrittenSolution(teller.text(), program(expression))
        expression = right = self.start
        for stage in self.stages:
            expression = self._told(teller, stage, expression)
            right = stage.write(right)
        if teller.checks and rng.random() < TRIED[self.level]:
            teller.say("check", lambda _: self.trial)
            if expression == right:
                teller.say("right")
            else:
                teller.say("wrong", lambda _: right.source)
            expression = right
        return WrittenSolution(teller.end(), program(expression))

    def summary(self, rng: Random, language: str, answer: str) -> str:
        """The program in a fenced block."""
        return f"```python\n{answer.strip()}\n```"

    def _told(self, teller: Teller, stage: Stage, before: Expression) -> Expression:
        """Tells one stage; the expression that the writer goes on with."""
        right, brackets = stage.write(before), stage.needs_brackets(before)

        def text(value: Expression, language: str) -> str:
            return f"{stage.words(before, language)}{_COLON[language]}{value.source}"

        def proof(language: str) -> str:
            return f"{_BRACKETS[language]}{_COLON[language]}{before.held(ATOM)}"

        return teller.step(
            right,
            lambda: stage.mistake(teller.rng, before),
            text,
            proof if brackets else None,
            BRACKETS_RIGHT if brackets else None,
        )

    def _guess(self, rng: Random) -> Expression:
        wrong_at = -1 if rng.random() < GUESS_RIGHT[self.level] else rng.randrange(len(self.stages))
        expression = self.start
        for i, stage in enumerate(self.stages):
            expression = stage.mistake(rng, expression) if i == wrong_at else stage.write(expression)
        return expression


def program(expression: Expression) -> str:
    """The function that returns an expression."""
    return HEAD + expression.source


def draw(rng: Random, level: int) -> CodeTask:
    """A function of a level to write."""
    if level >= 4 and rng.random() < 0.4:
        return examples(rng, level)
    if level == 5 and rng.random() < 0.4:
        return condition(rng)
    match level:
        case 1:
            return _sequence(rng, "number", 1, (draw_operation(rng, NUMBERS, 999),))
        case 2:
            return _sequence(rng, "number", 2, (draw_operation(rng, NUMBERS), draw_operation(rng, NUMBERS)))
        case 3:
            return _sequence(rng, "text", 3, _different(rng, 2))
        case 4:
            return _sequence(rng, "list", 4, _list_operations(rng))
        case _ if rng.random() < 0.5:
            return _sequence(rng, "text", 5, _different(rng, 3))
        case _:
            return _sequence(rng, "list", 5, (*_list_operations(rng), draw_operation(rng, ENDS)))


def _different(rng: Random, count: int) -> tuple[Operation, ...]:
    """Operations on a text of different kinds; never both cases."""
    while True:
        operations = tuple(draw_operation(rng, TEXTS) for _ in range(count))
        kinds = {operation.kind for operation in operations}
        if len(kinds) == count and not {"upper", "lower"} <= kinds:
            return operations


def _list_operations(rng: Random) -> tuple[Operation, ...]:
    """A filter and a change of the items, in either order."""
    operations = [draw_operation(rng, FILTERS), draw_operation(rng, NUMBERS)]
    rng.shuffle(operations)
    return tuple(operations)


def _sequence(rng: Random, kind: str, level: int, operations: tuple[Operation, ...]) -> CodeTask:
    """Operations one after the other."""

    def run(value: Any) -> Any:
        for operation in operations:
            value = operation.do(value)
        return value

    given: Any = {"number": rng.randrange(2, 6), "text": "aBcd", "list": [1, 2, 30]}[kind]
    values, value = [], given
    for operation in operations:
        value = operation.do(value)
        values.append(repr(value))
    words = {
        "en": ", then ".join(operation.words("en") for operation in operations),
        "zh": "，再".join(operation.words("zh") for operation in operations),
    }
    key = f"{kind};" + ";".join(f"{operation.kind} {operation.constant}" for operation in operations)
    return CodeTask(
        kind, level, key, _asked(rng, kind, words), tuple(_stage(operation) for operation in operations),
        Expression("y", items=True) if kind == "list" else Expression("x"),
        run, _inputs(kind, operations), f"f({given!r}): {', '.join(values)}",
    )  # fmt: skip


def _stage(operation: Operation) -> Stage:
    def needs_brackets(e: Expression) -> bool:
        return operation.write_loosely(e).source != operation.write(e).source

    def mistake(rng: Random, e: Expression) -> Expression:
        if needs_brackets(e) and rng.random() < 0.8:
            return operation.write_loosely(e)
        return operation.mistaken(rng).write(e)

    return Stage(lambda e, language: operation.words(language), operation.write, mistake, needs_brackets)


def _asked(rng: Random, kind: str, words: dict[str, str]) -> dict[str, str]:
    i = rng.randrange(2)
    return {language: _ASK[kind][language][i].format(s=text) for language, text in words.items()}


def _inputs(kind: str, operations: tuple[Operation, ...]) -> tuple[Any, ...]:
    """What the hidden tests give: enough to tell neighbouring constants and operations apart."""
    if kind == "number":
        return (0, 1, 7, 12, -5)
    if kind == "text":
        return ("Hello World", "abCDefgh", "Zebra!", "ox", "I")
    values = list(range(-150, 150))
    reached = values
    for operation in operations:
        if operation.kind in FILTERS:
            limit = operation.constant if isinstance(operation.constant, int) else 10
            distance = {value: abs(got - limit) for value, got in zip(values, reached, strict=True)}
            near = sorted(values, key=distance.__getitem__)[:5]
            return ([], [*near, 3, 140, -2, 8], [5, 2, 9, 14, 60, 61], [-140, *near, 77], [limit, 41, 7])
        reached = operation.do(reached)
    raise ValueError("a list's operations hold a filter")


def condition(rng: Random) -> CodeTask:
    """One operation on numbers that pass a condition, another on the others."""
    test, then = draw_operation(rng, FILTERS), draw_operation(rng, NUMBERS)
    other = draw_operation(rng, NUMBERS)
    while other == then:
        other = draw_operation(rng, NUMBERS)

    def run(value: int) -> Any:
        return (then if test.do([value]) else other).do(value)

    stages = (
        Stage(
            lambda e, n: _when(test, n),
            lambda e: Expression(test.condition("x")),
            lambda rng, e: Expression(test.mistaken(rng).condition("x")),
        ),
        Stage(
            lambda e, n: then.words(n),
            lambda e: Expression(f"{then.write(Expression('x')).text} if {e.text}"),
            lambda rng, e: Expression(f"{then.mistaken(rng).write(Expression('x')).text} if {e.text}"),
        ),
        Stage(
            lambda e, n: ("else " if n == "en" else "否则") + other.words(n),
            lambda e: Expression(f"{e.text} else {other.write(Expression('x')).text}"),
            lambda rng, e: Expression(f"{e.text} else {other.mistaken(rng).write(Expression('x')).text}"),
        ),
    )
    words = {
        "en": f"{_when(test, 'en')} {then.words('en')}, else {other.words('en')}",
        "zh": f"{_when(test, 'zh')}就{then.words('zh')}，否则{other.words('zh')}",
    }
    given = rng.randrange(2, 60)
    passes = bool(test.do([given]))
    taken = (then if passes else other).write(Expression(str(given))).text
    trial = f"f({given}): {'' if passes else 'not '}{test.condition(str(given))}, {taken}={run(given)}"
    limit = test.constant if isinstance(test.constant, int) else 10
    key = f"condition;{test.kind} {test.constant};{then.kind} {then.constant};{other.kind} {other.constant}"
    inputs = (limit - 1, limit, limit + 1, 101, -8)
    return CodeTask("condition", 5, key, _asked(rng, "number", words), stages, Expression("x"), run, inputs, trial)


def _when(test: Operation, language: str) -> str:
    words = {
        "even": ("if x is even", "如果x是偶数"),
        "odd": ("if x is odd", "如果x是奇数"),
        "greater": (f"if x is above {test.constant}", f"如果x大于{test.constant}"),
        "less": (f"if x is below {test.constant}", f"如果x小于{test.constant}"),
    }
    return words[test.kind][language == "zh"]


def examples(rng: Random, level: int) -> CodeTask:
    """A line through two points: f(0) and f(1) at level 4, two neighbours further on at level 5."""
    a, b = rng.randrange(2, 30), rng.randrange(1, 100)
    at = 0 if level == 4 else rng.randrange(1, 5)
    low, high = a * at + b, a * (at + 1) + b

    def slope(rng: Random, e: Expression) -> Expression:
        return Expression(f"{max(2, a + rng.choice((-10, -2, -1, 1, 2, 10)))}*x")

    def intercept(e: Expression) -> Expression:
        return Expression(f"{e.text}{low - int(e.text.partition('*')[0]) * at:+d}", SUM)

    def rest(e: Expression, language: str) -> str:
        slope = int(e.text.partition("*")[0])
        return f"f(0)={low}" if at == 0 else f"{slope}*{at}={slope * at}, {low}-{slope * at}={low - slope * at}"

    stages = (
        Stage(lambda e, n: f"{high}-{low}={a}", lambda e: Expression(f"{a}*x"), slope),
        Stage(
            rest,
            intercept,
            lambda rng, e: Expression(f"{intercept(e).text.partition('x')[0]}x+{b + rng.randrange(1, 10)}", SUM),
        ),
    )
    shown = f"f({at})={low}, f({at + 1})={high}"
    asked = _asked(rng, "examples", {"en": shown, "zh": shown.replace(", ", "，")})
    trial = f"f({at + 1})={a}*{at + 1}+{b}={high}"
    return CodeTask(
        "examples", level, f"examples;{a};{b};{at}", asked, stages, Expression("x", ATOM),
        lambda x: a * x + b, (0, 1, 10, -3, 55), trial,
    )  # fmt: skip
