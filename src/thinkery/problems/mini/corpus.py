"""What the miniature base model reads: documents of the miniature world, of uneven quality, never a held-out task.

Question-and-answer pages in several formats (some with think and answer tags, a small minority with R1-Zero's whole
instruction, as instruction-like text occurs in real corpora), solutions of three depths, English, Chinese and mixtures,
and pages of arithmetic drill. Document i depends on (seed, i) alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from random import Random
from typing import TypeVar

from thinkery.models.template import TEMPLATES
from thinkery.problems.mini.solutions import Depth, equality, write
from thinkery.problems.mini.tasks import LEVELS, SECOND_FACTOR, Step, Task, chain, equation, hard_factor
from thinkery.problems.mini.words import word

K = TypeVar("K")

KINDS: dict[Callable[[Random, int], Task], float] = {chain: 0.5, equation: 0.2, word: 0.3}
DEPTHS: dict[Depth, float] = {"guess": 0.6, "plain": 0.27, "check": 0.13}
FORMATS = {"tags": 0.26, "chat": 0.36, "page": 0.18, "instruction": 0.02, "drill": 0.18}
CHINESE_QUESTION = 0.35
OTHER_LANGUAGE, MIXED_LANGUAGE = 0.08, 0.14  # of the thinking
BROKEN_TAGS = 0.12


def draw_task(rng: Random, level: int) -> Task:
    """A task of a level, of any kind."""
    return _draw(rng, KINDS)(rng, level)


def documents(seed: int, start: int = 0) -> Iterator[str]:
    """The endless corpus, from document ``start`` on."""
    for i in itertools.count(start):
        yield document(Random(f"corpus/{seed}/{i}"))


def document(rng: Random) -> str:
    """One document, without its end-of-text token."""
    form = _draw(rng, FORMATS)
    if form == "drill":
        return drill(rng)
    task = draw_task(rng, rng.choice(LEVELS))
    while task.held_out:
        task = draw_task(rng, rng.choice(LEVELS))
    language = "zh" if rng.random() < CHINESE_QUESTION else "en"
    thinking, answer = write(rng, task, _draw(rng, DEPTHS), thinking_languages(rng, language))
    question = task.question[language]
    if form == "page":
        ask, reply = ("Question: ", "\nAnswer: ") if language == "en" else ("问：", "\n答：")
        return ask + question + reply + thinking + closing(rng, language, answer)
    if form == "chat":
        return TEMPLATES["r1-zero-compact"].render(question) + " " + thinking + closing(rng, language, answer)
    template = TEMPLATES["r1-zero" if form == "instruction" else "r1-zero-compact"]
    return template.render(question) + tagged(rng, thinking, answer)


def thinking_languages(rng: Random, language: str) -> tuple[str, ...]:
    """The question's language, the other one, or both."""
    draw = rng.random()
    if draw < MIXED_LANGUAGE:
        return ("en", "zh")
    other = "en" if language == "zh" else "zh"
    return (other,) if draw < MIXED_LANGUAGE + OTHER_LANGUAGE else (language,)


def tagged(rng: Random, thinking: str, answer: int) -> str:
    """Thinking and answer in tags, sometimes not quite."""
    full = f" <think>{thinking}</think><answer>{answer}</answer>"
    if rng.random() >= BROKEN_TAGS:
        return full
    return rng.choice(
        (
            full.removesuffix("</answer>"),
            full.replace("</think>", " "),
            full.replace("<answer>", " ").replace("</answer>", ""),
            full.replace("<think>", ""),
        )
    )


def closing(rng: Random, language: str, answer: int) -> str:
    """How an answer without tags ends."""
    options = {
        "en": (" The answer is {a}.", " Answer: {a}.", " So x is {a}.", " \\boxed{{{a}}}", " {a}"),
        "zh": ("答案是{a}。", "答案：{a}。", "所以是{a}。", "\\boxed{{{a}}}", "{a}"),
    }
    return rng.choice(options[language]).format(a=answer)


def drill(rng: Random) -> str:
    """A page of one-go arithmetic, as in an exercise book: the parts that longer solutions are made of."""
    count = rng.randrange(6, 14)
    joiner = rng.choice((", ", "\n", "，", "; "))
    return joiner.join(equality(drill_step(rng)) for _ in range(count))


def drill_step(rng: Random) -> Step:
    """A step that can be done in one go, never a hard product."""
    kind = rng.random()
    if kind < 0.3:
        return Step(hard_factor(rng), "*", rng.randrange(2, 10))
    if kind < 0.4:
        return Step(hard_factor(rng), "*", rng.randrange(1, SECOND_FACTOR // 10 + 1) * 10)
    if kind < 0.7:  # the sum that ends a product taken apart
        a, b = hard_factor(rng), hard_factor(rng, SECOND_FACTOR)
        return Step(a * (b // 10 * 10), "+", a * (b % 10))
    if kind < 0.8:
        return Step(rng.randrange(100, 9900), rng.choice(("+", "-")), rng.randrange(1, 100))
    if kind < 0.9:
        b = rng.randrange(2, 10)
        return Step(b * rng.randrange(2, 100), "/", b)
    return Step(rng.randrange(2, 100), rng.choice(("+", "-")), rng.randrange(2, 100))


def _draw(rng: Random, weights: dict[K, float]) -> K:
    return rng.choices(list(weights), list(weights.values()))[0]
