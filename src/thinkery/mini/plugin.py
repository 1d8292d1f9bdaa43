"""The miniature world as a problem source that recipes call ``mini``: domains by name, problems, a corpus.

Problem i of a split depends on (seed, split, i) alone. The splits are disjoint by construction: a task belongs to one
of them by its substance, whatever its wording (``held_out``), and the corpus, which the base model reads, holds no
held-out task. Left out: what the domains ask, the world's judges (``preference.py``).
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random
from typing import TypeVar

from thinkery.mini import code, general, logic, math, stem
from thinkery.mini.facts import page
from thinkery.mini.general_task import GeneralTask
from thinkery.mini.solutions import equality
from thinkery.mini.tasks import SECOND_FACTOR, Step, hard_factor
from thinkery.mini.world import LEVELS, Depth, WorldTask
from thinkery.models.template import TEMPLATES
from thinkery.problems.source import EndlessSource
from thinkery.recipe import DataSpec, ProblemSpec
from thinkery.types import Demonstration, Problem, Split, UserError

K = TypeVar("K")
TEST_SHARE = 8  # one task in eight belongs to the held-out split

DOMAINS: Mapping[str, Callable[[Random, int], WorldTask]] = {
    "math": math.draw,
    "code": code.draw,
    "stem": stem.draw,
    "logic": logic.draw,
    "general": general.draw,
}
REASONING = {"math": 0.5, "code": 0.15, "stem": 0.2, "logic": 0.15}  # where a recipe doesn't choose


def draw_task(rng: Random, domain: str, level: int, *, test: bool = False) -> WorldTask:
    """A task of a domain and a level, on one side of the split."""
    task = DOMAINS[domain](rng, level)
    while held_out(task) != test:
        task = DOMAINS[domain](rng, level)
    return task


def weighted(rng: Random, weights: Mapping[K, float]) -> K:
    """One of the keys, by weight."""
    return rng.choices(list(weights), list(weights.values()))[0]


def held_out(task: WorldTask) -> bool:
    """Whether a task is of the held-out split."""
    return hashlib.blake2b(task.key.encode(), digest_size=8).digest()[0] % TEST_SHARE == 0


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


__all__ = ["DOMAINS", "LANGUAGES", "LEVELS", "documents", "mini_problem", "mini_task"]

LANGUAGES = {"en": 1 - CHINESE_QUESTION, "zh": CHINESE_QUESTION}


def mini_problem(
    index: int,
    split: Split,
    *,
    levels: Sequence[int] = (),
    languages: Mapping[str, float] | None = None,
    domains: Mapping[str, float] | None = None,
    seed: int = 0,
) -> Problem:
    """Problem ``index`` of a split. Levels take turns, so every five successive problems hold one of each.

    Raises ``UserError`` for a level, a language or a domain that the world doesn't have.
    """
    task, language = mini_task(index, split, levels=levels, languages=languages, domains=domains, seed=seed)
    world = "-".join(["mini", *sorted(domains or ())])  # other domains number other problems alike
    return Problem(
        id=f"{world}-{split}-{seed}-{index}",
        prompt=task.question(language),
        reference=task.reference(language),
        domain=task.domain,
        level=task.level,
        language=language,
        verifier=task.verifier,
        columns={**task.columns(language), "kind": task.kind},
    )


def mini_task(
    index: int,
    split: Split,
    *,
    levels: Sequence[int] = (),
    languages: Mapping[str, float] | None = None,
    domains: Mapping[str, float] | None = None,
    seed: int = 0,
) -> tuple[WorldTask, str]:
    """The task behind a problem, which knows how it is solved, and its language."""
    levels, languages, domains = levels or LEVELS, languages or LANGUAGES, domains or REASONING
    unknown = [str(name) for name in (set(levels) - set(LEVELS)) | (set(languages) - set(LANGUAGES))]
    unknown += sorted(set(domains) - set(DOMAINS))
    if unknown:
        raise UserError(
            f"problems: the miniature world has no {', '.join(unknown)}; levels are {', '.join(map(str, LEVELS))}, "
            f"languages {', '.join(LANGUAGES)}, domains {', '.join(DOMAINS)}"
        )
    rng = Random(f"problem/{seed}/{split}/{index}")
    language = weighted(rng, languages)
    domain = weighted(rng, domains)
    return draw_task(rng, domain, levels[index % len(levels)], test=split == "test"), language


class MiniSource(EndlessSource):
    """The endless miniature world, as a recipe's section narrows it down."""

    def __init__(self, spec: ProblemSpec) -> None:
        self._spec, self._split = spec, _split(spec.split)
        super().__init__(f"the miniature world's {self._split} split")

    def problem(self, index: int) -> Problem:
        """The problem of an index; none is in the other split."""
        spec = self._spec
        return mini_problem(
            index, self._split, levels=spec.levels, languages=spec.languages, domains=spec.domains, seed=spec.seed
        )


class MiniWorld:
    """What the miniature world registers in ``thinkery.problems``."""

    def problems(self, spec: ProblemSpec) -> MiniSource:
        """Its problems. An unknown level, language or domain is a ``UserError`` when the first is drawn."""
        return MiniSource(spec)

    def demonstrations(self, spec: DataSpec) -> list[Demonstration]:
        """What its people write on its general domain: ``spec.n`` demonstrations."""
        assert spec.n is not None  # the recipe refuses an endless source without a number
        return [mini_demonstration(index, spec) for index in range(spec.n)]

    def documents(self, seed: int, start: int = 0) -> Iterator[str]:
        """The corpus, endless, from document ``start`` on."""
        return documents(seed, start)


def mini_demonstration(index: int, spec: DataSpec) -> Demonstration:
    """What a writer of the miniature world answers to its general question ``index``: a competent one, or anybody."""
    split, languages = _split(spec.split), spec.languages or None
    task, language = mini_task(index, split, domains={"general": 1.0}, languages=languages, seed=spec.seed)
    assert isinstance(task, GeneralTask)
    rng = Random(f"demonstration/{spec.seed}/{split}/{index}")
    careful = rng.random() < spec.careful
    written = task.demonstration(rng, language) if careful else task.write(rng, "plain", language, (language,))
    return Demonstration(
        id=f"mini-general-{split}-{spec.seed}-{index}",
        prompt=task.question(language),
        thinking=written.thinking,
        answer=written.answer,
        domain=task.domain,
        language=language,
        level=task.level,
    )


def _split(name: str) -> Split:
    return "test" if name == "test" else "train"


WORLD = MiniWorld()
