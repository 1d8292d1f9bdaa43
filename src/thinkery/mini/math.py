"""The domain math: chains, equations and word problems of five levels, as tasks of the miniature world.

Left out: what the tasks are (``tasks.py``, ``tasks.py``) and how their solutions are written (``solutions.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from thinkery.mini import solutions
from thinkery.mini.tasks import Task, chain, equation, word
from thinkery.mini.world import Depth, WrittenSolution

KINDS: dict[Callable[[Random, int], Task], float] = {chain: 0.5, equation: 0.2, word: 0.3}


@dataclass(frozen=True, slots=True)
class MathTask:
    """A task of arithmetic."""

    task: Task
    domain: str = "math"
    verifier: str = "math"

    @property
    def kind(self) -> str:
        """chain, equation or word."""
        return self.task.kind

    @property
    def level(self) -> int:
        """1 to 3: easy steps, 1 to 3 of them; 4 and 5: one hard product, alone and among others."""
        return self.task.level

    @property
    def key(self) -> str:
        """The task's numbers."""
        return self.task.key

    def question(self, language: str) -> str:
        """The question in a language."""
        return self.task.question[language]

    def reference(self, language: str) -> str:
        """The number."""
        return str(self.task.answer)

    def columns(self, language: str) -> Mapping[str, Any]:
        """Math needs no columns of its own."""
        return {}

    def write(self, rng: Random, depth: Depth, language: str, thinking: tuple[str, ...]) -> WrittenSolution:
        """A solution and the number it reaches."""
        text, answer = solutions.write(rng, self.task, depth, thinking)
        return WrittenSolution(text, str(answer))

    def summary(self, rng: Random, language: str, answer: str) -> str:
        """One sentence with the number."""
        return rng.choice(SUMMARIES[language]).format(a=answer)


SUMMARIES = {
    "en": ("The answer is {a}.", "So the answer is {a}."),
    "zh": ("答案是{a}。", "所以答案是{a}。"),
}


def draw(rng: Random, level: int) -> MathTask:
    """A task of a level, of any kind."""
    kind = rng.choices(list(KINDS), list(KINDS.values()))[0]
    return MathTask(kind(rng, level))
