"""The miniature world's tasks: arithmetic of five levels, as steps that can be written down and an answer.

A task knows its numbers, its question in English and Chinese, and the steps that solve it; it doesn't know how well
anybody writes them (``solutions.py``). A product of two two-digit numbers is *hard*: a small model can't do it in one
go, but it can take it apart. Levels 4 and 5 need one; levels 1 to 3 don't. Word problems are in ``words.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Literal

Operator = Literal["+", "-", "*", "/"]
SECOND_FACTOR = 49  # the largest second factor of a hard product


@dataclass(frozen=True, slots=True)
class Step:
    """One operation of a solution."""

    a: int
    op: Operator
    b: int

    @property
    def result(self) -> int:
        """The exact value; divisions in this world have no remainder."""
        match self.op:
            case "+":
                return self.a + self.b
            case "-":
                return self.a - self.b
            case "*":
                return self.a * self.b
            case "/":
                return self.a // self.b

    @property
    def hard(self) -> bool:
        """A product that must be taken apart: both factors have two digits and don't end in 0."""
        return self.op == "*" and min(self.a, self.b) > 10 and self.a % 10 > 0 and self.b % 10 > 0


@dataclass(frozen=True, slots=True)
class Task:
    """A question with the steps to its answer. ``unknown``: an equation's x, so that a check can put it back."""

    kind: Literal["chain", "equation", "word"]
    level: int
    question: dict[str, str]  # language -> text
    steps: tuple[Step, ...]
    check: Step | None = None  # equations: the step that verifies the answer

    @property
    def answer(self) -> int:
        """The value of the last step."""
        return self.steps[-1].result

    @property
    def key(self) -> str:
        """What decides the task's split: its numbers, whatever its wording or language."""
        return ";".join(f"{step.a}{step.op}{step.b}" for step in self.steps)


ASK_CHAIN = {
    "en": ("Compute {e}.", "What is {e}?", "Calculate {e}.", "{e} = ?", "Find the value of {e}."),
    "zh": ("计算{e}。", "{e}等于多少？", "求{e}的值。", "{e} = ?", "算一算：{e}。"),
}
ASK_EQUATION = {
    "en": ("Solve for x: {e}.", "Find x if {e}.", "{e}, what is x?"),
    "zh": ("解方程：{e}。", "已知{e}，求x。", "{e}，x等于多少？"),
}


def ask(rng: Random, phrases: Mapping[str, tuple[str, ...]], expression: str) -> dict[str, str]:
    """The question in each language."""
    return {language: rng.choice(options).format(e=expression) for language, options in phrases.items()}


def hard_factor(rng: Random, largest: int = 99) -> int:
    """A two-digit number that doesn't end in 0."""
    return rng.randrange(1, largest // 10 + 1) * 10 + rng.randrange(1, 10)


def chain(rng: Random, level: int) -> Task:
    """A chain of operations: 1, 2, 3 easy ones (levels 1 to 3); one hard product with 0 or 1 (4), 2 others (5)."""
    hard = level >= 4
    operations = {1: 1, 2: 2, 3: 3, 4: rng.choice((1, 2)), 5: 3}[level]
    hard_at = rng.randrange(2) if hard and operations > 1 else 0
    while True:
        built = _chain(rng, operations, hard_at if hard else None)
        if built is not None:
            expression, steps = built
            return Task("chain", level, ask(rng, ASK_CHAIN, expression), steps)


def _chain(rng: Random, operations: int, hard_at: int | None) -> tuple[str, tuple[Step, ...]] | None:
    """An expression and its steps in order of evaluation, or None where it grew beyond the world's numbers."""
    value = hard_factor(rng) if hard_at == 0 else rng.randrange(2, 100)
    text, loose = str(value), False  # loose: the last operator is + or -, so a factor needs brackets
    steps: list[Step] = []
    for i in range(operations):
        if i == hard_at:
            if not 10 < value < 100 or value % 10 == 0:
                return None
            op: Operator = "*"
            operand = hard_factor(rng, SECOND_FACTOR)
        else:
            op, operand = _easy_operation(rng, value)
        if op == "+" and i == operations - 1 and steps and rng.random() < 0.3:  # "15+47*36": the sum comes first
            step, text = Step(operand, "+", value), f"{operand}+{text}"
        else:
            step = Step(value, op, operand)
            text = f"({text}){op}{operand}" if loose and op in "*/" else f"{text}{op}{operand}"
        steps.append(step)
        value, loose = step.result, step.op in "+-"
    fits = all(-999 <= step.result <= 9999 for step in steps)
    return (text, tuple(steps)) if fits else None


def _easy_operation(rng: Random, value: int) -> tuple[Operator, int]:
    """An operation that can be done in one go on ``value``."""
    divisors = [d for d in range(2, 10) if value > d and value % d == 0]
    options: list[Operator] = ["+", "-"]
    if 1 < value < 100:
        options.append("*")
    if divisors and value < 1000:
        options.append("/")
    op = rng.choice(options)
    if op == "*":
        return op, rng.randrange(2, 10)
    if op == "/":
        return op, rng.choice(divisors)
    if op == "-":
        return op, rng.randrange(1, max(2, min(100, value + (10 if rng.random() < 0.1 else 0))))
    return op, rng.randrange(1, 100)


def equation(rng: Random, level: int) -> Task:
    """A linear equation in x: x+b=c (1), a*x=c (2), a*x+b=c (3), x/a=c hard (4), x/a+b=c hard (5)."""
    if level >= 4:
        a, quotient, b = hard_factor(rng, SECOND_FACTOR), hard_factor(rng), rng.randrange(2, 100)
        if level == 4:
            return _equation(rng, level, f"x/{a}={quotient}", (Step(quotient, "*", a),), None)
        minus = rng.random() < 0.5 and quotient > b
        right = quotient - b if minus else quotient + b
        undo = Step(right, "+" if minus else "-", b)
        left = f"x/{a}{'-' if minus else '+'}{b}={right}"
        return _equation(rng, level, left, (undo, Step(quotient, "*", a)), None)
    x, a, b = rng.randrange(2, 100), rng.randrange(2, 10), rng.randrange(1, 100)
    if level == 1:
        if rng.random() < 0.5:
            return _equation(rng, level, f"x+{b}={x + b}", (Step(x + b, "-", b),), Step(x, "+", b))
        return _equation(rng, level, f"x-{b}={x - b}", (Step(x - b, "+", b),), Step(x, "-", b))
    if level == 2:
        return _equation(rng, level, f"{a}*x={a * x}", (Step(a * x, "/", a),), Step(a, "*", x))
    steps = (Step(a * x + b, "-", b), Step(a * x, "/", a))
    return _equation(rng, level, f"{a}*x+{b}={a * x + b}", steps, Step(a, "*", x))


def _equation(rng: Random, level: int, text: str, steps: tuple[Step, ...], check: Step | None) -> Task:
    return Task("equation", level, ask(rng, ASK_EQUATION, text), steps, check)
