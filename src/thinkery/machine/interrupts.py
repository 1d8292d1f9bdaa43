"""Ctrl-C and SIGTERM: the first asks the run to stop, and bounds how long that may take; a second one ends it at once.

The first raises ``KeyboardInterrupt`` in the main thread, or, while a step is ``finished`` there, as soon as it is. A
thread of its own counts from then on: whatever hangs, be it a library's code or another thread, ends with the process.
SIGHUP, which a terminal that is closed sends, counts as SIGTERM. Left out: what is saved, and where the run stands
(``stages.boundary`` and ``pipeline`` know).
"""

from __future__ import annotations

import atexit
import contextlib
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
UNWIND_S = 10.0  # for leaving what is in progress
FINISH_S = 10.0  # for ending the step in progress
CLOSE_S = 15.0  # for giving back a cluster
_TOLD_AFTER_S = 0.5  # who has stopped by then needs not say that it will
_ONE_PRESS_S = 0.5  # a launcher that passes Ctrl-C on makes two of it
_POLL_S = 0.05
_SHOW_CURSOR = b"\x1b[?25h"


class Interrupts:
    """What this process does about its signals. Of its methods, only ``calling`` may be used in any thread."""

    def __init__(self) -> None:
        self.number: int | None = None  # of the signal that asked to stop
        self.leaving = threading.Event()  # what is in progress is given up; for threads that wait
        self.last_words: Callable[[], str] = lambda: "stopped before the first step; run the same command to resume"
        self._heeded: list[signal.Signals] = []
        self._kept: socket.socket | None = None  # the signals write to it
        self._finishing = self._saving = 0
        self._since: float | None = None  # when the first signal came
        self._first = 0  # that signal, though the main thread may not have heard of it
        self._deadline = 0.0
        self._calls: set[Callable[[], None]] = set()
        self._lock = threading.Lock()

    @property
    def code(self) -> int:
        """The exit status of a run that was asked to stop, as shells count."""
        return 128 + (self.number or self._first or signal.SIGINT)

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """Heeds the signals, those excepted that this process was started to ignore (``nohup``).

        After a signal they stay heeded when the block ends: what the interpreter waits for at its end may hang as well.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in SIGNALS}
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setblocking(False)
        fd_before = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        self._heeded = [number for number in SIGNALS if before[number] is not signal.SIG_IGN]
        self.renew()
        threading.Thread(target=self._watch, args=(ours,), name="interrupts", daemon=True).start()
        try:
            yield
        finally:
            if self.number is None:
                for number in self._heeded:
                    signal.signal(number, before[number])
                self._heeded = []
                signal.set_wakeup_fd(fd_before)
                theirs.close()
            else:
                self._kept = theirs

    def renew(self) -> None:
        """Takes the signals back from a library that has put handlers of its own, if they are heeded."""
        for number in self._heeded:
            signal.signal(number, self._handle)

    def check(self) -> None:
        """Raises ``KeyboardInterrupt`` if the run has been asked to stop."""
        if self.number is not None:
            self._leave()

    @contextmanager
    def finished(self) -> Iterator[None]:
        """What happens inside is not interrupted, but for ``FINISH_S`` at most; whoever goes on must ``check``."""
        self._finishing += 1
        try:
            yield
        finally:
            self._finishing -= 1
            self._deadline = time.monotonic() + UNWIND_S

    @contextmanager
    def saved(self) -> Iterator[None]:
        """What happens inside may take its time; a second signal ends it."""
        self._saving += 1
        try:
            yield
        finally:
            self._saving -= 1
            self._deadline = time.monotonic() + UNWIND_S

    def allow(self, seconds: float) -> None:
        """Gives what comes next so many seconds."""
        self._deadline = time.monotonic() + seconds

    def exit(self) -> NoReturn:
        """Ends the process, all in order. Taking apart an interpreter that has torch in it would take seconds."""
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        os._exit(self.code)

    @contextmanager
    def calling(self, call: Callable[[], None]) -> Iterator[None]:
        """``call`` is called, in another thread, if the run is given up while the block lasts, or was before."""
        with self._lock:
            self._calls.add(call)
        try:
            if self.leaving.is_set():
                call()
            yield
        finally:
            with self._lock:
                self._calls.discard(call)

    def forget(self) -> None:
        """Leaves the signals to the parent of this process, which was forked."""
        if self._heeded:
            signal.set_wakeup_fd(-1)
            for number in self._heeded:
                signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
            self._heeded = []

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.number is None:
            self.number = number
            if not self._finishing and not self._saving:
                self._leave()

    def _leave(self) -> NoReturn:
        self.leaving.set()
        raise KeyboardInterrupt

    def _watch(self, ours: socket.socket) -> None:
        """Hears every signal, even while the main thread is in a library's code, until nobody heeds them."""
        notified = called = False
        while True:
            wait_s = None if self._since is None else _POLL_S
            if select.select([ours], [], [], wait_s)[0]:
                heard = ours.recv(64)
                if not heard:
                    ours.close()
                    return
                for number in filter(SIGNALS.__contains__, heard):
                    self._hear(number, time.monotonic())
            if self._since is None:
                continue
            now = time.monotonic()
            if self.leaving.is_set() and not called:
                called = True
                self._call()
            if not notified and now >= self._since + _TOLD_AFTER_S:
                notified = True
                _say("stopping; Ctrl-C again ends the run at once")
            if not self._saving and now >= max(self._deadline, self._since + FINISH_S * bool(self._finishing)):
                self._end()

    def _hear(self, number: int, now: float) -> None:
        if self._since is None:
            self._first, self._since, self._deadline = number, now, now + UNWIND_S
        elif now > self._since + _ONE_PRESS_S:
            self._end()

    def _call(self) -> None:
        """Ends what other threads wait for."""
        with self._lock:
            calls = list(self._calls)
        for call in calls:
            call()

    def _end(self) -> None:
        """Ends the process, whatever it does."""
        try:
            with contextlib.suppress(Exception):  # where the run stands is not worth staying for
                _say(self.last_words())
            if sys.stdout is not None and sys.stdout.isatty():
                os.write(sys.stdout.fileno(), _SHOW_CURSOR)
        finally:
            os._exit(self.code)


def _say(text: str) -> None:
    with contextlib.suppress(OSError):
        os.write(2, f"{text}\n".encode())


INTERRUPTS = Interrupts()
os.register_at_fork(after_in_child=INTERRUPTS.forget)
