"""Runs a program against its tests and says what that is worth. Expected values never enter the program's sandbox.

Programs on standard input and output get a fresh process for every test. Functions are called in one process, restarted
when it dies; their return values come back as plain data and are compared here. Unit tests run in a sandbox of their
own and reach the program through the host (``sessions``). Left out: threads and queues (``code``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import replace

from thinkery.recipe.verification import CodePolicy
from thinkery.rewards.programs.compare import equal_output, equal_value, shown, shown_wire
from thinkery.rewards.programs.harness.plain import encode
from thinkery.rewards.programs.sessions import (
    BrokenTestsError,
    Deadlines,
    OutOfTimeError,
    ProgramFailedError,
    ProgramSession,
    SandboxLostError,
    SuiteSession,
    UnusableProgramError,
    how_it_ended,
)
from thinkery.rewards.programs.tests import CallTest, CallTests, CodeTests, StdinTests, UnitTests, spread
from thinkery.sandbox.fusion import SandboxFusion
from thinkery.sandbox.sandbox import Sandbox
from thinkery.sandbox.types import Limits, Program, Status
from thinkery.types import Outcome, Verdict

ATTEMPTS = 3  # at a verdict whose sandbox breaks
MAX_REASON = 2000  # characters
CLOCK_PER_CPU = 4.0  # clock seconds that a second of processor time may take on a busy machine

# One test's outcome: whether it passed, in each reading of the reference, and if not, why, for people.
Result = tuple[tuple[bool, ...], str]


class ProgramJudge:
    """Judges programs by one policy. Thread-safe.

    ``programs`` runs the programs under test; ``testers`` gives the sandbox for unit tests. They must be two: a verdict
    holds a place in the second while it waits for one in the first, never the other way round. SandboxFusion can't
    converse, so unit tests can't be run there; they are REFERENCE_UNPARSEABLE.
    """

    def __init__(self, policy: CodePolicy, programs: Sandbox | SandboxFusion, testers: Callable[[], Sandbox]) -> None:
        self._policy = policy
        self._programs = programs
        self._testers = testers
        # Of a conversation; how long one test may take is for the clock to say.
        self._limits = Limits(policy.deadline_s, policy.deadline_s, policy.memory_mb << 20)

    def judge(self, source: str, tests: CodeTests) -> Verdict:
        """The verdict on a program. Bounded by the policy's deadline."""
        verdict = self._judge(source, tests)
        # Much of a reason was written by the program: whatever it is, it can be written to any file.
        return replace(verdict, reason=verdict.reason[:MAX_REASON].encode("utf-8", "replace").decode())

    def _judge(self, source: str, tests: CodeTests) -> Verdict:
        clock = Deadlines(self._policy.deadline_s, CLOCK_PER_CPU * self._policy.time_s)
        reason = ""
        for _ in range(ATTEMPTS):
            try:
                return self._tally(source, tests, clock)
            except SandboxLostError as error:
                reason = f"the sandbox was lost {ATTEMPTS} times: {error}"
            except OutOfTimeError:
                reason = f"not all tests were run within {self._policy.deadline_s:g} s"
                break
            except BrokenTestsError as error:
                return Verdict(Outcome.REFERENCE_UNPARSEABLE, str(error))
        return Verdict(Outcome.TIMEOUT, reason, source)

    def _tally(self, source: str, tests: CodeTests, clock: Deadlines) -> Verdict:
        fraction = self._policy.score == "fraction"
        passed = [0]
        count, why = 0, ""
        try:
            with closing(self._results(source, tests, clock)) as results:
                for count, (oks, reason) in enumerate(results, start=1):
                    passed = [sum(both) for both in zip(passed if count > 1 else [0] * len(oks), oks, strict=True)]
                    why = why or reason
                    if not fraction and max(passed) < count:
                        break
        except UnusableProgramError as error:
            return Verdict(Outcome.WRONG, str(error), source, 0.0 if fraction else None)
        correct = max(passed) == count
        score = max(passed) / count if fraction else None
        if correct:
            return Verdict(Outcome.CORRECT, "", source, score)
        return Verdict(Outcome.WRONG, why or "no reading of the expected values fits all tests", source, score)

    def _results(self, source: str, tests: CodeTests, clock: Deadlines) -> Generator[Result, None, None]:
        """The outcomes of the tests, in order; at least one."""
        if isinstance(tests.tests, StdinTests):
            return self._run_programs(Program(source, tests.language), tests.tests, clock)
        if isinstance(tests.tests, CallTests):
            return self._call_function(source, tests.setup, tests.tests, clock)
        return self._run_units(source, tests.setup, tests.tests, clock)

    def _run_programs(self, program: Program, tests: StdinTests, clock: Deadlines) -> Generator[Result, None, None]:
        for number, test in enumerate(spread(tests.tests, self._policy.max_tests), start=1):
            clock.start_test()
            limits = Limits(clock.left(), self._policy.time_s, self._policy.memory_mb << 20)
            result = self._programs.run(program, test.stdin, limits)
            clock.left()
            if result.status is Status.COMPILE_ERROR:
                raise UnusableProgramError(how_it_ended(result))
            if not result.ok:
                yield (False,), f"test {number}, input {shown(test.stdin)}: {how_it_ended(result)}"
            elif equal_output(test.expected, result.stdout, self._policy.float_tolerance):
                yield (True,), ""
            else:
                shown_input = f"printed {shown(result.stdout)}, expected {shown(test.expected)}"
                yield (False,), f"test {number}, input {shown(test.stdin)}: {shown_input}"

    def _call_function(
        self, source: str, setup: str, tests: CallTests, clock: Deadlines
    ) -> Generator[Result, None, None]:
        program: ProgramSession | None = None
        try:
            for number, test in enumerate(spread(tests.tests, self._policy.max_tests), start=1):
                if program is None or program.ended:
                    _close(program)
                    program = self._start_program(source, setup, clock)
                clock.start_test()
                yield self._call(program, tests.function, test, number)
        finally:
            _close(program)

    def _call(self, program: ProgramSession, function: str, test: CallTest, number: int) -> Result:
        shown_input = shown(test.keywords or list(test.arguments))
        try:
            value = program.call(encode(("call", function, list(test.arguments), dict(test.keywords))))
        except UnusableProgramError:
            raise
        except ProgramFailedError as error:
            return (False,) * len(test.expected), f"test {number}, arguments {shown_input}: {error}"
        oks = tuple(equal_value(expected, value, self._policy.float_tolerance) for expected in test.expected)
        wanted = " or ".join(map(shown, test.expected))
        reason = (
            ""
            if all(oks)
            else f"test {number}, arguments {shown_input}: returned {shown_wire(value)}, expected {wanted}"
        )
        return oks, reason

    def _run_units(self, source: str, setup: str, tests: UnitTests, clock: Deadlines) -> Generator[Result, None, None]:
        if not isinstance(self._programs, Sandbox):
            raise BrokenTestsError("unit tests can't be run on SandboxFusion; remove fusion_url")
        # The same for the same program and tests, and not to be foreseen by a program that prepares answers.
        seed = int.from_bytes(hashlib.sha256(f"{tests.source}\0{source}".encode(errors="replace")).digest()[:8])
        suite: SuiteSession | None = None
        program: ProgramSession | None = None
        try:
            names: list[str] = []
            units: Sequence[int] = []
            position, calls = 0, 0
            while not names or position < len(units):
                if suite is None or program is None or suite.ended or program.ended:
                    _close(suite, program)
                    suite = SuiteSession(self._testers(), self._limits, clock)
                    loaded = suite.load(setup, tests.source, tests.function, seed)
                    if names not in ([], loaded):
                        raise BrokenTestsError("unit tests: they differ from one time they are loaded to the next")
                    names, units = loaded, spread(range(len(loaded)), self._policy.max_tests)
                    program = self._start_program(source, setup, clock)
                clock.start_test()
                reason = self._run_unit(suite, program, units[position])
                yield (not reason,), f"{names[units[position]]}: {reason}" if reason else ""
                calls += suite.calls
                position += 1
        finally:
            _close(suite, program)
        if not calls:
            raise BrokenTestsError("unit tests: they never call the program")

    def _run_unit(self, suite: SuiteSession, program: ProgramSession, number: int) -> str:
        """Why the test failed, or ""."""
        try:
            suite.run(number, program)
        except UnusableProgramError:
            raise
        except ProgramFailedError as error:
            return str(error) or "failed"
        return ""

    def _start_program(self, source: str, setup: str, clock: Deadlines) -> ProgramSession:
        program = ProgramSession(self._programs, self._limits, clock)
        try:
            program.load(setup, source)
        except BaseException:
            program.close()
            raise
        return program


def _close(*sessions: SuiteSession | ProgramSession | None) -> None:
    for session in sessions:
        if session is not None:
            session.close()
