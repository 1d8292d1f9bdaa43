r"""Is a completion's final answer the reference? Exactly for numbers and words, else by computer algebra in workers.

Order of judgment, all in ``answers``: ``extraction``, exact ``numbers`` and words (microseconds, decides both ways),
the ``guard`` against what no computer could evaluate, then ``symbolic`` in a worker process that can be killed. Left
out: partial credit; an answer is right or not.
"""

from __future__ import annotations

import atexit
import os
import re
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, lru_cache

from thinkery.models.template import Template
from thinkery.recipe.verification import MathPolicy, Verification
from thinkery.rewards.answers.cleaning import clean, unstyled
from thinkery.rewards.answers.extraction import final_answer, last_boxed
from thinkery.rewards.answers.guard import refusal
from thinkery.rewards.answers.numbers import (
    MAX_ANSWER,
    ROUNDED_PLACES,
    Number,
    is_equation_of_several,
    names_differ,
    parse_number,
)
from thinkery.rewards.answers.options import has_options
from thinkery.rewards.answers.statements import is_prose
from thinkery.rewards.answers.units import NO_UNIT
from thinkery.rewards.answers.words import answer_letters, parse_words, read_letters, same_product
from thinkery.rewards.choice import ChoiceVerifier
from thinkery.rewards.interfaces import completion_with_answer
from thinkery.rewards.workers.pool import ProcessPool, WorkerLostError
from thinkery.rewards.workers.zygote import Reply
from thinkery.types import Outcome, Problem, Verdict

JUDGE = "thinkery.rewards.answers.symbolic:judge"

_DEFAULT = MathPolicy()
# What data sets write where there is no answer.
_PLACEHOLDER = re.compile(
    r"-+|—+|–+|_+|\?+|\.{2,}|…|\\[lcd]?dots|n\s*/\s*a|nan|null|none given|tbd|todo|unknown|"
    r"proof(?:\s+(?:given|omitted|needed))?|"
    r"(?:answer\s+)?not\s?found|(?:no|not an?)\s+answer(?:\s+(?:given|found|provided))?|"
    r"see\s+(?:the\s+)?(?:proof|solution|above|below|explanation)|"
    r"(?:answer\s+)?not\s+(?:available|applicable|provided|given)|omitted|error|placeholder|\[?answer\]?|证明(?:略|见解析)?|略|见解析|无|暂无",
    re.IGNORECASE,
)
_DIGIT = re.compile(r"\d")
_CHAINS = ("=", "\\approx", "≈")


@dataclass(frozen=True, slots=True)
class PendingMathVerdict:
    """A verdict that a worker is still thinking about.

    ``same_text`` is the verdict on an answer in the reference's own words. It stands unless the worker finds that the
    reference can't be read at all: then no other answer could be judged, and the problem must be masked.
    """

    future: Future[Reply]
    same_text: Verdict | None = None

    def result(self, timeout: float | None = None) -> Verdict:
        """Waits for it, at most ``timeout`` seconds; what is missing then is the verdict ``timeout``, never an error.

        Without a timeout the pool's own deadlines bound the wait. Raises ``RuntimeError`` if no worker can start.
        """
        verdict = self._worker_s(timeout)
        if self.same_text is not None and verdict.outcome is not Outcome.REFERENCE_UNPARSEABLE:
            return self.same_text
        return verdict

    def _worker_s(self, timeout: float | None) -> Verdict:
        try:
            reply = self.future.result(timeout)
        except TimeoutError:
            return Verdict(Outcome.TIMEOUT, f"no verdict within the {timeout:g} s that were left for it")
        except WorkerLostError as error:
            return Verdict(Outcome.TIMEOUT, str(error))
        except CancelledError:
            return Verdict(Outcome.TIMEOUT, "the grader was closed")
        return Verdict(Outcome(reply["outcome"]), reply["reason"] or "", reply["answer"])


class MathVerifier:
    """The verifier of mathematical answers, for completions of one template. See ``interfaces.Verifier``."""

    def __init__(self, template: Template, verification: Verification) -> None:
        self._template = template
        self._policy = verification.math
        self._choice = ChoiceVerifier(template, verification)
        self._pool = ProcessPool(JUDGE, workers=verification.workers, deadline_s=verification.deadline_s)

    def begin(self, completion: str, problem: Problem) -> Verdict | PendingMathVerdict:
        """Begins to judge a completion (thinking included); never waits.

        Where the problem lists options and the reference is one of them, its letter and its text are right, too.
        """
        if has_options(problem.columns):
            choice = self._choice.begin(completion, problem)
            if choice.correct or (
                choice.outcome is not Outcome.REFERENCE_UNPARSEABLE and read_letters(problem.reference)
            ):
                return choice
        return submit_math(
            completion,
            problem.reference,
            self._pool,
            policy=self._policy,
            prefilled_think=self._template.prefilled_think,
        )

    def reference_completion(self, problem: Problem) -> str | None:
        """A completion that gives the problem's reference."""
        return completion_with_answer(self._template, problem.reference)

    def close(self) -> None:
        """Ends the worker processes; verdicts that are still missing become ``timeout``."""
        self._pool.close()


def grade_math(
    completion: str, reference: str, *, policy: MathPolicy = _DEFAULT, prefilled_think: bool = False
) -> Verdict:
    """Grades one completion (thinking included) against its reference; works on any thread.

    ``prefilled_think``: the prompt already opened ``<think>``, so a completion that never closes it has no answer.
    """
    verdict = submit_math(completion, reference, _shared_pool(), policy=policy, prefilled_think=prefilled_think)
    return verdict if isinstance(verdict, Verdict) else verdict.result()


def submit_math(
    completion: str,
    reference: str,
    pool: ProcessPool,
    *,
    policy: MathPolicy = _DEFAULT,
    prefilled_think: bool = False,
) -> Verdict | PendingMathVerdict:
    """Like ``grade_math`` but never waits: what needs computer algebra is handed to ``pool`` (of ``JUDGE`` workers)."""
    if "\\boxed" in reference:
        reference = _unboxed(reference)
    if (fault := _fault(reference)) is not None:
        return Verdict(Outcome.REFERENCE_UNPARSEABLE, fault)
    answer, reason = final_answer(completion, prefilled_think=prefilled_think)
    if answer is None:
        return Verdict(Outcome.NO_ANSWER, reason)
    if len(answer) > MAX_ANSWER:
        return Verdict(Outcome.WRONG, f"the answer is longer than {MAX_ANSWER} characters", answer[:MAX_ANSWER])
    return _settle_exactly(answer, reference, policy) or _hand_over(answer, reference, pool, policy)


def _unboxed(reference: str) -> str:
    r"""A reference that is one ``\boxed{}`` without it."""
    inside = last_boxed(reference) if reference.lstrip().startswith("\\boxed") else None
    return inside if inside is not None and f"\\boxed{{{inside}}}" == reference.strip() else reference


@lru_cache(maxsize=4096)
def _fault(reference: str) -> str | None:
    """Why no answer can be compared with a reference, as far as its text alone shows."""
    if not reference.strip():
        return "the reference is empty"
    if len(reference) > MAX_ANSWER:
        return f"the reference is longer than {MAX_ANSWER} characters"
    if not _DIGIT.search(reference) and _PLACEHOLDER.fullmatch(clean(unstyled(clean(reference)))):
        return f"the reference {reference!r} is a placeholder, no answer"
    if ("{" in reference or "}" in reference) and last_boxed(f"\\boxed{{{reference}}}") != reference:
        return f"the braces of the reference {reference!r} do not match, or it holds a box"
    return None


def _settle_exactly(answer: str, reference: str, policy: MathPolicy) -> Verdict | None:
    """The verdict where both are numbers or words, or what stands there shall not be evaluated; else None."""
    expected = parse_number(reference) or parse_number(reference, any_unit=reference)
    if expected is not None and "=" in reference and is_equation_of_several(reference):
        expected = None
    given = parse_number(answer)
    if given is None and expected is not None and expected.unit is not NO_UNIT:
        given = parse_number(answer, any_unit=reference)  # in the reference's own unit, whatever that is
    if expected is not None and given is not None:
        equal = given.equals(expected, policy) or _rounds_to(given, expected)
        return _verdict(equal and not names_differ(reference, answer), str(given))
    if (refused := _refusal(answer)) is not None:
        if _text(answer) == _text(reference):
            return Verdict(Outcome.CORRECT, "", _canonical(answer))
        return Verdict(Outcome.TIMEOUT, f"refused before evaluation: {refused}")
    if expected is not None:
        if "=" in answer and (items := _numbers_of(answer)):
            return _verdict(all(item.equals(expected, policy) for item in items), str(items[-1]))
        if any(sign in answer for sign in _CHAINS) or (expected.places >= ROUNDED_PLACES and not is_prose(answer)):
            return None
        return Verdict(Outcome.WRONG, "not a plain number", _canonical(answer))
    if (letters := read_letters(reference)) is not None:
        return _verdict(answer_letters(answer) == letters, answer_letters(answer) or _canonical(answer))
    if (words := parse_words(reference)) is not None:
        return _verdict(parse_words(answer) == words or same_product(reference, answer), _canonical(answer))
    return None


def _numbers_of(answer: str) -> list[Number] | None:
    """The numbers of a chain that holds nothing else, like ``0.5 = 1/2``."""
    items = [parse_number(item) for item in clean(answer).split("=")]
    return None if None in items else [item for item in items if item is not None]


def _hand_over(answer: str, reference: str, pool: ProcessPool, policy: MathPolicy) -> Verdict | PendingMathVerdict:
    """What computer algebra has to say, unless the form of the answer already decides."""
    if (refused := _refusal(reference)) is not None:
        return Verdict(Outcome.REFERENCE_UNPARSEABLE, f"refused before evaluation: {refused}")
    same_text = _text(answer) == _text(reference)
    request = {"reference": reference, "policy": policy.model_dump(mode="json")}
    if same_text:  # the worker only has to read the reference, once for all answers in its words
        verdict = Verdict(Outcome.CORRECT, "", _canonical(answer))
        return PendingMathVerdict(pool.submit(answer=reference, **request), verdict)
    return PendingMathVerdict(pool.submit(answer=answer, **request))


def _verdict(equal: bool, answer: str) -> Verdict:
    return Verdict(Outcome.CORRECT if equal else Outcome.WRONG, "" if equal else "differs", answer)


def _rounds_to(given: Number, expected: Number) -> bool:
    """Whether a fraction without end, like 1/3, answers a decimal that it rounds to, like 0.3333."""
    if expected.places < ROUNDED_PLACES or given.unit != expected.unit:
        return False
    rest = given.value.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    return rest > 1 and abs(given.value - expected.value) * 2 <= Fraction(1, 10**expected.places)


@lru_cache(maxsize=4096)
def _text(answer: str) -> str:
    """An answer as text that can be compared: without dress and spaces."""
    return "".join(clean(answer).split())


@lru_cache(maxsize=4096)
def _refusal(answer: str) -> str | None:
    return refusal(clean(answer))


def _canonical(answer: str) -> str:
    """The normal form of an answer that no computer algebra has seen."""
    number = parse_number(answer)
    return str(number) if number else parse_words(answer) or " ".join(clean(answer).casefold().split())


@cache
def _shared_pool() -> ProcessPool:
    """The pool of ``grade_math``: one worker for the process's lifetime, with the deadline that recipes start with."""
    pool = ProcessPool(JUDGE, deadline_s=Verification().deadline_s)
    atexit.register(pool.close)
    return pool


os.register_at_fork(after_in_child=_shared_pool.cache_clear)  # the pool's thread stays behind in the parent
