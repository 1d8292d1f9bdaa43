"""How people of the miniature world write their thinking: at three depths, in two languages, not always well.

* ``guess``: an answer without work, mostly wrong where the task has more than one step;
* ``plain``: the steps, a hard product guessed in one go and mostly wrong, now and then a slip;
* ``check``: the steps, with hard products guessed, then checked by taking them apart, and put right.

So deep thinking pays where, and only where, the model can't do it in one go. Nothing here is shown to the model as a
rule or a reward; it is what the base model has read.
"""

from __future__ import annotations

from random import Random

from thinkery.mini.tasks import Step, Task
from thinkery.mini.world import Depth

GUESS_RIGHT = {1: 0.5, 2: 0.25, 3: 0.1, 4: 0.03, 5: 0.02}  # by level
HARD_GUESS_RIGHT = 0.15
PLAIN_SLIP, CHECK_SLIP = 0.08, 0.02
NEEDLESS_CHECK = 0.15  # of easy steps, where the writer checks at all

PHRASES: dict[str, dict[str, tuple[str, ...]]] = {
    "en": {
        "guess": ("I guess {r}.", "It should be {r}.", "About {r}.", "Easy, {r}."),
        "first": ("First {s}", "We have {s}", "Start: {s}", "{s}"),
        "next": (". Then {s}", ", so {s}", ". Next {s}", ", {s}"),
        "check": (". Check: {s}", ". Let me check: {s}", ". Verify: {s}"),
        "right": (". Correct", ". Good"),
        "wrong": (". Wait, {s}", ". Wrong, {s}", ". A mistake: {s}"),
        "end": (".",),
    },
    "zh": {
        "guess": ("我猜是{r}。", "应该是{r}。", "大概{r}。", "简单，{r}。"),
        "first": ("先算{s}", "由题意{s}", "首先{s}", "{s}"),
        "next": ("，再算{s}", "，所以{s}", "，然后{s}", "，{s}"),
        "check": ("。检查：{s}", "。验算：{s}", "。检查一下：{s}"),
        "right": ("。正确", "。没错"),
        "wrong": ("。等等，{s}", "。不对，{s}", "。错了，{s}"),
        "end": ("。",),
    },
}


class Writer:
    """Writes one solution. ``languages`` are drawn from phrase by phrase: one language, or a mixture."""

    def __init__(self, rng: Random, languages: tuple[str, ...]) -> None:
        self.rng = rng
        self.languages = languages
        self.parts: list[str] = []

    def say(self, phrase: str, s: str = "", r: int = 0) -> None:
        """Adds a phrase in one of the writer's languages."""
        language = self.rng.choice(self.languages)
        self.parts.append(self.rng.choice(PHRASES[language][phrase]).format(s=s, r=r))

    def text(self) -> str:
        """What was written."""
        return "".join(self.parts)


def write(rng: Random, task: Task, depth: Depth, languages: tuple[str, ...]) -> tuple[str, int]:
    """The thinking and the answer it reaches, which may be wrong."""
    writer = Writer(rng, languages)
    if depth == "guess":
        answer = task.answer if rng.random() < GUESS_RIGHT[task.level] else off(rng, task.answer)
        writer.say("guess", r=answer)
        return writer.text(), answer
    answer = 0
    for i, step in enumerate(task.steps):
        step = _carried_on(step, task.steps[i - 1].result, answer) if i else step
        answer = _write_step(writer, step, "next" if i else "first", checks=depth == "check")
    if depth == "check" and task.check is not None and rng.random() < 0.5:
        writer.say("check", s=equality(task.check))
        writer.say("right" if answer == task.answer else "wrong", s=f"x={task.answer}")
        answer = task.answer
    writer.say("end")
    return writer.text(), answer


def _carried_on(step: Step, before: int, said: int) -> Step:
    """A step that resumes from the value the writer has, where the true one would be ``before``."""
    step = Step(said, step.op, step.b) if step.a == before else Step(step.a, step.op, said)
    if step.op == "/" and step.a % step.b:  # after a slip a division may not come out: the writer rounds
        step = Step(step.a - step.a % step.b, "/", step.b)
    return step


def _write_step(writer: Writer, step: Step, phrase: str, checks: bool) -> int:
    """Writes one step, with a check where the writer makes one; returns the value the writer goes on with."""
    rng = writer.rng
    if step.hard:
        result = step.result if rng.random() < HARD_GUESS_RIGHT else off(rng, step.result)
    else:
        slips = rng.random() < (CHECK_SLIP if checks else PLAIN_SLIP)
        result = off(rng, step.result) if slips else step.result
    writer.say(phrase, s=equality(step, result))
    if not checks or not (step.hard or rng.random() < NEEDLESS_CHECK):
        return result
    writer.say("check", s=take_apart(step) if step.hard else equality(step))
    if result == step.result:
        writer.say("right")
    else:
        writer.say("wrong", s=equality(step))
    return step.result


def equality(step: Step, result: int | None = None) -> str:
    """``47*36=1692``."""
    return f"{step.a}{step.op}{step.b}={step.result if result is None else result}"


def take_apart(step: Step) -> str:
    """A hard product by tens and ones: ``47*30=1410, 47*6=282, 1410+282=1692``."""
    tens, ones = Step(step.a, "*", step.b // 10 * 10), Step(step.a, "*", step.b % 10)
    return ", ".join(equality(s) for s in (tens, ones, Step(tens.result, "+", ones.result)))


def off(rng: Random, value: int) -> int:
    """A wrong value of the kind people make: some digit or the size a little off."""
    size = max(1, abs(value) // 10)
    while True:
        kind = rng.random()
        if kind < 0.3:
            wrong = value + rng.choice((-1, 1)) * rng.randrange(1, 10)
        elif kind < 0.6:
            wrong = value + rng.choice((-1, 1)) * 10 * rng.randrange(1, 10)
        else:
            wrong = value + rng.randrange(-3 * size, 3 * size + 1)
        if wrong != value and (wrong >= 0 or value < 0):
            return wrong
