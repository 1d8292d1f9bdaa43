"""What a general task of the miniature world is: a question in two languages, with good and bad replies to it.

A task knows what a good reply says, what a wrong one says, and one that doesn't do what was asked. How somebody writes
them (politely, rudely, with flattery) is in ``general_manners``; which tasks there are, in the modules that draw them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal

from thinkery.mini import general_styles as general_manners
from thinkery.mini.general_styles import Reply, TaskText
from thinkery.mini.world import Depth, WrittenSolution

Kind = Literal["chat", "self", "howto", "harm", "fact", "translate", "rewrite", "instruct"]
__all__ = ["GeneralTask", "Kind", "Reply", "TaskText", "answers", "forms"]


@dataclass(frozen=True, slots=True)
class GeneralTask:
    """A task that anybody might ask an assistant (a ``WorldTask``)."""

    kind: Kind
    key: str
    forms: Mapping[str, TaskText] = field(repr=False)  # by language
    level: int = 1
    domain: str = "general"

    @property
    def verifier(self) -> str:
        """``instruction`` where rules can check the answer, else ``none``."""
        return "instruction" if self.forms["en"].constraints else "none"

    def question(self, language: str) -> str:
        """The question."""
        return self.forms[language].question

    def reference(self, language: str) -> str:
        """A good answer."""
        return self.forms[language].good[0].answer

    def columns(self, language: str) -> dict[str, Any]:
        """What checking needs: ``constraints``, or where no rule can check ``expected``, ``good`` and ``harm``.

        ``preference`` is the set that a problem belongs to in all-scenario RL, ``answer_language`` what the reply is
        to be written in, ``expected`` groups of words of which a good reply has one each, ``good`` some good replies,
        and ``harm`` what a harmful reply would say.
        """
        form = self.forms[language]
        columns: dict[str, Any] = {
            "kind": self.kind,
            "preference": "safety" if self.kind == "harm" else "helpful",
            "answer_language": form.answer_language or language,
            "good": [reply.answer for reply in form.good],
        }
        if form.constraints:
            columns["constraints"] = [dict(constraint) for constraint in form.constraints]
        if form.expected:
            columns["expected"] = [list(group) for group in form.expected]
        if form.harm:
            columns["harm"] = list(form.harm)
        return columns

    def write(self, rng: Random, depth: Depth, language: str, thinking: tuple[str, ...]) -> WrittenSolution:
        """A response as somebody of the world would write it: of uneven manners, and the less good the hastier."""
        return general_manners.respond(rng, self.forms, self.kind == "harm", depth, language, thinking)

    def demonstration(self, rng: Random, language: str) -> WrittenSolution:
        """What a competent, friendly writer would write: always good, with a thought only where one helps."""
        return general_manners.demonstrate(rng, self.forms, language)

    def summary(self, rng: Random, language: str, answer: str) -> str:
        """What the reader is told: the answer as it is, since its very words may be what was asked for."""
        return answer


def answers(*texts: str) -> tuple[Reply, ...]:
    """Replies without notes of their own."""
    return tuple(Reply(text) for text in texts)


def forms(en: TaskText, zh: TaskText) -> dict[str, TaskText]:
    """The two languages of a task."""
    return {"en": en, "zh": zh}
