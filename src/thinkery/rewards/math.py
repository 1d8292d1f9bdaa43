r"""Is a completion's final answer the reference? Exactly for numbers and words, else by math-verify.

Order of judgment: extraction (``extraction.py``), exact numbers and words (``numbers.py``, microseconds, decides both
ways), form (no ``a=b`` where a value is asked for), then computer algebra in a worker process that can be killed.
Left out: policies for units, order, sets and intervals beyond what math-verify does.
"""

from __future__ import annotations

import atexit
import re
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from functools import cache

from thinkery.rewards.extraction import final_answer
from thinkery.rewards.numbers import MAX_ANSWER, clean, parse_number, parse_words, strip_assignment
from thinkery.rewards.worker import Reply, WorkerLostError, WorkerPool
from thinkery.types import Outcome, Verdict

JUDGE = "thinkery.rewards.symbolic:judge"
DEADLINE_S = 5.0  # math-verify's median is 5 ms and its 90th percentile 35 ms; the rest is for busy machines

_EQUALS = re.compile(r"(?<![<>!\\:=])=(?!=)")


@dataclass(frozen=True, slots=True)
class PendingVerdict:
    """A verdict that a worker is still thinking about."""

    future: Future[Reply]

    def result(self) -> Verdict:
        """Waits for it. The pool's deadline bounds the wait; a missed deadline is the verdict ``timeout``."""
        try:
            reply = self.future.result()
        except WorkerLostError as error:
            return Verdict(Outcome.TIMEOUT, str(error))
        except CancelledError:
            return Verdict(Outcome.TIMEOUT, "the grader was closed")
        return Verdict(Outcome(reply["outcome"]), reply["reason"] or "", reply["answer"])


def grade_math(completion: str, reference: str, *, prefilled_think: bool = False) -> Verdict:
    """Grades one completion (thinking included) against its reference; works on any thread.

    ``prefilled_think``: the prompt already opened ``<think>``, so a completion that never closes it has no answer.
    """
    verdict = submit_math(completion, reference, _shared_pool(), prefilled_think=prefilled_think)
    return verdict if isinstance(verdict, Verdict) else verdict.result()


def submit_math(
    completion: str, reference: str, pool: WorkerPool, *, prefilled_think: bool = False
) -> Verdict | PendingVerdict:
    """Like ``grade_math`` but never waits: what needs computer algebra is handed to ``pool`` (of ``JUDGE`` workers)."""
    answer, reason = final_answer(completion, prefilled_think=prefilled_think)
    if answer is None:
        return Verdict(Outcome.NO_ANSWER, reason)
    if len(answer) > MAX_ANSWER:
        return Verdict(Outcome.WRONG, f"the answer is longer than {MAX_ANSWER} characters", answer[:MAX_ANSWER])
    if not reference.strip() or len(reference) > MAX_ANSWER:
        return Verdict(Outcome.GOLD_UNPARSEABLE, f"the reference is empty or longer than {MAX_ANSWER} characters")
    settled = _settle_exactly(answer, reference)
    if settled is not None:
        return settled
    given, gold = clean(answer), clean(reference)
    if not _EQUALS.search(gold):
        given = strip_assignment(given)
        if _EQUALS.search(given):
            return Verdict(Outcome.WRONG, "an equation where a value is asked for", _canonical(answer))
    return PendingVerdict(pool.submit(answer=given, reference=gold))


def _settle_exactly(answer: str, reference: str) -> Verdict | None:
    """The verdict where the reference is a number or words; None where it is an expression."""
    gold_number = parse_number(reference)
    if gold_number is not None:
        given_number = parse_number(answer.strip())
        if given_number is None:
            return Verdict(Outcome.WRONG, "not a plain number", _canonical(answer))
        equal = given_number.equals(gold_number)
        return Verdict(Outcome.CORRECT if equal else Outcome.WRONG, "" if equal else "differs", str(given_number))
    gold_words = parse_words(reference)
    if gold_words is not None:
        equal = parse_words(answer) == gold_words
        return Verdict(Outcome.CORRECT if equal else Outcome.WRONG, "" if equal else "differs", _canonical(answer))
    return None


def _canonical(answer: str) -> str:
    """The normal form of an answer that no computer algebra has seen."""
    number = parse_number(answer)
    return str(number) if number else parse_words(answer) or " ".join(clean(answer).casefold().split())


@cache
def _shared_pool() -> WorkerPool:
    """The pool of ``grade_math``: one worker for the process's lifetime."""
    pool = WorkerPool(JUDGE, deadline_s=DEADLINE_S)
    atexit.register(pool.close)
    return pool
