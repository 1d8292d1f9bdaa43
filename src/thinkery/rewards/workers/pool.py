"""Warm worker processes for work that may hang, in two queues: a hang delays only itself.

A signal cannot interrupt C code (big-integer powers, for one) and does not work off the main thread, so only another
process will do. Workers are forked from a plain interpreter (``zygote``), not from the caller: they do not import the
caller's main module (and with it torch), need no ``if __name__ == "__main__"`` there, and are replaced in milliseconds.
JSON goes in and JSON comes out, so that nothing that a worker says is ever executed.

A request that works for longer than ``PATIENCE_S`` moves to the slow queue with its process, at the lowest priority,
and a new process takes its place; after ``deadline_s`` of processor time it is killed, so that a busy machine changes
no reply. Where the slow queue is full it is killed at once and begins again behind all others. Left out: isolation of
untrusted code, which is the sandbox's job.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing.connection import Connection, Pipe, wait
from typing import Any

from thinkery.machine.children import start_child
from thinkery.machine.installation import cpu_seconds
from thinkery.rewards.workers.zygote import COMMAND, LAST, READY, Reply

START_DEADLINE_S = 60.0  # a cold disk and a busy machine
PATIENCE_S = 0.3  # nearly all verdicts take milliseconds; longer where the machine lets it work only half the time
SLOW_PER_WORKER = 8  # places in the slow queue; its processes share what the quick ones leave of the machine
MEMORISED = 4096  # requests
WALL_FACTOR = 40  # a process that sleeps, or gets less than a fortieth of a processor, is lost by the clock
_GLANCE_S = 0.05  # the shortest wait before the processor time is looked at again
_ATTEMPTS = 2  # at a request whose worker was lost together with the zygote
_LOWEST_PRIORITY = 19


class WorkerLostError(Exception):
    """The worker missed the deadline, or died of the request (memory or CPU limit). Says which."""


class _ZygoteLostError(Exception):
    """The zygote is gone, and every worker with it."""


@dataclass(eq=False)
class _Job:
    request: bytes
    future: Future[Reply]
    attempts: int = 0


@dataclass(eq=False)
class _Worker:
    pid: int
    connection: Connection
    job: _Job
    since: float  # when it began with its job
    cpu_s: float  # what it had used by then
    patience_ends: float
    ends: float  # when its processor time is looked at next, to see whether it has had all that it may
    slow: bool = False


class _Zygote:
    """The process that forks workers. Used by one thread."""

    def __init__(self, target: str, deadline_s: float) -> None:
        self.control, theirs = socket.socketpair()
        with theirs:
            self._process = start_child(  # a closed socket ends the zygote
                "thinkery.rewards.workers.zygote:main",
                [theirs.fileno(), target, deadline_s],
                descriptors=[theirs.fileno()],
            )
        self.control.settimeout(START_DEADLINE_S)
        try:
            started = self._receive() == READY
        except _ZygoteLostError:
            started = False
        if not started:
            self.close()
            raise RuntimeError(f"the worker for {target} did not start within {START_DEADLINE_S:g} s")

    def fork(self) -> tuple[int, Connection]:
        """A new worker's process id and the pipe to it. Raises ``_ZygoteLostError``."""
        ours, theirs = Pipe()
        with theirs:
            try:
                socket.send_fds(self.control, [COMMAND.pack(0)], [theirs.fileno()])
                (pid,) = COMMAND.unpack(self._receive())
            except (OSError, _ZygoteLostError) as error:
                ours.close()
                raise _ZygoteLostError from error
        return pid, ours

    def kill(self, pid: int) -> None:
        """Ends a worker at once. Raises ``_ZygoteLostError``."""
        try:
            self.control.sendall(COMMAND.pack(pid))
        except OSError as error:
            raise _ZygoteLostError from error
        self._receive()

    def close(self) -> None:
        """Ends the zygote and all its workers and reaps them."""
        self.control.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=START_DEADLINE_S / 10)
        with contextlib.suppress(ProcessLookupError, PermissionError):  # whom a dead or stuck zygote left behind
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(timeout=START_DEADLINE_S)

    def _receive(self) -> bytes:
        answer = b""
        while len(answer) < COMMAND.size:
            try:
                part = self.control.recv(COMMAND.size - len(answer))
            except OSError as error:
                raise _ZygoteLostError from error
            if not part:
                raise _ZygoteLostError
            answer += part
        return answer


class ProcessPool:
    """``workers`` warm processes that answer ``target`` ("module:function", keyword arguments in, a dict out).

    The function must be pure: equal requests share one future, so sixteen completions with the same hanging answer cost
    one deadline. Processes start with the first request, which costs about a second. Works from any thread.
    """

    def __init__(self, target: str, *, workers: int = 1, deadline_s: float = 5.0) -> None:
        self._target = target
        self._width = workers
        self._deadline_s = deadline_s
        self._patience_s = min(PATIENCE_S, deadline_s)
        self._lock = threading.Lock()  # guards what the caller and the pool's thread both touch: the next five
        self._arrived: deque[_Job] = deque()
        self._closed = False
        self._thread: threading.Thread | None = None
        self._heard: Connection | None = None
        self._bell: Connection | None = None
        self._quick: deque[_Job] = deque()
        self._again: deque[_Job] = deque()
        self._busy: dict[Connection, _Worker] = {}
        self._idle: list[tuple[int, Connection]] = []
        self._zygote: _Zygote | None = None
        self._memorised = lru_cache(maxsize=MEMORISED)(self._enqueue)

    def submit(self, **request: Any) -> Future[Reply]:
        """Queues a request; never blocks. The future always ends: with the reply, or ``WorkerLostError``."""
        return self._memorised(json.dumps(request))

    def close(self) -> None:
        """Gives up what is queued or running, and ends the processes. No request may follow."""
        with self._lock:
            self._closed = True
            thread = self._thread
            self._ring()
        if thread is not None:
            thread.join(timeout=2 * START_DEADLINE_S)

    def _enqueue(self, request: str) -> Future[Reply]:
        job = _Job(request.encode(), Future())
        job.future.set_running_or_notify_cancel()  # so that nobody can cancel it
        with self._lock:
            if self._closed:
                raise RuntimeError("the worker pool is closed")
            self._arrived.append(job)
            if self._thread is None:
                self._heard, self._bell = Pipe(duplex=False)
                self._thread = threading.Thread(target=self._run, name="worker-pool", daemon=True)
                self._thread.start()
            if len(self._arrived) == 1:
                self._ring()
        return job.future

    def _ring(self) -> None:
        if self._bell is not None:
            self._bell.send_bytes(b"!")

    # What follows runs in the pool's thread alone.

    def _run(self) -> None:
        reason: Exception = WorkerLostError("the pool was closed before the verdict")
        try:
            while self._take_in():
                try:
                    self._assign()
                    self._attend()
                except _ZygoteLostError:
                    self._start_over()
        except Exception as error:  # a fault of ours: nobody may wait for ever because of it
            reason = error
            raise
        finally:
            self._shut(reason)

    def _take_in(self) -> bool:
        with self._lock:
            self._quick.extend(self._arrived)
            self._arrived.clear()
            return not self._closed

    def _assign(self) -> None:
        """Gives queued jobs to free places, in both queues."""
        slow = sum(worker.slow for worker in self._busy.values())
        while self._quick and len(self._busy) - slow < self._width:
            self._begin(self._quick, slow=False)
        while self._again and slow < self._width * SLOW_PER_WORKER:
            self._begin(self._again, slow=True)
            slow += 1

    def _begin(self, queue: deque[_Job], *, slow: bool) -> None:
        try:
            if self._zygote is None:
                self._zygote = _Zygote(self._target, self._deadline_s)
        except (RuntimeError, OSError) as error:
            jobs = [*self._quick, *self._again]
            self._quick.clear()
            self._again.clear()
            self._fail(jobs, error)
            return
        pid, connection = self._idle.pop() if self._idle and not slow else self._zygote.fork()
        now = time.monotonic()
        ends = (now + self._patience_s, now + self._deadline_s)
        worker = _Worker(pid, connection, queue.popleft(), now, cpu_seconds(pid), *ends)
        self._busy[connection] = worker
        if slow:
            self._slow_down(worker)
        try:
            connection.send_bytes(worker.job.request)
        except OSError:  # it died while idle, which is no fault of this request
            queue.appendleft(worker.job)
            self._end(worker)

    def _attend(self) -> None:
        """Waits for the next reply, loss, deadline or request, and sees to it."""
        now = time.monotonic()
        timeout = min((self._due(worker) - now for worker in self._busy.values()), default=None)
        sources = [self._heard, *self._busy] + ([self._zygote.control] if self._zygote else [])
        for source in wait(sources, None if timeout is None else max(timeout, 0.0)):  # type: ignore[arg-type]
            if source is self._heard:
                self._heard.recv_bytes()
            elif isinstance(source, Connection):
                self._hear(self._busy[source])
            else:
                raise _ZygoteLostError
        now = time.monotonic()
        for worker in [worker for worker in self._busy.values() if self._due(worker) <= now]:
            self._overdue(worker)

    def _due(self, worker: _Worker) -> float:
        return worker.ends if worker.slow else worker.patience_ends

    def _hear(self, worker: _Worker) -> None:
        try:
            message = worker.connection.recv_bytes()
            reply: Reply = json.loads(message[1:])
        except (EOFError, OSError, ValueError):
            self._lose(worker, "the worker died at its memory or CPU limit")
            return
        worker.job.future.set_result(reply)
        if worker.slow or message[:1] == LAST:
            self._end(worker)
        else:
            del self._busy[worker.connection]
            self._idle.append((worker.pid, worker.connection))

    def _overdue(self, worker: _Worker) -> None:
        now = time.monotonic()
        used = cpu_seconds(worker.pid) - worker.cpu_s
        if used >= self._deadline_s or now >= worker.since + self._deadline_s * WALL_FACTOR:
            self._lose(worker, f"no verdict after {self._deadline_s:g} s")
        elif worker.slow:
            worker.ends = now + max(self._deadline_s - used, _GLANCE_S)
        elif used < self._patience_s / 2:  # a busy machine's fault, not its own
            worker.patience_ends = now + self._patience_s
        elif sum(other.slow for other in self._busy.values()) < self._width * SLOW_PER_WORKER:
            self._slow_down(worker)
        else:
            self._again.append(worker.job)
            self._end(worker)

    def _lose(self, worker: _Worker, reason: str) -> None:
        self._fail([worker.job], WorkerLostError(reason))
        self._end(worker)

    def _slow_down(self, worker: _Worker) -> None:
        worker.slow = True
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, worker.pid, _LOWEST_PRIORITY)

    def _end(self, worker: _Worker) -> None:
        del self._busy[worker.connection]
        worker.connection.close()
        assert self._zygote is not None
        self._zygote.kill(worker.pid)

    def _start_over(self) -> None:
        """After the zygote's death: what was running is asked again, unless it was so before."""
        jobs = [worker.job for worker in self._busy.values()]
        self._drop_processes()
        for job in jobs:
            job.attempts += 1
        self._quick.extendleft(job for job in jobs if job.attempts < _ATTEMPTS)
        self._fail([job for job in jobs if job.attempts >= _ATTEMPTS], WorkerLostError("the worker was killed"))

    def _drop_processes(self) -> None:
        for connection in [*self._busy, *(connection for _, connection in self._idle)]:
            connection.close()
        self._busy.clear()
        self._idle.clear()
        if self._zygote is not None:
            self._zygote.close()
            self._zygote = None

    def _fail(self, jobs: Iterable[_Job], error: Exception) -> None:
        for job in jobs:
            job.future.set_exception(error)

    def _shut(self, reason: Exception) -> None:
        jobs = [*(worker.job for worker in self._busy.values()), *self._quick, *self._again]
        self._drop_processes()
        with self._lock:
            self._closed = True
            jobs += self._arrived
            for end in (self._heard, self._bell):
                if end is not None:
                    end.close()
            self._bell = None
        self._fail([job for job in jobs if not job.future.done()], reason)
