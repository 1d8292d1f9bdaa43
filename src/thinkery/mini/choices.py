"""Questions with options in the miniature world: how they are asked and solved. What they ask is elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from thinkery.mini.world import Depth, WrittenSolution
from thinkery.mini.written_steps import Teller

GUESS_RIGHT = {1: 0.5, 2: 0.4, 3: 0.3, 4: 0.3, 5: 0.3}  # by level
PICK_SLIP = 0.02

Texts = Mapping[str, str]  # by language
StepWriter = Callable[[Teller], int | None]  # tells the steps; the option they lead to, None for none of them


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
    work: StepWriter = field(repr=False)

    @property
    def verifier(self) -> str:
        """Choices are checked as such: one of the options, by its text."""
        return "choice"

    def question(self, language: str) -> str:
        """The question, and its options in a list without letters: a model of this size can't bind the two."""
        listed = ("，" if language == "zh" else ", ").join(option[language] for option in self.options)
        return (
            f"{self.ask[language]}选项：{listed}。" if language == "zh" else f"{self.ask[language]} Options: {listed}."
        )

    def reference(self, language: str) -> str:
        """The right option's text."""
        return self.options[self.right][language]

    def columns(self, language: str) -> dict[str, Any]:
        """The options' texts as ``choices``."""
        return {"kind": self.kind, "choices": [option[language] for option in self.options]}

    def write(self, rng: Random, depth: Depth, language: str, thinking: tuple[str, ...]) -> WrittenSolution:
        """A solution; the answer is an option's text."""
        teller = Teller(rng, depth, thinking)
        if depth == "guess":
            chosen = self.right if rng.random() < GUESS_RIGHT[self.level] else self._other(rng)
            teller.say("guess", lambda spoken: self.options[chosen][spoken])
            return WrittenSolution(teller.text(), self.options[chosen][language])
        found = self.work(teller)
        chosen = rng.randrange(len(self.options)) if found is None else found
        if rng.random() < PICK_SLIP:
            chosen = self._other(rng)
        teller.say("pick", lambda spoken: self.options[chosen][spoken])
        return WrittenSolution(teller.end(), self.options[chosen][language])

    def summary(self, rng: Random, language: str, answer: str) -> str:
        """The option in a sentence."""
        return f"答案是{answer.strip()}。" if language == "zh" else f"The answer is {answer.strip()}."

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
