"""Conversations with what runs in the sandbox: a program whose functions are called, and a suite of unit tests.

The two never share a run. The program's side (``harness/callee.py``) sees arguments, one call at a time; the tests'
side (``harness/tester.py``) sees plain return values. The host relays, checks every message to the last leaf, and keeps
the clock. Left out: what the answers are worth (``judge``).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import cache, partial
from importlib.resources import files
from typing import Any

from thinkery.rewards.programs import harness
from thinkery.rewards.programs.harness.plain import MAX_BYTES, PlainError, Wire, check, dump, encode
from thinkery.sandbox.fusion import SandboxFusion
from thinkery.sandbox.sandbox import ConversationEnded, Sandbox
from thinkery.sandbox.types import Limits, Program, RunResult, Status

_IMPORTS = {"callee": ("plain",), "tester": ("plain", "numpy_names", "pytest_names")}
LOADING_S = 5.0
_REASON_LINES = 12  # of a compiler's complaints
_REASON_TEXT = 1000


class ProgramFailedError(Exception):
    """The program did not do what the test asked. The text says what happened instead, for people."""


class UnusableProgramError(ProgramFailedError):
    """No test of this program can pass: it doesn't compile, start, or define what is called."""


class BrokenTestsError(Exception):
    """The tests themselves can't be run; says nothing about the program."""


class SandboxLostError(Exception):
    """The sandbox broke; says nothing about the program."""


class OutOfTimeError(Exception):
    """The verdict's own deadline has passed."""


class Deadlines:
    """The deadlines of a verdict and, within it, of one test. Seconds of ``time.monotonic``."""

    def __init__(self, verdict_s: float, test_s: float) -> None:
        self._end = time.monotonic() + verdict_s
        self._test_s = test_s
        self._test_end = self._end

    def start_test(self) -> None:
        """A test begins. Raises ``OutOfTimeError`` if there is no time left for any."""
        self._test_end = time.monotonic() + self._test_s
        self.left()

    def start_loading(self) -> None:
        """A sandbox and what belongs to the data set start: on a busy machine that may take longer than a test."""
        self._test_end = time.monotonic() + max(self._test_s, LOADING_S)
        self.left()

    def left(self) -> float:
        """Seconds until the nearer deadline, not below 0. Raises ``OutOfTimeError`` past the verdict's."""
        now = time.monotonic()
        if now >= self._end:
            raise OutOfTimeError
        return max(0.0, min(self._end, self._test_end) - now)


class ProgramSession:
    """The program under test, loaded once, its functions called one by one.

    ``ended`` says that it is gone (it exited, crashed, or was stopped for taking too long).
    """

    def __init__(self, sandbox: Sandbox | SandboxFusion, limits: Limits, clock: Deadlines) -> None:
        self._talk: _Talk | _Replay = (
            _Talk(sandbox, "callee", limits) if isinstance(sandbox, Sandbox) else _Replay(sandbox, "callee", limits)
        )
        self._clock = clock
        self._source: Sequence[str] = ()
        self.ended = False

    def load(self, setup: str, source: str) -> None:
        """Runs its top level. Raises ``UnusableProgramError``; ``BrokenTestsError`` where the setup is at fault.

        The setup's outcome is read before the program is sent, so that no program can blame the setup.
        """
        self._clock.start_loading()
        try:
            self._load(setup)
        except ProgramFailedError as error:
            raise BrokenTestsError(f"setup: {error}") from None
        self._clock.start_test()
        self._source = source.split("\n")
        self._load(source)

    def _load(self, source: str) -> None:
        reply = self._ask(encode(("load", source)), UnusableProgramError)
        if reply[0] == "error":
            raise UnusableProgramError(self._error(reply))
        if reply[0] != "loaded":
            raise self._out_of_turn(UnusableProgramError)

    def call(self, request: bytes) -> Wire:
        """The wire form of what a call returned. Raises ``CallError`` if it raised, else ``ProgramFailedError``."""
        reply = self._ask(request, ProgramFailedError)
        if reply[0] == "value" and len(reply) == 2:
            return reply[1]
        if reply[0] == "missing":
            raise UnusableProgramError("does not define the function that the tests call")
        if reply[0] == "error":
            raise CallError(self._error(reply), str(reply[1]), str(reply[2]))
        raise self._out_of_turn(ProgramFailedError)

    def close(self) -> None:
        """Ends the program."""
        self._talk.close()

    def _ask(self, request: bytes, failure: type[ProgramFailedError]) -> list[Any]:
        try:
            return self._talk.ask(request, self._clock.left())
        except PlainError as error:
            self.ended = True
            raise failure(f"answered with {error}") from None
        except ConversationEnded:
            self.ended = True
            self._clock.left()
            raise failure(how_it_ended(self._talk.finish())) from None

    def _error(self, reply: list[Any]) -> str:
        """The story of an error that the program's side reports. Raises ``ProgramFailedError`` for a false report."""
        if len(reply) != 4 or not all(isinstance(part, str) for part in reply[1:3]) or type(reply[3]) is not int:
            raise self._out_of_turn(ProgramFailedError)
        _, kind, text, line = reply
        place = f" (line {line}: {self._source[line - 1].strip()[:120]})" if 0 < line <= len(self._source) else ""
        return f"{kind}: {text[:_REASON_TEXT]}".removesuffix(": ") + place

    def _out_of_turn(self, failure: type[ProgramFailedError]) -> ProgramFailedError:
        self.ended = True
        return failure("answered something that was not asked")


class CallError(ProgramFailedError):
    """A call raised: the built-in exception's ``kind`` and its ``text``, as the program tells it."""

    def __init__(self, story: str, kind: str, text: str) -> None:
        super().__init__(story)
        self.kind, self.text = kind, text


class SuiteSession:
    """A data set's unit tests, in a sandbox of their own; what they call is relayed to a ``ProgramSession``.

    ``ended`` says that it is gone, or waits for an answer that will not come.
    """

    def __init__(self, sandbox: Sandbox, limits: Limits, clock: Deadlines) -> None:
        self._talk = _Talk(sandbox, "tester", limits)
        self._clock = clock
        self.ended = False
        self.calls = 0  # of the program, answered so far

    def load(self, setup: str, source: str, function: str, seed: int) -> list[str]:
        """The tests' names. Raises ``BrokenTestsError``."""
        self._clock.start_loading()
        reply = self._ask(encode(("load", setup, source, function, seed)))
        if reply[0] != "units" or not (isinstance(reply[-1], list) and reply[-1]):
            raise BrokenTestsError(f"unit tests: {reply[-1]}")
        return [str(name) for name in reply[-1]]

    def run(self, number: int, program: ProgramSession) -> None:
        """Runs one test. Raises ``ProgramFailedError`` if it fails.

        Raises ``BrokenTestsError`` if it can't be run, but only as long as the program has answered nothing: what comes
        later may be the program's doing, and no program must get out of a failure by blaming the tests.
        """
        self.ended = True  # until the test has said how it went
        answers, story = 0, ""  # the story of the last exception that the program raised
        try:
            reply = self._ask(encode(("run", number)))
            while reply[0] == "call" and len(reply) == 4:
                try:
                    answer = ["value", program.call(dump({"tuple": reply}))]
                except CallError as error:
                    story = f"; the program raised {error}"
                    answer = ["error", error.kind, error.text]
                answers += 1
                reply = self._ask(dump({"tuple": answer}))
            if reply[0] not in ("passed", "failed"):
                raise BrokenTestsError(f"unit tests: {reply[-1]}")
        except BrokenTestsError as error:
            if answers:
                raise ProgramFailedError(f"{error}{story}") from None
            raise
        finally:
            self.calls += answers
        self.ended = False
        if reply[0] == "failed":
            raise ProgramFailedError(f"{reply[1]}{story}")

    def close(self) -> None:
        """Ends the tests."""
        self._talk.close()

    def _ask(self, request: bytes) -> list[Any]:
        try:
            return self._talk.ask(request, self._clock.left())
        except PlainError as error:
            raise BrokenTestsError(f"unit tests: {error}") from None
        except ConversationEnded:
            self._clock.left()
            raise BrokenTestsError(f"unit tests: {how_it_ended(self._talk.finish())}") from None


def how_it_ended(result: RunResult) -> str:
    """What became of a program, for people. Raises ``SandboxLostError`` if that was the sandbox's fault."""
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    if result.status is Status.LOST:
        raise SandboxLostError(result.reason or "the sandbox was lost")
    if result.status is Status.COMPILE_ERROR:
        return "\n".join(["does not compile:", *lines[:_REASON_LINES]])[:_REASON_TEXT]
    if result.status is Status.TIMEOUT:
        return "took too long"
    if result.status is Status.MEMORY:
        return "took too much memory"
    if result.status is Status.OUTPUT:
        return "wrote too much"
    if lines and result.status is Status.ERROR:
        return lines[-1][:_REASON_TEXT]
    return result.reason or f"ended early with exit code {result.exit_code}"


class _Talk:
    """A harness inside a sandbox and the channel to it. Requests are encoded values; replies are checked tuples."""

    def __init__(self, sandbox: Sandbox, harness: str, limits: Limits) -> None:
        self._stack = ExitStack()
        self._conversation = self._stack.enter_context(sandbox.converse(_harness(harness), limits))

    def ask(self, request: bytes, timeout_s: float) -> list[Any]:
        """The items of the reply. Raises ``ConversationEnded``, ``PlainError``."""
        return _reply(self._conversation.ask(request, timeout_s))

    def finish(self) -> RunResult:
        """How it ended."""
        return self._conversation.finish()

    def close(self) -> None:
        """Ends it, if it still runs."""
        self._stack.close()


class _Replay:
    """The same where a sandbox can't converse: every question is a run of its own, after all that was loaded before."""

    def __init__(self, sandbox: SandboxFusion, harness: str, limits: Limits) -> None:
        self._run = partial(sandbox.run, _harness(harness))
        self._limits = limits
        self._loads: list[bytes] = []
        self._result: RunResult | None = None

    def ask(self, request: bytes, timeout_s: float) -> list[Any]:
        """The items of the reply. Raises ``ConversationEnded``, ``PlainError``."""
        limits = replace(self._limits, wall_s=timeout_s, output_bytes=MAX_BYTES)
        self._result = self._run(b"\n".join([*self._loads, request]).decode("ascii"), limits)
        lines = self._result.stdout.splitlines()
        if len(lines) <= len(self._loads):
            raise ConversationEnded
        reply = _reply(lines[len(self._loads)].encode("ascii", "replace"))
        if reply[0] == "loaded":
            self._loads.append(request)
        return reply

    def finish(self) -> RunResult:
        """How the last run ended."""
        assert self._result is not None
        return self._result

    def close(self) -> None:
        """Nothing is left to end."""


def _reply(message: bytes) -> list[Any]:
    """The items of a reply, a tuple that starts with a word."""
    wire = check(message)
    reply = wire.get("tuple") if isinstance(wire, dict) else None
    if not reply or not isinstance(reply[0], str):
        raise PlainError("something that is no reply")
    return list(reply)


@cache
def _harness(name: str) -> Program:
    """One of the harness's programs, as a single source that brings along the modules it imports."""
    folder = files(harness)
    lines = ["import sys, types"]
    for module in _IMPORTS[name]:
        source = folder.joinpath(f"{module}.py").read_text(encoding="utf-8")
        lines += [
            f"module = sys.modules['{harness.__name__}.{module}'] = types.ModuleType('{module}')",
            f"exec(compile({source!r}, '{module}.py', 'exec'), module.__dict__)",
        ]
    source = folder.joinpath(f"{name}.py").read_text(encoding="utf-8")
    lines.append(f"exec(compile({source!r}, '{name}.py', 'exec'), {{'__name__': '__main__'}})")
    return Program("\n".join(lines))
