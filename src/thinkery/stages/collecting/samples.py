"""A sample on its way from the policy to the set: what was written, what became of it, and why.

Left out: who decides (``readable``, ``matching``, ``refining``, ``verifying``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from thinkery.problems.demonstrations import demonstration_row
from thinkery.rollout.counter import completion_key
from thinkery.types import Demonstration, Message, Outcome, Problem, Verdict


class Reason(StrEnum):
    """Why a sample is in the set (the first two), or not."""

    CORRECT = "correct"  # its verifier accepts the answer
    MATCHED = "matched"  # no rule can check; the judge says that it agrees with the reference
    TRUNCATED = "truncated"  # it never ended
    MALFORMED = "malformed"  # not as the template has it
    WRONG = "wrong"  # its verifier doesn't accept the answer
    MISMATCHED = "mismatched"  # the judge says that it doesn't agree with the reference
    LENGTH = "length"  # thinking too short or too long
    LANGUAGE = "language"  # thinking not in the question's language, or not to be translated
    REPETITION = "repetition"
    PARAGRAPH = "paragraph"  # thinking in too long a paragraph
    CODE = "code"  # a code block in the thinking
    UNREFINED = "unrefined"  # the rewrite failed
    NEW_STEP = "new_step"  # the rewritten summary has numbers that occur nowhere before it
    CHANGED = "changed"  # the rewrite's answer is no longer accepted
    SURPLUS = "surplus"  # the problem has its samples already
    DUPLICATE = "duplicate"  # nearly another sample of the set
    CONTAMINATED = "contaminated"  # shares text with what it must not hold


KEPT = (Reason.CORRECT, Reason.MATCHED)


@dataclass(frozen=True, slots=True)
class Sample:
    """One completion. ``reason`` is None while nothing is decided; ``detail`` says more, for people.

    ``text`` is the completion as it was sampled; ``thinking`` and ``answer`` are what the template reads there, or
    what they were rewritten to. ``worth`` orders the samples of a problem; ``tokens`` is the whole sample's length.
    """

    problem: Problem
    index: int
    text: str
    thinking: str
    answer: str
    verdict: Verdict
    worth: float = 0.0
    tokens: int = 0
    rewritten: bool = False
    matched: str | None = None  # the answer that a judge found to agree with the reference
    reason: Reason | None = None
    detail: str = ""

    @property
    def unchecked(self) -> bool:
        """Whether no rule can check it, so that a judge must."""
        return self.verdict.outcome is Outcome.UNCHECKED

    @property
    def question(self) -> str:
        """What the user asks, as text."""
        return question_of(self.problem.prompt)

    def settled(self, reason: Reason, detail: str = "") -> Sample:
        """The sample, kept or dropped for a reason."""
        return replace(self, reason=reason, detail=detail)

    def rewrite(self, thinking: str, answer: str) -> Sample:
        """The sample with other words."""
        return replace(self, thinking=thinking, answer=answer, rewritten=True)

    def seed(self, seed: int, stage: str) -> int:
        """What others' random numbers for this sample are counted from: 31 bits, as every endpoint takes them."""
        return completion_key(seed, stage, 0, self.problem.id, self.index) & 0x7FFFFFFF

    def row(self) -> dict[str, Any]:
        """What is kept between batches: of a kept sample a ``Demonstration`` and what the set says of it."""
        assert self.reason is not None
        problem = self.problem
        told = {"problem_id": problem.id, "index": self.index, "reason": self.reason.value, "text": self.text}
        if self.reason not in KEPT:
            told |= {"detail": self.detail, "domain": problem.domain, "language": problem.language}
            told |= {"level": problem.level}
            return told | ({"thinking": self.thinking, "answer": self.answer} if self.rewritten else {})
        demonstration = Demonstration(
            id=f"{problem.id}#{self.index}",
            prompt=problem.prompt,
            thinking=self.thinking,
            answer=self.answer,
            domain=problem.domain,
            language=problem.language,
            level=problem.level,
        )
        return demonstration_row(demonstration) | told | {"tokens": self.tokens}


def question_of(prompt: str | Sequence[Message]) -> str:
    """A prompt as text; of messages those of the user."""
    if isinstance(prompt, str):
        return prompt
    return "\n".join(str(message["content"]) for message in prompt if message["role"] == "user")


def dropped(row: Mapping[str, Any], reason: Reason, detail: str) -> dict[str, Any]:
    """A kept sample's row as that of one which was dropped in the end."""
    told = {"problem_id": row["problem_id"], "index": row["index"], "reason": reason.value, "text": row["text"]}
    told |= {"detail": detail}
    return told | {name: row[name] for name in ("domain", "language", "level", "thinking", "answer")}


def onward(samples: Sequence[Sample], work: Callable[[Sequence[Sample]], list[Sample]]) -> list[Sample]:
    """The samples in their order, with ``work`` done on those that nothing has settled yet."""
    done = iter(work([sample for sample in samples if sample.reason is None]))
    return [sample if sample.reason is not None else next(done) for sample in samples]
