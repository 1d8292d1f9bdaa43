"""Warm worker processes for work that may hang: each is killed and replaced when it misses its deadline.

A signal cannot interrupt C code (big-integer powers, for one) and does not work off the main thread, so only another
process will do. Workers are plain interpreters, not children of multiprocessing: they do not import the caller's main
module (and with it torch), and need no ``if __name__ == "__main__"`` there. JSON goes in and JSON comes out, so that
nothing that a worker says is ever executed. Left out: isolation of untrusted code, which is the sandbox's job.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from importlib import import_module
from multiprocessing.connection import Connection, Pipe
from queue import SimpleQueue
from typing import Any

START_DEADLINE_S = 60.0  # a cold disk and a busy machine
MEMORY_BYTES = 1 << 30
_READY = b"ready"

Reply = Mapping[str, Any]


class WorkerLostError(Exception):
    """The worker missed the deadline, or died of the request (memory or CPU limit). Says which."""


class _Worker:
    """One process, started at the first request and again after each loss. Used by one thread at a time."""

    def __init__(self, target: str, deadline_s: float) -> None:
        self._target = target
        self._deadline_s = deadline_s
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None

    def ask(self, request: str) -> Reply:
        """Sends a request and waits for its reply. Raises ``WorkerLostError``; the next request finds a new process."""
        if self._process is not None and self._process.poll() is not None:
            self.kill()  # it died between requests, which is no fault of this one
        connection = self._connection or self._start()
        try:
            connection.send_bytes(request.encode())
            if not connection.poll(self._deadline_s):
                raise WorkerLostError(f"no verdict after {self._deadline_s:g} s")
            reply: Reply = json.loads(connection.recv_bytes())
        except (EOFError, OSError) as error:
            self.kill()
            raise WorkerLostError("the worker died at its memory or CPU limit") from error
        except BaseException:
            self.kill()
            raise
        return reply

    def kill(self) -> None:
        """Ends the process at once and reaps it."""
        process, connection = self._process, self._connection
        self._process = self._connection = None
        if connection is not None:
            connection.close()
        if process is not None:
            process.kill()
            process.wait(timeout=START_DEADLINE_S)

    def _start(self) -> Connection:
        ours, theirs = Pipe()
        with theirs:
            arguments = f"{theirs.fileno()}, {self._target!r}, {self._deadline_s!r}"
            command = f"from thinkery.rewards.worker import serve; serve({arguments})"
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", command],
                env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C is the caller's; closing the pipe ends the worker
            )
        self._connection = ours
        try:
            started = ours.poll(START_DEADLINE_S) and ours.recv_bytes() == _READY
        except (EOFError, OSError):
            started = False
        if not started:
            self.kill()
            raise RuntimeError(f"the worker for {self._target} did not start within {START_DEADLINE_S:g} s")
        return ours


class WorkerPool:
    """``workers`` warm processes that answer ``target`` ("module:function", keyword arguments in, a dict out).

    The function must be pure: equal requests share one future, so sixteen completions with the same hanging answer cost
    one deadline. Processes start with the first request, each worth about half a second.
    """

    def __init__(self, target: str, *, workers: int = 1, deadline_s: float = 5.0) -> None:
        self._workers = [_Worker(target, deadline_s) for _ in range(workers)]
        self._idle: SimpleQueue[_Worker] = SimpleQueue()
        for worker in self._workers:
            self._idle.put(worker)
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="worker-pool")
        self._memoised = lru_cache(maxsize=4096)(self._enqueue)

    def submit(self, **request: str) -> Future[Reply]:
        """Queues a request; never blocks. The future always ends: with the reply, or ``WorkerLostError``."""
        return self._memoised(json.dumps(request))

    def close(self) -> None:
        """Drops what is queued, waits for what runs (at most the deadline) and ends the processes."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        for worker in self._workers:
            worker.kill()

    def _enqueue(self, request: str) -> Future[Reply]:
        return self._threads.submit(self._ask, request)

    def _ask(self, request: str) -> Reply:
        worker = self._idle.get(timeout=START_DEADLINE_S)  # there are as many threads as workers: one is idle
        try:
            return worker.ask(request)
        finally:
            self._idle.put(worker)


def serve(descriptor: int, target: str, deadline_s: float) -> None:
    """The worker's side: answers requests until the pipe closes."""
    with contextlib.suppress(ValueError, OSError):  # the hard limit may already be lower
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    module, _, name = target.partition(":")
    answer: Callable[..., Reply] = getattr(import_module(module), name)
    connection = Connection(descriptor)
    connection.send_bytes(_READY)
    while True:
        try:
            request = connection.recv_bytes()
        except EOFError:
            return
        _limit_cpu(deadline_s)
        connection.send_bytes(json.dumps(answer(**json.loads(request))).encode())


def _limit_cpu(deadline_s: float) -> None:
    """Lets the kernel end a hanging worker whose parent was itself killed and so will never kill it."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    soft = int(used.ru_utime + used.ru_stime + deadline_s) + 1  # whole seconds, rounded up
    if hard == resource.RLIM_INFINITY or soft < hard:
        resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))
