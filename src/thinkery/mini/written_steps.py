"""How somebody of the miniature world tells the steps of a solution, in code, science and logic: slips and checks.

A step has a right value, wrong ones, and a text that states a value. A *hard* step is one that people can't do in one
go: told plainly it is mostly wrong, told with a check it is taken apart and put right. Phrases are those of
``solutions``, so that all domains reflect in the same words. Left out: what the steps are (the domains).
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TypeVar

from thinkery.mini.solutions import PHRASES
from thinkery.mini.world import Depth

T = TypeVar("T")

PLAIN_SLIP, CHECK_SLIP = 0.08, 0.06  # of easy steps
NOTICED = 0.9  # of the slips of somebody who checks
NEEDLESS_CHECK = 0.1  # of right easy steps, where the writer checks at all
PICK = {"en": (". So it is {s}", ". That is {s}", ". Answer {s}"), "zh": ("。所以选{s}", "，即{s}", "。答案{s}")}


class Teller:
    """Tells one solution. ``languages`` are drawn from phrase by phrase: one language, or a mixture."""

    def __init__(self, rng: Random, depth: Depth, languages: tuple[str, ...]) -> None:
        self.rng = rng
        self.depth = depth
        self.languages = languages
        self._parts: list[str] = []

    @property
    def checks(self) -> bool:
        """Whether this writer checks."""
        return self.depth == "check"

    def say(self, phrase: str, text: Callable[[str], str] = lambda language: "") -> None:
        """Adds a phrase in one of the writer's languages; ``text`` is given the language."""
        language = self.rng.choice(self.languages)
        options = PICK if phrase == "pick" else {name: phrases[phrase] for name, phrases in PHRASES.items()}
        said = text(language)
        self._parts.append(self.rng.choice(options[language]).format(s=said, r=said))

    def step(
        self,
        right: T,
        wrong: Callable[[], T],
        text: Callable[[T, str], str],
        proof: Callable[[str], str] | None = None,
        hard: float | None = None,
    ) -> T:
        """Tells one step and returns the value that the writer goes on with.

        ``text(value, language)`` states a value; ``proof(language)`` shows the right one in smaller steps; ``hard`` is
        how often a hard step is right in one go.
        """
        slips = 1 - hard if hard is not None else CHECK_SLIP if self.checks else PLAIN_SLIP
        said = wrong() if self.rng.random() < slips else right
        self.say("next" if self._parts else "first", lambda language: text(said, language))
        if not self.checks:
            return said
        looks = 1.0 if hard is not None else NEEDLESS_CHECK if said == right else NOTICED
        if self.rng.random() >= looks:
            return said
        if said == right or proof is not None:
            self.say("check", proof or (lambda language: text(right, language)))
        if said == right:
            self.say("right")
        else:
            self.say("wrong", lambda language: text(right, language))
        return right

    def text(self) -> str:
        """What was told so far."""
        return "".join(self._parts)

    def end(self) -> str:
        """Ends the solution: its text."""
        self.say("end")
        return self.text()
