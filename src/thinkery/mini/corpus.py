"""What the miniature base model reads: documents of the miniature world, of uneven quality, never a held-out task.

Question-and-answer pages in several formats (some with think and answer tags, a small minority with R1-Zero's whole
instruction, as instruction-like text occurs in real corpora), solutions of three depths, English, Chinese and mixtures,
and pages of arithmetic drill and of facts. As in the world at large, more care is written in English than in Chinese.
Document i depends on (seed, i) alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from random import Random

from thinkery.mini.domains import draw_task, weighted
from thinkery.mini.facts import page
from thinkery.mini.solutions import equality
from thinkery.mini.tasks import SECOND_FACTOR, Step, hard_factor
from thinkery.mini.world import LEVELS, Depth, WorldTask
from thinkery.models.template import TEMPLATES

READING = {  # of documents
    "math": 0.37,
    "drill": 0.12,
    "facts": 0.06,
    "code": 0.08,
    "stem": 0.11,
    "logic": 0.11,
    "general": 0.15,
}
DEPTHS: dict[str, dict[Depth, float]] = {  # by the language of the thinking
    "en": {"guess": 0.57, "plain": 0.27, "check": 0.16},
    "zh": {"guess": 0.62, "plain": 0.30, "check": 0.08},
}
FORMATS = {"tags": 0.30, "chat": 0.46, "page": 0.22, "instruction": 0.02}
CHINESE_QUESTION = 0.35
OTHER_LANGUAGE, MIXED_LANGUAGE = 0.12, 0.16  # of the thinking
BROKEN_TAGS = 0.12


def documents(seed: int, start: int = 0) -> Iterator[str]:
    """The endless corpus, from document ``start`` on."""
    for i in itertools.count(start):
        yield document(Random(f"corpus/{seed}/{i}"))


def document(rng: Random) -> str:
    """One document, without its end-of-text token."""
    domain = weighted(rng, READING)
    if domain == "drill":
        return drill(rng)
    if domain == "facts":
        return page(rng, "zh" if rng.random() < CHINESE_QUESTION else "en")
    task = draw_task(rng, domain, rng.choice(LEVELS))
    language = "zh" if rng.random() < CHINESE_QUESTION else "en"
    spoken = thinking_languages(rng, language)
    depth = weighted(rng, DEPTHS["en" if "en" in spoken else "zh"])
    written = task.write(rng, depth, language, spoken)
    question, form = task.question(language), weighted(rng, FORMATS)
    if form in ("tags", "instruction"):
        template = TEMPLATES["r1-zero" if form == "instruction" else "r1-zero-compact"]
        return template.render(question) + tagged(rng, written.thinking, written.answer)
    reply = untagged(rng, task, written.thinking, written.answer, language)
    if form == "chat":
        return f"{TEMPLATES['r1-zero-compact'].render(question)} {reply}"
    ask, answer = ("Question: ", "\nAnswer: ") if language == "en" else ("问：", "\n答：")
    return f"{ask}{question}{answer}{reply}"


def thinking_languages(rng: Random, language: str) -> tuple[str, ...]:
    """The question's language, the other one, or both."""
    draw = rng.random()
    if draw < MIXED_LANGUAGE:
        return ("en", "zh")
    other = "en" if language == "zh" else "zh"
    return (other,) if draw < MIXED_LANGUAGE + OTHER_LANGUAGE else (language,)


def tagged(rng: Random, thinking: str, answer: str) -> str:
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


def untagged(rng: Random, task: WorldTask, thinking: str, answer: str, language: str) -> str:
    """The same without tags: the thinking, and how an answer ends in running text."""
    if task.domain == "general":
        return f"{thinking} {answer}".strip()
    closing = task.summary(rng, language, answer) if rng.random() < 0.6 else answer
    return f"{thinking} {closing}"


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
