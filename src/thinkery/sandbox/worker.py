"""One server process and the host's half of the protocol with it. Trusts nothing that comes back.

A worker does one run at a time. Every wait has a deadline; a worker that misses it, or says anything unexpected, is
``broken`` and is to be closed. Left out: choosing among workers and trying again (``sandbox``).
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from thinkery.sandbox.inside import frames
from thinkery.sandbox.types import Limits, RunResult, Status

Launch = Callable[[socket.socket], "subprocess.Popen[bytes]"]

START_S = 30.0  # until a server must be ready
GRACE_S = 10.0  # beyond a run's wall time, for setting up, killing and reporting
CLOSE_S = 2.0  # until a server that lost its host is killed


class SandboxWorkerLost(Exception):  # noqa: N818 - an event
    """The server died, broke the protocol or missed its deadline."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a worker is to do."""

    kind: str  # "python", "native" (machine code) or "compile"
    program: bytes
    limits: Limits
    stdin: bytes = b""
    converse: bool = False
    command: tuple[str, ...] = ()  # the compiler's
    source_path: str = ""  # where it finds the source
    artifact: str = ""  # the file it makes


class SandboxWorker:
    """A running server."""

    def __init__(self, launch: Launch) -> None:
        self.broken = False  # lost: to be closed, of no more use
        try:
            self._socket, theirs = socket.socketpair()
        except OSError as error:
            raise SandboxWorkerLost(f"the server could not be started: {error}") from error
        with theirs:
            try:
                self._process = launch(theirs)
            except OSError as error:
                self._socket.close()
                raise SandboxWorkerLost(f"the server could not be started: {error}") from error
        self._deadline = time.monotonic() + START_S
        try:
            self._receive({frames.READY: 0})
        except BaseException:
            self.close()
            raise

    def begin(self, request: Request) -> None:
        """Send a request. Raises WorkerLost."""
        self._limits = request.limits
        self._early_stdout: bytes | None = None  # the first frame of a result that came instead of an answer
        self._deadline = time.monotonic() + request.limits.wall_s + GRACE_S
        header = {
            "kind": request.kind,
            "limits": dataclasses.asdict(request.limits),
            "converse": request.converse,
            "command": request.command,
            "source_path": request.source_path,
            "artifact": request.artifact,
        }
        with self._lost_if_broken():
            self._socket.settimeout(START_S)
            frames.send_json(self._socket, frames.REQUEST, header)
            frames.send(self._socket, frames.PROGRAM, request.program)
            frames.send(self._socket, frames.STDIN, request.stdin)

    def ask(self, message: bytes, timeout_s: float) -> bytes | None:
        """Send a message to the program and return its answer; None if the run ended first. Raises WorkerLost."""
        with self._lost_if_broken():
            self._socket.settimeout(START_S)
            frames.send(self._socket, frames.MESSAGE, message)
            expected = {frames.MESSAGE: frames.MAX_MESSAGE_BYTES, frames.STDOUT: self._limits.output_bytes}
            try:
                deadline = min(self._deadline, time.monotonic() + timeout_s)
                kind, payload = frames.receive(self._socket, expected, deadline, whole_until=self._deadline)
            except frames.NothingCame:
                self._socket.settimeout(START_S)
                frames.send(self._socket, frames.STOP, f"no answer within {timeout_s:g} s".encode())
                while (frame := self._receive(expected))[0] == frames.MESSAGE:
                    pass  # it came too late
                kind, payload = frame
        if kind == frames.MESSAGE:
            return payload
        self._early_stdout = payload
        return None

    def end(self) -> tuple[RunResult, bytes]:
        """Wait for the end of a run; (result, the compiler's file). Raises WorkerLost."""
        stdout, kind = self._early_stdout or b"", frames.STDOUT if self._early_stdout is not None else frames.MESSAGE
        while kind == frames.MESSAGE:  # one may come that nobody waits for any more
            expected = {frames.STDOUT: self._limits.output_bytes, frames.MESSAGE: frames.MAX_MESSAGE_BYTES}
            kind, stdout = self._receive(expected)
        stderr = self._receive({frames.STDERR: self._limits.output_bytes})[1]
        artifact = self._receive({frames.ARTIFACT: self._limits.file_bytes})[1]
        done = self._receive({frames.DONE: frames.MAX_JSON_BYTES})[1]
        with self._lost_if_broken():
            return _result(frames.decode_json(done), stdout, stderr), artifact

    def no_more_messages(self) -> None:
        """Let the program see the end of its channel. Raises WorkerLost."""
        self._tell(frames.NO_MORE)

    def stop(self) -> None:
        """End the program. Raises WorkerLost."""
        self._tell(frames.STOP)

    def _tell(self, kind: bytes) -> None:
        if self._early_stdout is None:
            with self._lost_if_broken():
                self._socket.settimeout(START_S)
                frames.send(self._socket, kind)

    def close(self) -> None:
        """End the server and all that it runs."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes a thread that waits for it
        self._socket.close()  # the server ends by itself when the host is gone
        try:
            self._process.wait(CLOSE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stderr is not None
        self._process.stderr.close()

    def _receive(self, limits: dict[bytes, int]) -> tuple[bytes, bytes]:
        with self._lost_if_broken():
            return frames.receive(self._socket, limits, self._deadline)

    @contextlib.contextmanager
    def _lost_if_broken(self) -> Iterator[None]:
        try:
            yield
        except (frames.ProtocolError, OSError, ValueError) as error:
            self.broken = True
            raise SandboxWorkerLost(self._last_words() or f"{type(error).__name__}: {error}") from error

    def _last_words(self) -> str:
        """What the server wrote before it died. Only our own processes hold that pipe, no program does."""
        assert self._process.stderr is not None
        try:
            os.set_blocking(self._process.stderr.fileno(), False)
            text = os.read(self._process.stderr.fileno(), 4000)
        except (OSError, ValueError):  # nothing, or the worker was closed meanwhile
            return ""
        lines = text.decode("utf-8", "replace").strip().splitlines()
        return lines[-1].partition(" See <")[0][:1000] if lines else ""  # bubblewrap's pointer to its documentation


def _result(done: dict[str, Any], stdout: bytes, stderr: bytes) -> RunResult:
    code = done.get("exit_code")
    wall_s, cpu_s = (float(done.get(name, math.nan)) for name in ("wall_s", "cpu_s"))
    return RunResult(
        status=Status(str(done.get("status"))),
        exit_code=code if isinstance(code, int) else None,
        stdout=stdout.decode("utf-8", "replace"),
        stderr=stderr.decode("utf-8", "replace"),
        wall_s=wall_s,
        cpu_s=cpu_s,
        reason=str(done.get("reason", ""))[:1000],
    )
