"""Does a program pass its tests? The verifier for code: whole programs, functions and unit tests, Python and C++.

Order of judgment, all in ``programs``: the reference (``tests``), the program in the answer (``source``), its tests in
the sandbox, on threads (``judge``). Nothing of a data set or a completion runs outside the sandbox. Left out: style,
speed, and tests that are written by a model.
"""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache

from thinkery.models.template import Template
from thinkery.recipe.verification import CodePolicy, Verification
from thinkery.rewards.interfaces import PendingVerdict, completion_with_answer
from thinkery.rewards.programs.judge import ProgramJudge
from thinkery.rewards.programs.source import code_blocks, fenced, find_program, join_prompt
from thinkery.rewards.programs.tests import UnreadableTestsError, parse_tests
from thinkery.sandbox.fusion import SandboxFusion
from thinkery.sandbox.isolation import choose_isolation
from thinkery.sandbox.sandbox import Sandbox, shared_sandbox
from thinkery.types import Outcome, Problem, UserError, Verdict

# Where a problem keeps its own solution: the name that problem sources give it, HumanEval's, open-r1's.
SOLUTION_COLUMNS = ("solution_code", "canonical_solution", "gold_standard_solution", "gold_solution")
DEFAULT_POLICY = CodePolicy()
CLOSED = Verdict(Outcome.TIMEOUT, "the verifier was closed")


@dataclass(frozen=True, slots=True)
class PendingProgram:
    """A verdict on a program that still runs, or waits to."""

    future: Future[Verdict]

    def result(self, timeout: float | None = None) -> Verdict:
        """Waits for it, at most ``timeout`` seconds; what is missing then is the verdict ``timeout``."""
        try:
            return self.future.result(timeout)
        except TimeoutError:
            self.future.cancel()
            return Verdict(Outcome.TIMEOUT, f"no verdict after {timeout:g} s more")
        except CancelledError:
            return CLOSED


class CodeVerifier:
    """Judges programs of one template. As many verdicts are in progress as ``verification.workers`` says.

    Raises ``UserError`` where no isolation works and the policy does not say ``unsafe_local``.
    """

    def __init__(self, template: Template, verification: Verification) -> None:
        self._template = template
        self._workers = verification.workers
        self._policy = verification.code
        fusion = self._policy.fusion_url
        self._programs = SandboxFusion(fusion, workers=self._workers) if fusion else self._sandbox()
        self._tester_sandbox: Sandbox | None = None
        self._lock = threading.Lock()
        self._closed = False
        self._judge = ProgramJudge(self._policy, self._programs, self._testers)
        self._threads = ThreadPoolExecutor(self._workers, thread_name_prefix="code-verifier")

    def begin(self, completion: str, problem: Problem) -> PendingVerdict:
        """Queues a completion; never waits."""
        return PendingProgram(self._threads.submit(self._grade, completion, problem.reference))

    def reference_completion(self, problem: Problem) -> str | None:
        """The problem's own solution as a completion, from the first of ``SOLUTION_COLUMNS`` that it has.

        A problem whose reference can't be read gives a completion all the same, so that the verdict says why.
        """
        try:
            language = parse_tests(problem.reference).language
        except UnreadableTestsError:
            return completion_with_answer(self._template, "", boxed=False)
        columns = (problem.columns.get(name) for name in SOLUTION_COLUMNS)
        solution = next((value for value in columns if isinstance(value, str) and value.strip()), None)
        if solution is None:
            return None
        answer = solution if code_blocks(solution)[0] else fenced(solution, language)
        return completion_with_answer(self._template, answer, boxed=False)

    def close(self) -> None:
        """Drops what is queued, ends the sandboxes and whatever runs in them."""
        self._closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._programs.close()
        with self._lock:
            if self._tester_sandbox is not None:
                self._tester_sandbox.close()

    def _grade(self, completion: str, reference: str) -> Verdict:
        try:
            return _grade(completion, reference, self._judge, self._template.prefilled_think)
        except UserError:
            if not self._closed:
                raise
            return CLOSED

    def _testers(self) -> Sandbox:
        with self._lock:
            if self._tester_sandbox is None:
                self._tester_sandbox = self._sandbox()
            return self._tester_sandbox

    def _sandbox(self) -> Sandbox:
        try:
            return Sandbox(workers=self._workers)
        except UserError:
            if not self._policy.unsafe_local:
                raise
            return Sandbox(workers=self._workers, isolation="none")


def require_isolation(policy: CodePolicy) -> None:
    """Raises ``UserError``, as a ``CodeVerifier`` would, where no isolation works and the policy names no other way."""
    if policy.fusion_url is None and not policy.unsafe_local:
        choose_isolation()


def grade_code(
    completion: str,
    tests: str,
    *,
    policy: CodePolicy = DEFAULT_POLICY,
    sandbox: Sandbox | SandboxFusion | None = None,
    prefilled_think: bool = False,
) -> Verdict:
    """Grades one completion (thinking included) against a reference, JSON as ``tests`` describes it; waits.

    The program runs in ``sandbox``, or in one that this process shares. ``prefilled_think``: the prompt already opened
    ``<think>``, so a completion that never closes it has no answer.
    """
    judge = ProgramJudge(policy, sandbox or shared_sandbox(), _shared_testers)
    return _grade(completion, tests, judge, prefilled_think)


def _grade(completion: str, reference: str, judge: ProgramJudge, prefilled_think: bool) -> Verdict:
    try:
        tests = parse_tests(reference)
    except UnreadableTestsError as error:
        return Verdict(Outcome.REFERENCE_UNPARSEABLE, str(error))
    program, reason = find_program(
        completion, tests.language, continues=bool(tests.prompt), prefilled_think=prefilled_think
    )
    if program is None:
        return Verdict(Outcome.NO_ANSWER, reason)
    return judge.judge(join_prompt(program, tests), tests)


_shared_lock = threading.Lock()


def _shared_testers() -> Sandbox:
    with _shared_lock:
        return _make_shared_testers()


@cache
def _make_shared_testers() -> Sandbox:
    return Sandbox()
