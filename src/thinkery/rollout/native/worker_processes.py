"""CPU workers as processes: what samples beside the caller does so in processes of its own.

Decoding a token is some hundred small operations, and threads take turns between them for Python's lock; processes do
not. Each worker's process serves every rollout of this process: it starts in the background when a rollout that has a
use for it is made, and ends with this process, however that ends. It maps the policies' weights, so what is learnt here
is sampled from there at once.

Where a worker's process is not ready yet, or samples for another call, or can't have the weights, a thread of this
process does the same work, and the completions are the same bit for bit. So it is where a process is killed, or stands
still, amid its work: a thread does that from the beginning, what had come already is not given out again, and a new
process is started. Left out: what a worker does (``worker_main.py``), and accelerators, which have one worker.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import math
import os
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from multiprocessing import reduction
from multiprocessing.connection import Connection
from typing import Any, Protocol

import torch

from thinkery.machine.allocator import environment
from thinkery.machine.children import start_child
from thinkery.machine.installation import cpu_seconds
from thinkery.machine.interrupts import INTERRUPTS
from thinkery.machine.shared_weights import SharedMemory, memory_of, pack
from thinkery.models.loading import Policy
from thinkery.rollout.base import PartialCompletion
from thinkery.rollout.native.cache import Share
from thinkery.types import Completion

READY = "ready"  # a worker's first word
START_DEADLINE_S = 120.0  # a busy machine imports torch
POLL_S = 0.05  # how soon a worker hears that it is to stop
END_DEADLINE_S = 10.0  # for a process that has closed its end or was killed
STILL_S = 15.0  # a process that is waited for and has no processor time for so long has been stopped, or is stuck
MOST_FAILED_STARTS = 3  # then a thread does a worker's work for good

_numbers = itertools.count()


@dataclass(frozen=True)
class AddPolicy:
    """A policy, packed around its weights; the descriptor of their memory follows."""

    number: int
    policy: bytes


@dataclass(frozen=True)
class DropPolicy:
    """A policy that is gone."""

    number: int


@dataclass(frozen=True)
class SampleShare:
    """Sample a share of a call. Each burst's completions come back, as a list, then ``Unfinished`` or the error."""

    number: int
    policy: int
    threads: int
    share: Share


@dataclass(frozen=True)
class StopSampling:
    """Stop a run after its present burst."""

    number: int


@dataclass(frozen=True)
class Unfinished:
    """The last word of a run: what it did not finish."""

    partials: tuple[PartialCompletion, ...]


class Call(Protocol):
    """A worker's share of a call, which can be worked through here."""

    policy: Policy
    share: Share
    unfinished: Sequence[PartialCompletion]

    def run(self) -> Generator[list[Completion], None, None]:
        """What each burst of decoding finished."""
        ...


class WorkerProcessLost(RuntimeError):  # noqa: N818  (what happened)
    """A worker's process has died, or stands still and was killed. Says which."""


class _Stall:
    """How long a process has had no processor time since it was first waited for."""

    def __init__(self, pid: int) -> None:
        self._pid, self._used, self._since = pid, cpu_seconds(pid), time.monotonic()

    @property
    def too_long(self) -> bool:
        """Whether it will not continue by itself. Where the system tells no times, nobody can know."""
        now, used = time.monotonic(), cpu_seconds(self._pid)
        if used > self._used or used == math.inf:
            self._used, self._since = used, now
        return now - self._since > STILL_S


class _Process:
    """A worker's process and the pipe to it. Used by one thread at a time."""

    def __init__(self, worker: int, when_gone: Callable[[object], None]) -> None:
        """``when_gone`` is called when a policy that it knows is gone, by whatever thread that happens in."""
        self.gone = False
        self._worker, self._when_gone = worker, when_gone
        self._ready = False
        self._known: dict[int, weakref.ref[Policy]] = {}
        self._words = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = start_child(  # a closed socket ends the worker
                "thinkery.rollout.native.worker_main:main",
                [theirs.fileno()],
                descriptors=[theirs.fileno()],
                environment=os.environ | environment(),
                stderr=self._words,
            )
        limit = struct.pack("ll", math.floor(STILL_S), round(STILL_S % 1 * 1e6))
        for which in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):  # of a process that is stopped amid a message
            ours.setsockopt(socket.SOL_SOCKET, which, limit)
        self._connection = Connection(ours.detach())
        self.pid = self._process.pid

    def ready(self, timeout_s: float) -> bool:
        """Whether it is there, within so many seconds. Raises ``WorkerProcessLost`` if it has died."""
        if not self._ready and self.answers(timeout_s):
            self._ready = self.receive() == READY
        return self._ready

    def answers(self, timeout_s: float) -> bool:
        """Whether there is something to receive, or the end of it, within so many seconds."""
        return self._connection.poll(timeout_s)

    def receive(self) -> Any:
        """Its next word, which it has begun to say. Raises ``WorkerProcessLost`` if it has died."""
        try:
            return self._connection.recv()
        except BlockingIOError as error:
            raise self.lost_still() from error
        except (EOFError, OSError) as error:
            raise self._lost() from error

    def send(self, message: AddPolicy | DropPolicy | SampleShare | StopSampling, descriptor: int | None = None) -> None:
        """Raises ``WorkerProcessLost`` if it has died."""
        try:
            self._connection.send(message)
            if descriptor is not None:
                reduction.send_handle(self._connection, descriptor, self.pid)
        except BlockingIOError as error:
            raise self.lost_still() from error
        except OSError as error:
            raise self._lost() from error

    def meet(self, policy: Policy, memory: SharedMemory) -> int:
        """Makes a policy known, once. Returns its number."""
        self.forget()
        for number, known in self._known.items():
            if known() is policy:
                return number
        number = next(_numbers)
        self.send(AddPolicy(number, pack(policy, memory)), memory.descriptor)
        self._known[number] = weakref.ref(policy, self._when_gone)
        return number

    def forget(self) -> None:
        """Lets go of the weights of policies that are gone."""
        for number in [number for number, known in self._known.items() if known() is None]:
            del self._known[number]
            self.send(DropPolicy(number))

    def end(self) -> None:
        """Kills it and reaps it."""
        self._process.kill()
        self._process.wait(END_DEADLINE_S)
        self.leave()

    def leave(self) -> None:
        """Closes this process's end of it."""
        self.gone = True
        self._connection.close()
        self._words.close()

    def lost_still(self) -> WorkerProcessLost:
        """Kills it, and says that it stood still."""
        self.end()
        return WorkerProcessLost(
            f"the process of sampling worker {self._worker} had no processor time for {STILL_S:g} s"
        )

    def _lost(self) -> WorkerProcessLost:
        """Says what became of a process that no longer answers."""
        try:
            code = self._process.wait(END_DEADLINE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait(END_DEADLINE_S)
        name = f" ({signal.Signals(-code).name})" if code < 0 else ""
        self._words.seek(0)
        last = self._words.read().decode(errors="replace").strip().rpartition("\n")[2]
        self.leave()
        words = f": {last}" if last else ""
        return WorkerProcessLost(
            f"the process of sampling worker {self._worker} ended with exit code {code}{name}{words}"
        )


class _Worker:
    """The place of a worker's process. One call at a time has it."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._taken = threading.Lock()
        self._failed_starts = 0
        self.process = _Process(number, self._forget)

    def run(self, call: Call, over: threading.Event) -> Generator[list[Completion], None, None]:
        if not self._taken.acquire(blocking=False):
            yield from call.run()
            return
        try:
            memory = memory_of(call.policy.model)
            if memory is None or not self._is_ready():
                yield from call.run()
                return
            given = 0
            try:
                with closing(_sampled(self.process, memory, call, over)) as portions:
                    for finished in portions:
                        given += 1
                        yield finished
            except WorkerProcessLost as lost:
                self._replace(lost)
                with closing(call.run()) as portions:
                    yield from itertools.islice(portions, given, None)  # burst by burst they are the same
        finally:
            self._taken.release()

    def _is_ready(self) -> bool:
        """Whether there is a process to sample in; one that is gone is followed by another."""
        if self._failed_starts >= MOST_FAILED_STARTS:
            return False
        try:
            if self.process.gone:
                self.process = _Process(self._number, self._forget)
            ready = self.process.ready(0)
        except WorkerProcessLost as lost:
            self._failed_starts += 1
            self._replace(lost)
            return False
        if ready:
            self._failed_starts = 0
        return ready

    def _replace(self, lost: WorkerProcessLost) -> None:
        """Says what happened, and starts another process while a thread does the work."""
        if self._failed_starts >= MOST_FAILED_STARTS:
            warnings.warn(f"{lost}; a thread does its work from now on", RuntimeWarning, stacklevel=2)
            return
        warnings.warn(f"{lost}; a thread does its work, and another process is started", RuntimeWarning, stacklevel=2)
        self.process = _Process(self._number, self._forget)

    def _forget(self, _: object) -> None:
        """Lets go of policies that are gone; not while a call has the worker, for this may come in the middle of it."""
        if self._taken.acquire(blocking=False):
            try:
                if not self.process.gone:
                    with contextlib.suppress(WorkerProcessLost):  # it is dead, as the next call will say
                        self.process.forget()
            finally:
                self._taken.release()


def _sampled(
    process: _Process, memory: SharedMemory, call: Call, over: threading.Event
) -> Generator[list[Completion], None, None]:
    """What each burst of the process finished. When the caller stops early, the process is free again, or ended."""
    run = SampleShare(next(_numbers), process.meet(call.policy, memory), torch.get_num_threads(), call.share)
    process.send(run)
    ended = notified = False
    try:
        while not ended:
            still = _Stall(process.pid)
            while not process.answers(POLL_S):
                if over.is_set():
                    if INTERRUPTS.leaving.is_set():
                        return
                    if not notified:
                        process.send(StopSampling(run.number))
                    notified = True
                if still.too_long:
                    raise process.lost_still()
            said = process.receive()
            ended = not isinstance(said, list)
            if isinstance(said, BaseException):
                raise said
            if isinstance(said, Unfinished):
                call.unfinished = said.partials
            else:
                yield said
    finally:
        if not ended and not process.gone:
            _stop(process, run)


def _stop(process: _Process, run: SampleShare) -> None:
    """Has the process leave a run. It is ended if it doesn't, or if all of this process is to end at once."""
    with contextlib.suppress(WorkerProcessLost):  # the next call starts another
        process.send(StopSampling(run.number))
        still = _Stall(process.pid)
        while True:
            if process.answers(POLL_S):
                if not isinstance(process.receive(), list):
                    return
                still = _Stall(process.pid)
            elif INTERRUPTS.leaving.is_set() or still.too_long:
                process.end()
                return


class WorkerProcesses:
    """The processes of this process's workers, from worker 1 on; worker 0 is the caller's."""

    def __init__(self) -> None:
        self._workers: dict[int, _Worker] = {}
        self._starting = threading.Lock()

    @property
    def pids(self) -> list[int]:
        """The ids of the processes."""
        return [worker.process.pid for worker in self._workers.values()]

    def start(self, workers: Iterable[int]) -> None:
        """Starts the processes of these workers that there are not yet, and doesn't wait for them."""
        with self._starting:
            for worker in workers:
                if worker not in self._workers:
                    self._workers[worker] = _Worker(worker)

    def wait(self, timeout_s: float = START_DEADLINE_S) -> None:
        """Waits until the processes are ready. Raises ``RuntimeError`` if they are not within so many seconds each."""
        for number, worker in self._workers.items():
            if not worker.process.ready(timeout_s):
                raise RuntimeError(f"the process of sampling worker {number} did not start within {timeout_s:g} s")

    def run(self, worker: int, call: Call, over: threading.Event) -> Generator[list[Completion], None, None]:
        """What each burst of ``call`` finished, in the worker's process if it can be had; ``over`` stops it.

        Raises what the worker raised.
        """
        kept = self._workers.get(worker)
        return call.run() if kept is None else kept.run(call, over)

    def end(self) -> None:
        """Ends all processes."""
        for worker in self._workers.values():
            worker.process.end()
        self._workers = {}

    def abandon(self) -> None:
        """Leaves the processes to the parent of this process, which was forked."""
        for worker in self._workers.values():
            worker.process.leave()
        self._workers, self._starting = {}, threading.Lock()


WORKER_PROCESSES = WorkerProcesses()
atexit.register(WORKER_PROCESSES.end)
os.register_at_fork(after_in_child=WORKER_PROCESSES.abandon)
