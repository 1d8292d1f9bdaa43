"""What the domains of the miniature world have in common: tasks that can be asked, solved in writing, and split.

A domain is a module with ``draw(rng, level) -> WorldTask``. Left out: what is asked and how it is solved (the domains),
and how often each occurs (``plugin.py`` for the base model's reading, the recipe for problems).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, Literal, Protocol

Depth = Literal["guess", "plain", "check"]
LEVELS = (1, 2, 3, 4, 5)


@dataclass(frozen=True, slots=True)
class WrittenSolution:
    """What somebody wrote: the thinking ("" for none) and the answer it reaches, right or wrong."""

    thinking: str
    answer: str


class WorldTask(Protocol):
    """A task of any domain."""

    @property
    def domain(self) -> str:
        """math, code, stem, logic or general."""
        ...

    @property
    def kind(self) -> str:
        """What sort of task it is within its domain, for example ``equation``."""
        ...

    @property
    def level(self) -> int:
        """1 (easy) to 5 (hard)."""
        ...

    @property
    def verifier(self) -> str:
        """The verifier that can check an answer, "none" where no rule can."""
        ...

    @property
    def key(self) -> str:
        """What decides the task's split: its substance, the same in every wording and language."""
        ...

    def question(self, language: str) -> str:
        """The question in ``en`` or ``zh``; the same in every call."""
        ...

    def reference(self, language: str) -> str:
        """What the verifier compares with; a good answer where no rule can check."""
        ...

    def columns(self, language: str) -> Mapping[str, Any]:
        """The problem's free columns (hidden tests, options, constraints); JSON values."""
        ...

    def write(self, rng: Random, depth: Depth, language: str, thinking: tuple[str, ...]) -> WrittenSolution:
        """A solution as somebody of the world would write it, often wrong unless ``depth`` is ``check``.

        ``language`` is the answer's; the thinking's phrases are drawn from the languages ``thinking``.
        """
        ...

    def summary(self, rng: Random, language: str, answer: str) -> str:
        """What the reader is told after the thinking: the answer in a sentence, no new step."""
        ...
