"""The verifier of reasoning-gym's problems: their family's own scorer decides, and only its exact 1.0 counts.

A problem's column ``gym`` names the entry that a scorer needs, by family, seed, index and size; a worker process makes
it anew (``gym_worker.py``) and runs the scorers that only read. Scorers that evaluate text run in the sandbox, an
answer a run, with this environment's packages read-only. Left out: partial credit, which most scorers give for an
answer that is merely contained in the text.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

from thinkery.models.template import Template
from thinkery.recipe.verification import Verification
from thinkery.rewards.answers.extraction import after_thinking, last_boxed, tagged
from thinkery.rewards.interfaces import PendingVerdict, completion_with_answer
from thinkery.rewards.workers.pool import MEMORISED, ProcessPool, WorkerLostError
from thinkery.rewards.workers.zygote import Reply
from thinkery.sandbox.packages import environment_packages
from thinkery.sandbox.sandbox import Sandbox
from thinkery.sandbox.types import Limits, Program, RunResult, Status
from thinkery.types import Outcome, Problem, UserError, Verdict

GYM = "gym"  # the column that names the entry
NAMES = {"family": str, "seed": int, "index": int, "size": int}
WORK = "thinkery.rewards.gym_worker:work"
MAX_ANSWER = 1 << 14  # characters; grids are long

# Their scorers evaluate text: the answer (eval, sympy's parser), or their own entry. Read at version 0.1.25.
EVALUATING = frozenset({
    "binary_matrix", "bitwise_arithmetic", "countdown", "intermediate_integration", "n_queens", "number_sorting",
    "polynomial_multiplication", "puzzle24", "simple_integration", "spiral_matrix", "string_insertion",
})  # fmt: skip

_MODULES = ("reasoning_gym.factory", "sympy.parsing.sympy_parser")
_MAIN = """
import contextlib, json, warnings
warnings.simplefilter("ignore")
with contextlib.redirect_stdout(sys.stderr):
    verdict = score(**json.loads(sys.stdin.read()))
print(json.dumps(verdict))
"""
_CLOSED = Verdict(Outcome.TIMEOUT, "the verifier was closed")


@dataclass(frozen=True, slots=True)
class PendingScore:
    """A score that is still being worked out. Completions with the same answer share one."""

    future: Future[Verdict]
    answer: str

    def result(self, timeout: float | None = None) -> Verdict:
        """Waits for it, at most ``timeout`` seconds; what is missing then is the verdict ``timeout``."""
        try:
            verdict = self.future.result(timeout)
        except FutureTimeoutError:
            return Verdict(Outcome.TIMEOUT, f"no score after {timeout:g} s more")
        return verdict if verdict.outcome is Outcome.TIMEOUT else replace(verdict, answer=self.answer)


class GymVerifier:
    """Judges completions of one template by their problem's own scorer."""

    def __init__(self, template: Template, verification: Verification) -> None:
        self._template = template
        self._verification = verification
        self._pool = ProcessPool(WORK, workers=verification.workers, deadline_s=verification.deadline_s)
        self._threads = ThreadPoolExecutor(verification.workers, thread_name_prefix="gym-verifier")
        self._lock = threading.Lock()
        self._scoring_sandbox: Sandbox | None = None
        self._isolated = lru_cache(maxsize=MEMORISED)(self._submit_isolated)

    def begin(self, completion: str, problem: Problem) -> Verdict | PendingVerdict:
        """Hands a completion's answer to a worker; never waits.

        Raises ``UserError`` for a scorer that evaluates text where no isolation works, and the policy for programs
        does not say ``unsafe_local``.
        """
        named = problem.columns.get(GYM)
        if not isinstance(named, Mapping) or {name: type(named[name]) for name in named} != NAMES:
            reason = f"the problem has no column {GYM} that names its entry by {', '.join(NAMES)}"
            return Verdict(Outcome.REFERENCE_UNPARSEABLE, reason)
        after = after_thinking(completion, prefilled_think=self._template.prefilled_think)
        if after is None:
            return Verdict(Outcome.NO_ANSWER, "the thinking never ends")
        answer = _answer(after)
        if not answer:
            return Verdict(Outcome.NO_ANSWER, "the answer is empty")
        if len(answer) > MAX_ANSWER:
            return Verdict(Outcome.WRONG, f"the answer is longer than {MAX_ANSWER} characters", answer[:MAX_ANSWER])
        return PendingScore(self._begin(problem, named, answer), answer)

    def reference_completion(self, problem: Problem) -> str | None:
        """The entry's own answer as a completion, boxed only where a box can hold it."""
        boxable = _answer(f"\\boxed{{{problem.reference}}}") == problem.reference
        return completion_with_answer(self._template, problem.reference, boxed=boxable)

    def close(self) -> None:
        """Ends the worker processes and the sandbox."""
        self._pool.close()
        self._threads.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            if self._scoring_sandbox is not None:
                self._scoring_sandbox.close()

    def _begin(self, problem: Problem, named: Mapping[str, Any], answer: str) -> Future[Verdict]:
        """The entry is made once for all completions of a problem; its arrival starts the scoring."""
        family: str = named["family"]
        isolated = family in EVALUATING
        if isolated:
            self._sandbox(family)  # or the refusal, before anything is worked on
        verdict: Future[Verdict] = Future()
        made = self._pool.submit(
            task="make", **named, prompt=problem.prompt, reference=problem.reference, isolated=isolated
        )
        made.add_done_callback(lambda done: self._made(done, family, answer, verdict))
        return verdict

    def _made(self, made: Future[Reply], family: str, answer: str, verdict: Future[Verdict]) -> None:
        entry = None if made.exception() else made.result().get("entry")
        try:
            if entry is None:
                _settle(made, verdict)
            elif family in EVALUATING:
                self._isolated(family, answer, entry).add_done_callback(lambda done: _settle(done, verdict))
            else:
                scored = self._pool.submit(task="score", family=family, answer=answer, entry=entry)
                scored.add_done_callback(lambda done: _settle(done, verdict))
        except RuntimeError:  # the pool, or the threads, were closed in the meantime
            verdict.set_result(_CLOSED)

    def _submit_isolated(self, family: str, answer: str, entry: str) -> Future[Verdict]:
        return self._threads.submit(self._run_isolated, family, answer, entry)

    def _run_isolated(self, family: str, answer: str, entry: str) -> Verdict:
        seconds = self._verification.deadline_s
        asked = json.dumps({"family": family, "answer": answer, "entry": entry})
        try:
            result = self._sandbox(family).run(_program(), asked, Limits(wall_s=seconds, cpu_s=seconds))
        except UserError:  # it was closed
            return _CLOSED
        return _read_run(result)

    def _sandbox(self, family: str) -> Sandbox:
        """The sandbox with reasoning-gym in it. Raises ``UserError`` where there can be none."""
        with self._lock:
            if self._scoring_sandbox is None:
                workers = self._verification.workers
                try:
                    self._scoring_sandbox = Sandbox(workers=workers, packages=environment_packages(_MODULES))
                except UserError as error:
                    if not self._verification.code.unsafe_local:
                        what = f"gym://{family}: its scorer evaluates text as code, so it runs where programs run"
                        raise UserError(f"{what}, but never on a SandboxFusion server. {error}") from None
                    packages = environment_packages(_MODULES, isolated=False)
                    self._scoring_sandbox = Sandbox(workers=workers, isolation="none", packages=packages)
            return self._scoring_sandbox


@cache
def _program() -> Program:
    """The scorer as source: this project's own modules are not in the sandbox."""
    source = files("thinkery.rewards").joinpath("gym_scorer.py").read_text(encoding="utf-8")
    return Program(source + _MAIN)


def _read_run(result: RunResult) -> Verdict:
    """What a scorer in the sandbox said, or why it said nothing."""
    if result.status in (Status.TIMEOUT, Status.MEMORY, Status.LOST):
        return Verdict(Outcome.TIMEOUT, f"the scorer was ended: {result.reason or result.status}")
    try:
        return _read(json.loads(result.stdout.splitlines()[-1]))
    except (ValueError, IndexError, KeyError, TypeError, AttributeError):
        return Verdict(Outcome.WRONG, f"the scorer ended early: {(result.stderr or result.reason)[-200:]}")


def _read(reply: Reply) -> Verdict:
    return Verdict(Outcome(reply["outcome"]), str(reply["reason"]))


def _settle(done: Future[Reply] | Future[Verdict], verdict: Future[Verdict]) -> None:
    """Passes on what a worker or the sandbox said, or what became of it."""
    try:
        said = done.result()
        verdict.set_result(said if isinstance(said, Verdict) else _read(said))
    except WorkerLostError as error:
        verdict.set_result(Verdict(Outcome.TIMEOUT, str(error)))
    except CancelledError:
        verdict.set_result(_CLOSED)
    except Exception as error:  # a fault of ours: whoever waits is to hear of it
        verdict.set_exception(error)


def _answer(after: str) -> str:
    """The last answer tag's content, else the last box's, else all that follows the thinking."""
    inside = tagged(after)
    boxed = last_boxed(after) if inside is None else None
    return (after if inside is None and boxed is None else inside or boxed or "").strip()
