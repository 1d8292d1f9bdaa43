"""One life of the process of a stage's own rewards: what is sent and heard, its output, its end and where it was then.

Left out: which rewards are there, and starting again (``reward_process``).
"""

from __future__ import annotations

import codecs
import contextlib
import itertools
import json
import os
import pickle
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import IO, Any

from thinkery.machine.children import start_child
from thinkery.rewards.workers.reward_host import SIZE
from thinkery.types import UserError
from thinkery.user_code import Place, place_of_dump

_STARTS_S = 120.0  # on a cold disk and a busy machine
_ANSWERS_S = 1.0  # to where it is; longer means that the code holds Python's lock
_DIES_S = 10.0  # of a signal, on a busy machine
_DRAINS_S = 2.0  # its output; somebody else whom it started may still hold the pipe

_numbers = itertools.count(start=-1, step=-1)


class RewardProcessEndedError(Exception):
    """The process ended during a call; says how, as the rest of a sentence about the reward.

    ``blameless``: the end was another call's doing. ``kind`` is equal for equal ends.
    """

    def __init__(self, said: str, place: Place | None, *, blameless: bool = False) -> None:
        super().__init__(said)
        self.place, self.blameless, self.kind = place, blameless, f"ended: {said}"


@dataclass(eq=False)
class _Waiting:
    answer: Future[Any]
    begun: threading.Event  # set when it is awaited, or over
    awaited: bool = False


class RewardChild:
    """The process, once it is up. Asked by one thread; what it says is heard by threads of its own."""

    def __init__(self) -> None:
        self.ended: RewardProcessEndedError | None = None
        self.noted = False  # whether its end has been told
        self.stopped = False  # whether it was told to end
        self._waiting: dict[int, _Waiting] = {}
        self._lock = threading.Lock()  # guards the two above that other threads write: ended and waiting
        self._late: int | None = None  # the call that it is ended for
        self._dump = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        self._requests, requests = socket.socketpair()
        self._replies, replies = socket.socketpair()
        lifeline, self._lifeline = os.pipe()
        descriptors = [requests.fileno(), replies.fileno(), lifeline, self._dump.fileno()]
        with requests, replies, open(lifeline, "rb"):
            self._process = start_child(
                "thinkery.rewards.workers.reward_host:main",
                descriptors,
                descriptors=descriptors,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        self.pid = self._process.pid
        self._hearing = [
            threading.Thread(target=target, args=arguments, name="reward-process", daemon=True)
            for target, arguments in (
                (self._hear, ()),
                (_pass_on, (self._process.stdout, "stdout")),
                (_pass_on, (self._process.stderr, "stderr")),
            )
        ]
        self._watching = threading.Thread(target=self._watch, name="reward-process", daemon=True)
        for thread in (*self._hearing, self._watching):
            thread.start()
        self._await_start()

    def ask(self, request: tuple[Any, ...], deadline: float) -> Future[Any]:
        """Sends a request whose second part is its number; the answer, ``UserError`` or how the process ended.

        Raises ``TimeoutError`` if it can't be sent before ``deadline``.
        """
        waiting = _Waiting(Future(), threading.Event())
        with self._lock:
            if self.ended is not None:
                waiting.begun.set()
                waiting.answer.set_exception(self.ended)
                return waiting.answer
            self._waiting[request[1]] = waiting
        with contextlib.suppress(RewardProcessEndedError):  # which the answer says
            self.tell(request, deadline)
        return waiting.answer

    def tell(self, request: tuple[Any, ...], deadline: float) -> None:
        """Sends what has no answer. Raises ``TimeoutError``, and ``RewardProcessEndedError`` if nobody hears it."""
        message = pickle.dumps(request, pickle.HIGHEST_PROTOCOL)
        try:
            self._requests.settimeout(min(max(0.001, deadline - time.monotonic()), threading.TIMEOUT_MAX))
            self._requests.sendall(SIZE.pack(len(message)) + message)
        except TimeoutError:
            raise
        except OSError:
            raise RewardProcessEndedError("is gone", None) from None

    def wait_begun(self, number: int, timeout_s: float) -> None:
        """Waits until a call is awaited or over. Raises ``TimeoutError``."""
        with self._lock:
            waiting = self._waiting.get(number)
        if waiting is not None and not waiting.begun.wait(timeout_s):
            raise TimeoutError

    def stop(self, number: int) -> Place | None:
        """Ends the process for the sake of one request, and says where in the user's code that was."""
        self._late, self.stopped, self.noted = number, True, True
        place = self._asked(number)
        if place is None and self.ended is None:
            self._abort()
            place = place_of_dump(self._dumped())
        self._kill()
        return place

    def close(self) -> None:
        """Ends the process and all that it started, and reaps it. Its output is passed on before this returns."""
        self.stopped = self.noted = True
        self._kill()
        for thread in self._hearing:
            thread.join(_DRAINS_S)
        for end in (self._requests, self._replies):
            end.close()
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1
        self._dump.close()

    def _await_start(self) -> None:
        try:
            self.ask(("where", next(_numbers), 0), time.monotonic() + _STARTS_S).result(_STARTS_S)
        except (TimeoutError, RewardProcessEndedError) as error:
            self.close()
            raise RuntimeError(f"the process of the rewards did not start: {error or f'{_STARTS_S:g} s'}") from None

    def _asked(self, number: int) -> Place | None:
        deadline = time.monotonic() + _ANSWERS_S
        try:
            found = self.ask(("where", next(_numbers), number), deadline).result(_ANSWERS_S)
        except (TimeoutError, RewardProcessEndedError):
            return None
        return Place(str(found[0]), int(found[1])) if found else None

    def _abort(self) -> None:
        """Lets ``faulthandler`` write where the code is, for which it does not need Python's lock."""
        with contextlib.suppress(OSError, AttributeError):  # prlimit: Linux alone
            resource.prlimit(self.pid, resource.RLIMIT_CORE, (0, 0))  # the dump of its memory is not wanted
        with contextlib.suppress(OSError):
            self._process.send_signal(signal.SIGABRT)
        self._watching.join(_DIES_S)

    def _kill(self) -> None:
        """Ends the process and its group."""
        if self.ended is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        self._watching.join(_DIES_S)

    def _dumped(self) -> str:
        size = os.fstat(self._dump.fileno()).st_size
        return os.pread(self._dump.fileno(), size, 0).decode("ascii", errors="replace")

    # What follows runs in threads of the process's own.

    def _hear(self) -> None:
        try:
            with self._replies.makefile("rb") as stream:
                while len(size := stream.read(SIZE.size)) == SIZE.size:
                    self._take(json.loads(stream.read(*SIZE.unpack(size))))
        except (OSError, ValueError, LookupError, TypeError, AttributeError):  # the user's code wrote into the pipe
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    def _take(self, said: Mapping[str, Any]) -> None:
        awaited = bool(said.get("awaited"))
        with self._lock:
            waiting = self._waiting.get(said["number"])
            if waiting is None:
                return
            waiting.awaited = awaited
            if not awaited:
                del self._waiting[said["number"]]
        if "user_error" in said:
            waiting.answer.set_exception(UserError(said["user_error"]))
        elif not awaited:
            waiting.answer.set_result(said.get("outcome", said.get("place")))
        waiting.begun.set()

    def _watch(self) -> None:
        """Waits for the end of the process, ends what it has left behind, and tells who waits for an answer."""
        code = self._process.wait()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._hearing[0].join(_DIES_S)  # what it had said is heard
        said, place = _ending(code), place_of_dump(self._dumped())
        with self._lock:
            self.ended = RewardProcessEndedError(said, place)
            waiting, self._waiting = self._waiting, {}
        sync = {number for number, one in waiting.items() if not one.awaited and number >= 0}
        for number, one in waiting.items():
            # One that holds the process is to blame for its end; of several that are awaited, it may be any.
            blameless = self._late is not None or (bool(sync) and number not in sync)
            one.answer.set_exception(RewardProcessEndedError(said, place, blameless=blameless))
            one.begun.set()


def _pass_on(stream: IO[bytes], name: str) -> None:
    """Writes what the rewards print where this process prints, whatever that is at the time."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    with stream:
        while part := stream.read1(65536):  # type: ignore[attr-defined]  # a buffered reader
            with contextlib.suppress(OSError, ValueError):  # nobody listens any more
                ours = getattr(sys, name)
                ours.write(decoder.decode(part))
                ours.flush()


def _ending(code: int) -> str:
    if code >= 0:
        return f"ended its process with exit code {code}, as os._exit does; a reward must return, or raise"
    name = signal.Signals(-code).name if -code in {one.value for one in signal.Signals} else f"signal {-code}"
    if -code == signal.SIGKILL:
        return f"had its process killed ({name}), as the system does where memory runs out"
    return f"crashed its process ({name})"
