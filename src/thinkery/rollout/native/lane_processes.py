"""Lanes as processes: on a CPU, what samples beside the caller does so in processes of its own.

Decoding a token is some hundred small operations, and threads take turns between them for Python's lock; processes do
not. One process a lane serves every rollout of this process: it starts in the background when a rollout that has a use
for it is made, and ends with this process, however that ends. It maps the policies' weights, so what is learnt here is
sampled from there at once.

Where a lane's process is not ready yet, or samples for another call, or can't have the weights, a thread of this
process does the same work, and the completions are the same bit for bit. Left out: what a lane does
(``lane_worker.py``), and accelerators, which are one lane.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from multiprocessing import reduction
from multiprocessing.connection import Connection
from typing import Any, Protocol

import torch

from thinkery.machine.allocator import environment
from thinkery.machine.shared_weights import Memory, memory_of, pack
from thinkery.models.loading import Policy
from thinkery.rollout.base import PartialCompletion
from thinkery.rollout.native.cache import Share
from thinkery.types import Completion

READY = "ready"  # a lane's first word
START_DEADLINE_S = 120.0  # a busy machine imports torch
POLL_S = 0.05  # how soon a lane hears that it is to stop
END_DEADLINE_S = 10.0  # for a process that has closed its end or was killed

_numbers = itertools.count()


@dataclass(frozen=True)
class Meet:
    """A policy, packed around its weights; the descriptor of their memory follows."""

    number: int
    policy: bytes


@dataclass(frozen=True)
class Forget:
    """A policy that is gone."""

    number: int


@dataclass(frozen=True)
class Run:
    """Sample a share from a policy. Every burst's completions come back, as a list, then ``Left`` or the error."""

    number: int
    policy: int
    threads: int
    share: Share


@dataclass(frozen=True)
class Stop:
    """Stop a run after its present burst."""

    number: int


@dataclass(frozen=True)
class Left:
    """The last word of a run: what it did not finish."""

    pieces: tuple[PartialCompletion, ...]


class Call(Protocol):
    """A lane's share of a call, which can be worked through here."""

    policy: Policy
    share: Share
    left: Sequence[PartialCompletion]

    def run(self) -> Generator[list[Completion], None, None]:
        """What each burst of decoding finished."""
        ...


class _Process:
    """A lane's process and the pipe to it. Used by one thread at a time."""

    def __init__(self, lane: int, when_gone: Callable[[object], None]) -> None:
        """``when_gone`` is called when a policy that it knows is gone, by whatever thread that happens in."""
        self.gone = False
        self._lane, self._when_gone = lane, when_gone
        self._ready = False
        self._known: dict[int, weakref.ref[Policy]] = {}
        self._words = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        ours, theirs = socket.socketpair()
        with theirs:
            main = f"from thinkery.rollout.native.lane_worker import main; main({theirs.fileno()})"
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", main],
                env=os.environ | environment() | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._words,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C is the caller's; a closed socket ends the lane
            )
        self._connection = Connection(ours.detach())
        self.pid = self._process.pid

    def ready(self, timeout_s: float) -> bool:
        """Whether it is there, within so many seconds. Raises ``RuntimeError`` if it has died."""
        if not self._ready and self.answers(timeout_s):
            self._ready = self.receive() == READY
        return self._ready

    def answers(self, timeout_s: float) -> bool:
        """Whether there is something to receive, or the end of it, within so many seconds."""
        return self._connection.poll(timeout_s)

    def receive(self) -> Any:
        """Its next word. Raises ``RuntimeError`` if it has died."""
        try:
            return self._connection.recv()
        except (EOFError, OSError) as error:
            raise self._lost() from error

    def send(self, message: Meet | Forget | Run | Stop, descriptor: int | None = None) -> None:
        """Raises ``RuntimeError`` if it has died."""
        try:
            self._connection.send(message)
            if descriptor is not None:
                reduction.send_handle(self._connection, descriptor, self.pid)
        except OSError as error:
            raise self._lost() from error

    def meet(self, policy: Policy, memory: Memory) -> int:
        """Makes a policy known, once. Returns its number."""
        self.forget()
        for number, known in self._known.items():
            if known() is policy:
                return number
        number = next(_numbers)
        self.send(Meet(number, pack(policy, memory)), memory.descriptor)
        self._known[number] = weakref.ref(policy, self._when_gone)
        return number

    def forget(self) -> None:
        """Lets go of the weights of policies that are gone."""
        for number in [number for number, known in self._known.items() if known() is None]:
            del self._known[number]
            self.send(Forget(number))

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

    def _lost(self) -> RuntimeError:
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
        return RuntimeError(f"the process of sampling lane {self._lane} ended with exit code {code}{name}{words}")


class _Lane:
    """The place of a lane's process. One call at a time has it."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._taken = threading.Lock()
        self.process = _Process(number, self._forget)

    def run(self, call: Call, over: threading.Event) -> Generator[list[Completion], None, None]:
        if not self._taken.acquire(blocking=False):
            yield from call.run()
            return
        try:
            if self.process.gone:
                self.process = _Process(self._number, self._forget)
            memory = memory_of(call.policy.model)
            if memory is None or not self.process.ready(0):
                yield from call.run()
            else:
                number = self.process.meet(call.policy, memory)
                yield from _sampled(self.process, number, call, over)
        finally:
            self._taken.release()

    def _forget(self, _: object) -> None:
        """Lets go of policies that are gone; not while a call has the lane, for this may come in the middle of it."""
        if self._taken.acquire(blocking=False):
            try:
                if not self.process.gone:
                    with contextlib.suppress(RuntimeError):  # it is dead, as the next call will say
                        self.process.forget()
            finally:
                self._taken.release()


def _sampled(
    process: _Process, policy: int, call: Call, over: threading.Event
) -> Generator[list[Completion], None, None]:
    """What each burst of the process finished. When the caller stops early, the process is free again."""
    run = Run(next(_numbers), policy, torch.get_num_threads(), call.share)
    process.send(run)
    ended = False
    try:
        while not ended:
            while not process.answers(POLL_S):
                if over.is_set():
                    process.send(Stop(run.number))
            said = process.receive()
            ended = not isinstance(said, list)
            if isinstance(said, BaseException):
                raise said
            if isinstance(said, Left):
                call.left = said.pieces
            else:
                yield said
    finally:
        if not ended and not process.gone:
            process.send(Stop(run.number))
            while isinstance(process.receive(), list):
                pass


class LaneProcesses:
    """The processes of this process's lanes, from lane 1 on; lane 0 is the caller's."""

    def __init__(self) -> None:
        self._lanes: dict[int, _Lane] = {}
        self._starting = threading.Lock()

    @property
    def pids(self) -> list[int]:
        """The ids of the processes."""
        return [lane.process.pid for lane in self._lanes.values()]

    def start(self, lanes: Iterable[int]) -> None:
        """Starts the processes of these lanes that there are not yet, and doesn't wait for them."""
        with self._starting:
            for lane in lanes:
                if lane not in self._lanes:
                    self._lanes[lane] = _Lane(lane)

    def wait(self, timeout_s: float = START_DEADLINE_S) -> None:
        """Waits until the processes are ready. Raises ``RuntimeError`` if they are not within so many seconds each."""
        for number, lane in self._lanes.items():
            if not lane.process.ready(timeout_s):
                raise RuntimeError(f"the process of sampling lane {number} did not start within {timeout_s:g} s")

    def run(self, lane: int, call: Call, over: threading.Event) -> Generator[list[Completion], None, None]:
        """What each burst of ``call`` finished, in the lane's process if it can be had; ``over`` stops it.

        Raises what the lane raised, and ``RuntimeError`` if its process has died.
        """
        kept = self._lanes.get(lane)
        return call.run() if kept is None else kept.run(call, over)

    def end(self) -> None:
        """Ends all processes."""
        for lane in self._lanes.values():
            lane.process.end()
        self._lanes = {}

    def abandon(self) -> None:
        """Leaves the processes to the parent of this process, which was forked."""
        for lane in self._lanes.values():
            lane.process.leave()
        self._lanes, self._starting = {}, threading.Lock()


LANES = LaneProcesses()
atexit.register(LANES.end)
os.register_at_fork(after_in_child=LANES.abandon)
