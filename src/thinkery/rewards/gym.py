"""The verifier of reasoning-gym's problems: their family's own scorer decides, and only its exact 1.0 counts.

The entry that a scorer needs travels in the problem's column ``gym_entry``, as a Python literal. Scorers run in worker
processes with a deadline (``gym_scorer.py``). Left out: partial credit, which most scorers give for an answer that is
merely contained in the text.
"""

from __future__ import annotations

from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass

from thinkery.models.template import Template
from thinkery.recipe.verification import Verification
from thinkery.rewards.answers.extraction import after_thinking, last_boxed, tagged
from thinkery.rewards.interfaces import PendingVerdict, gold_completion
from thinkery.rewards.workers.pool import WorkerLostError, WorkerPool
from thinkery.rewards.workers.zygote import Reply
from thinkery.types import Outcome, Problem, Verdict

ENTRY = "gym_entry"
SCORER = "thinkery.rewards.gym_scorer:score"
MAX_ANSWER = 1 << 14  # characters; grids are long


@dataclass(frozen=True, slots=True)
class PendingScore:
    """A score that a worker is still working out."""

    future: Future[Reply]

    def result(self, timeout: float | None = None) -> Verdict:
        """Waits for it, at most ``timeout`` seconds; what is missing then is the verdict ``timeout``."""
        try:
            reply = self.future.result(timeout)
        except FutureTimeoutError:
            return Verdict(Outcome.TIMEOUT, f"no score after {timeout:g} s more")
        except WorkerLostError as error:
            return Verdict(Outcome.TIMEOUT, str(error))
        except CancelledError:
            return Verdict(Outcome.TIMEOUT, "the verifier was closed")
        return Verdict(Outcome(reply["outcome"]), reply["reason"], reply["answer"])


class GymVerifier:
    """Judges completions of one template by their problem's own scorer."""

    def __init__(self, template: Template, verification: Verification) -> None:
        self._template = template
        self._pool = WorkerPool(SCORER, workers=verification.workers, deadline_s=verification.deadline_s)

    def begin(self, completion: str, problem: Problem) -> Verdict | PendingVerdict:
        """Hands a completion's answer to a worker; never waits."""
        entry = problem.columns.get(ENTRY)
        if not isinstance(entry, str):
            return Verdict(Outcome.GOLD_UNPARSEABLE, f"the problem has no column {ENTRY}")
        after = after_thinking(completion, prefilled_think=self._template.prefilled_think)
        if after is None:
            return Verdict(Outcome.NO_ANSWER, "the thinking never ends")
        answer = _answer(after)
        if not answer:
            return Verdict(Outcome.NO_ANSWER, "the answer is empty")
        if len(answer) > MAX_ANSWER:
            return Verdict(Outcome.WRONG, f"the answer is longer than {MAX_ANSWER} characters", answer[:MAX_ANSWER])
        return PendingScore(self._pool.submit(answer=answer, entry=entry))

    def gold(self, problem: Problem) -> str | None:
        """The entry's own answer as a completion, boxed only where a box can hold it."""
        boxable = _answer(f"\\boxed{{{problem.reference}}}") == problem.reference
        return gold_completion(self._template, problem.reference, boxed=boxable)

    def close(self) -> None:
        """Ends the worker processes."""
        self._pool.close()


def _answer(after: str) -> str:
    """The last answer tag's content, else the last box's, else all that follows the thinking."""
    inside = tagged(after)
    boxed = last_boxed(after) if inside is None else None
    return (after if inside is None and boxed is None else inside or boxed or "").strip()
