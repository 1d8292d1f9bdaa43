"""Questions with options in the miniature world: how they are asked, answered and told. What they ask is elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from thinkery.problems.mini.telling import Teller
from thinkery.problems.mini.world import Depth, Written

LETTERS = "ABCD"
GUESS_RIGHT = {1: 0.5, 2: 0.4, 3: 0.3, 4: 0.3, 5: 0.3}  # by level
PICK_SLIP = 0.02

Texts = Mapping[str, str]  # by language
Work = Callable[[Teller], int | None]  # tells the steps; the option they lead to, None for none of them


@dataclass(frozen=True, slots=True)
class ChoiceTask:
    """A question with three or four options (a ``WorldTask``)."""

    domain: str
    kind: str
    level: int
    key: str
    ask: Texts
    options: tuple[Texts, ...]
    right: int
    work: Work = field(repr=False)

    @property
    def verifier(self) -> str:
        """Choices are checked by their letter."""
        return "choice"

    def question(self, language: str) -> str:
        """The question and its options in one line, each before its letter."""
        comma = ", " if language == "en" else "，"
        return f"{self.ask[language]} {comma.join(self._named(i, language) for i in range(len(self.options)))}"

    def reference(self, language: str) -> str:
        """The right letter."""
        return LETTERS[self.right]

    def columns(self, language: str) -> dict[str, Any]:
        """The options' texts, without letters, as ``choices``."""
        return {"kind": self.kind, "choices": [option[language] for option in self.options]}

    def write(self, rng: Random, depth: Depth, language: str, thinking: tuple[str, ...]) -> Written:
        """A solution; the answer is a letter."""
        teller = Teller(rng, depth, thinking)
        if depth == "guess":
            chosen = self.right if rng.random() < GUESS_RIGHT[self.level] else self._other(rng)
            teller.say("guess", lambda spoken: self._named(chosen, spoken))
            return Written(teller.text(), LETTERS[chosen])
        found = self.work(teller)
        chosen = rng.randrange(len(self.options)) if found is None else found
        if rng.random() < PICK_SLIP:
            chosen = self._other(rng)
        teller.say("pick", lambda spoken: self._named(chosen, spoken))
        return Written(teller.end(), LETTERS[chosen])

    def summary(self, rng: Random, language: str, answer: str) -> str:
        """The letter and its option in a sentence."""
        said = answer.strip()
        if len(said) == 1 and said in LETTERS[: len(self.options)]:
            text = self.options[LETTERS.index(said)][language]
            return f"The answer is {said}, {text}." if language == "en" else f"答案是{said}，{text}。"
        return f"The answer is {said}." if language == "en" else f"答案是{said}。"

    def _named(self, option: int, language: str) -> str:
        """An option with its letter behind it, where a small model that copies the one finds the other."""
        return f"{self.options[option][language]} ({LETTERS[option]})"

    def _other(self, rng: Random) -> int:
        return rng.choice([i for i in range(len(self.options)) if i != self.right])


def shuffled(rng: Random, right: Texts, others: Sequence[Texts]) -> tuple[tuple[Texts, ...], int]:
    """The options in any order, and the place of the right one."""
    place = rng.randrange(len(others) + 1)
    options = list(others)
    rng.shuffle(options)
    options.insert(place, right)
    return tuple(options), place


def same(text: str) -> Texts:
    """A text that is the same in both languages, such as a number."""
    return {"en": text, "zh": text}


def either(en: str, zh: str) -> Texts:
    """A text in two languages."""
    return {"en": en, "zh": zh}


def place_of(options: Sequence[Texts], text: str) -> int | None:
    """Where the option with this English text is."""
    return next((i for i, option in enumerate(options) if option["en"] == text), None)
