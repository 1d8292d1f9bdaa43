"""A pool of warm sandboxes: runs untrusted programs one after the other or at once, and compiles C++ once a source.

Untrusted code runs in a worker's server (``worker``), each run in namespaces of its own (``inside``). A worker that
breaks is replaced and its run done once more. Thread-safe. Left out: which isolation the machine offers
(``isolation``), what a program's output is worth (``rewards``).
"""

from __future__ import annotations

import atexit
import contextlib
import os
import queue
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Self

from thinkery.sandbox import cpp
from thinkery.sandbox.inside.frames import MAX_INPUT_BYTES, MAX_MESSAGE_BYTES
from thinkery.sandbox.isolation import IsolationName, choose_isolation
from thinkery.sandbox.packages import Packages
from thinkery.sandbox.types import Limits, Program, RunResult, Status
from thinkery.sandbox.worker import Launch, Request, SandboxWorker, SandboxWorkerLost
from thinkery.types import UserError

DEFAULT_LIMITS = Limits()


class ConversationEnded(Exception):  # noqa: N818 - an event
    """The program ended, or was ended, before it answered; ``Conversation.finish`` says how."""


class _CannotStartError(Exception):
    """A server that worked before does not start now; the machine may be short of memory or processes."""


class Sandbox:
    """``workers`` warm servers. Close it, or use it as a context manager; at exit it closes itself.

    Python programs find the standard library, and ``packages`` where they are given.
    """

    def __init__(
        self, *, workers: int = 2, isolation: IsolationName = "auto", packages: Packages | None = None
    ) -> None:
        if workers < 1:
            raise UserError(f"A sandbox needs at least one worker, not {workers}.")
        self._launch: Launch = partial(choose_isolation(isolation).launch, packages=packages)
        self._process = os.getpid()
        self._starter = _Starter()
        self._idle: queue.LifoQueue[SandboxWorker | None] = (
            queue.LifoQueue()
        )  # None: a place whose worker is yet to start
        for _ in range(workers):
            self._idle.put(None)
        self._workers = workers
        self._lock = threading.Lock()
        self._all: set[SandboxWorker] = set()
        self._closed = False
        self._pool: ThreadPoolExecutor | None = None
        self._binaries = cpp.BinaryCache()
        _open_sandboxes.add(self)

    def run(self, program: Program, stdin: str | bytes = "", limits: Limits = DEFAULT_LIMITS) -> RunResult:
        """Run a program to its end. Raises UserError if the sandbox is closed or the compiler is missing."""
        request = self._request(program, _encode(stdin), limits)
        return request if isinstance(request, RunResult) else self._do(request)[0]

    def submit(self, program: Program, stdin: str | bytes = "", limits: Limits = DEFAULT_LIMITS) -> Future[RunResult]:
        """``run`` in a thread of the sandbox's own."""
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix="sandbox")
            return self._pool.submit(self.run, program, stdin, limits)

    @contextlib.contextmanager
    def converse(self, program: Program, limits: Limits = DEFAULT_LIMITS) -> Iterator[Conversation]:
        """Run a program that answers messages.

        The program reads and writes frames at descriptor 3 (the environment variable ``THINKERY_CHANNEL`` says so): a
        length of four bytes, big-endian, then that many bytes, at most 16 MiB. The end of that stream means that no
        more messages come. ``limits.wall_s`` is for the conversation as a whole. It is never tried again. A program
        that still runs when the block is left is ended.
        """
        request = self._request(program, b"", limits, converse=True)
        if isinstance(request, RunResult):
            yield Conversation(None, request)
            return
        try:
            with self._worker() as worker:
                conversation = Conversation(worker)
                conversation._begin(request)
                try:
                    yield conversation
                finally:
                    conversation._abandon()
        except _CannotStartError as error:
            yield Conversation(None, _lost(str(error)))

    def close(self) -> None:
        """End all servers and what they run. Does nothing the second time."""
        with self._lock:
            self._closed = True
            workers, self._all = self._all, set()
            pool, self._pool = self._pool, None
        if os.getpid() == self._process:
            for worker in workers:
                worker.close()  # under its user's hands, if it has one: that one's run is lost
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)
        self._starter.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _request(self, program: Program, stdin: bytes, limits: Limits, converse: bool = False) -> Request | RunResult:
        """What to send to a worker; or at once the result, if the program does not compile."""
        source = program.source.encode("utf-8", "surrogatepass")
        if program.language == "python":
            return Request("python", source, limits, stdin, converse)
        if program.language != "cpp":
            raise UserError(f"The sandbox runs 'python' and 'cpp', not {program.language!r}.")
        binary = self._binaries.get(source)
        if binary is None:
            result, binary = self._do(cpp.request(source))
            if not result.ok:
                return cpp.failure(result)
            self._binaries.put(source, binary)
        return Request("native", binary, limits, stdin, converse)

    def _do(self, request: Request) -> tuple[RunResult, bytes]:
        """Do a request, twice if the first worker is lost."""
        if max(len(request.program), len(request.stdin)) > MAX_INPUT_BYTES:
            raise UserError(f"A program and its standard input may have at most {MAX_INPUT_BYTES >> 20} MiB.")
        for _ in range(2):
            try:
                with self._worker() as worker:
                    worker.begin(request)
                    result, artifact = worker.end()
            except (SandboxWorkerLost, _CannotStartError) as lost:
                result, artifact = _lost(str(lost)), b""
            if result.status is not Status.LOST:
                break
        return result, artifact

    @contextlib.contextmanager
    def _worker(self) -> Iterator[SandboxWorker]:
        """An idle worker, for this thread alone, as soon as there is one; one that breaks is not used again.

        Raises _CannotStartError if a new one is needed and does not start. There is no deadline: all runs have one.
        """
        if os.getpid() != self._process:
            raise UserError("This sandbox belongs to the process that made it; make another one after a fork.")
        worker = self._idle.get()
        try:
            if worker is None:
                worker = self._start()
            yield worker
        finally:
            if worker is not None and (worker.broken or self._closed):
                with self._lock:
                    self._all.discard(worker)
                worker.close()
                worker = None
            self._idle.put(worker)

    def _start(self) -> SandboxWorker:
        if self._closed:
            raise UserError("The sandbox is closed.")
        try:
            worker = self._starter.call(lambda: SandboxWorker(self._launch))
        except SandboxWorkerLost as lost:
            raise _CannotStartError(str(lost)) from lost
        with self._lock:
            self._all.add(worker)
        return worker


class Conversation:
    """Questions and answers with one running program."""

    def __init__(self, worker: SandboxWorker | None, result: RunResult | None = None) -> None:
        self._worker = worker
        self._result = result

    def ask(self, message: bytes, timeout_s: float) -> bytes:
        """Send a message and return the program's answer. Raises ConversationEnded; later questions do, too.

        A program that does not answer within ``timeout_s`` seconds is ended, with the status TIMEOUT.
        """
        if len(message) > MAX_MESSAGE_BYTES:
            raise UserError(f"A message may have at most {MAX_MESSAGE_BYTES >> 20} MiB.")
        if self._worker is None or self._result is not None:
            raise ConversationEnded
        try:
            answer = self._worker.ask(message, timeout_s)
            if answer is None:
                self._result = self._worker.end()[0]
        except SandboxWorkerLost as lost:
            self._result = _lost(str(lost))
            answer = None
        if answer is None:
            raise ConversationEnded
        return answer

    def finish(self) -> RunResult:
        """Tell the program that no more messages come, wait for its end and return how it ended."""
        return self._end(SandboxWorker.no_more_messages)

    def _begin(self, request: Request) -> None:
        assert self._worker is not None
        try:
            self._worker.begin(request)
        except SandboxWorkerLost as lost:
            self._result = _lost(str(lost))

    def _abandon(self) -> None:
        """End the program if it still runs."""
        self._end(SandboxWorker.stop)

    def _end(self, how: Callable[[SandboxWorker], None]) -> RunResult:
        if self._result is None:
            assert self._worker is not None
            try:
                how(self._worker)
                self._result = self._worker.end()[0]
            except SandboxWorkerLost as lost:
                self._result = _lost(str(lost))
        return self._result


class _Starter:
    """A thread that starts servers: a server dies with the thread that started it, and callers' threads come and go."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[tuple[Callable[[], SandboxWorker], Future[SandboxWorker]] | None] = (
            queue.SimpleQueue()
        )
        threading.Thread(target=self._serve, name="sandbox-starter", daemon=True).start()

    def call(self, job: Callable[[], SandboxWorker]) -> SandboxWorker:
        future: Future[SandboxWorker] = Future()
        self._jobs.put((job, future))
        return future.result()

    def stop(self) -> None:
        self._jobs.put(None)

    def _serve(self) -> None:
        while (item := self._jobs.get()) is not None:
            job, future = item
            try:
                future.set_result(job())
            except BaseException as error:
                future.set_exception(error)


def _encode(stdin: str | bytes) -> bytes:
    return stdin if isinstance(stdin, bytes) else stdin.encode("utf-8", "surrogatepass")


def _lost(reason: str) -> RunResult:
    return RunResult(Status.LOST, None, "", "", 0.0, 0.0, reason)


_open_sandboxes: weakref.WeakSet[Sandbox] = weakref.WeakSet()
_shared: Sandbox | None = None
_shared_lock = threading.Lock()


def shared_sandbox() -> Sandbox:
    """The sandbox of this process, started when first asked for and closed at exit."""
    global _shared
    with _shared_lock:
        if _shared is None or _shared._process != os.getpid():
            _shared = Sandbox()
        return _shared


def run_python(
    source: str, stdin: str | bytes = "", *, limits: Limits = DEFAULT_LIMITS, sandbox: Sandbox | None = None
) -> RunResult:
    """Run untrusted Python source, isolated; in the process's shared sandbox by default.

    The system's interpreter runs it, with the standard library and no other package. ``random`` starts from seed 0
    and strings hash alike every time, so that a program that depends on neither time nor ``os.urandom`` does the same
    in every run. Raises UserError where no isolation works.
    """
    return (sandbox or shared_sandbox()).run(Program(source, "python"), stdin, limits)


def run_cpp(
    source: str, stdin: str | bytes = "", *, limits: Limits = DEFAULT_LIMITS, sandbox: Sandbox | None = None
) -> RunResult:
    """Compile untrusted C++20 source, once for all its runs, and run it; in the process's shared sandbox by default.

    Raises UserError where there is no compiler, or no isolation works.
    """
    return (sandbox or shared_sandbox()).run(Program(source, "cpp"), stdin, limits)


@atexit.register
def _close_all() -> None:
    for sandbox in list(_open_sandboxes):
        sandbox.close()
