"""One side of a comparison: a child process that stays alive from round to round and does one round when told to.

Both ends of the line are here. A side starts as ``python SCRIPT SETTINGS``, with its settings as JSON, says that it is
ready, and then answers every line of its input with what one round took, as a line of JSON on a pipe of its own; what
libraries print goes to a log. So start-up is in no timing, sides of different environments can take turns, and the side
that waits costs nothing: it sleeps on its input. Standard library only, since it runs in every environment. Left out:
what a round is (the scripts beside this file), which side goes first (``duel.py``).
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

START_DEADLINE_S = 900.0  # to load, compile and warm up
ROUND_DEADLINE_S = 900.0
END_DEADLINE_S = 30.0
_SHOWN = 3000  # characters of a failed side's log
_PIPE = "SPEED_ANSWERS_PIPE"  # environment variable: the descriptor that answers go to


@dataclass(frozen=True, slots=True)
class Round:
    """What one round took: wall seconds, and the completion tokens it made."""

    seconds: float
    tokens: int


class Side:
    """The parent's end. Use it as a context: entering it starts the child, leaving it ends it."""

    def __init__(
        self, python: Path, script: Path, settings: Mapping[str, Any], log: Path, environment: Mapping[str, str]
    ) -> None:
        self._name, self._log = script.stem, log
        self._command = [str(python), str(script), json.dumps(settings)]
        self._environment = os.environ | environment

    def __enter__(self) -> Self:
        read, write = os.pipe()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=(write,),
                start_new_session=True,  # engines have processes of their own; all end together
                env=self._environment | {_PIPE: str(write)},
            )
        os.close(write)
        self._answers = os.fdopen(read, "rb")
        self._answer(START_DEADLINE_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(END_DEADLINE_S)
        self._kill()

    def round(self) -> Round:
        """Has the child do one round. ``RuntimeError`` with the end of its log if it dies or takes too long."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it has died, which the missing answer says better
            self._process.stdin.write(b"\n")
            self._process.stdin.flush()
        return Round(**self._answer(ROUND_DEADLINE_S))

    def _answer(self, deadline_s: float) -> dict[str, Any]:
        # One line is in progress at a time, so nothing of the next is ever left in the buffer.
        ready, _, _ = select.select([self._answers], [], [], deadline_s)
        line = self._answers.readline() if ready else b""
        if not line:
            self._kill()
            why = "died" if ready else f"said nothing for {deadline_s:.0f} s"
            raise RuntimeError(f"{self._name} {why}; its log ends:\n{self._log.read_text(errors='replace')[-_SHOWN:]}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _kill(self) -> None:
        """Ends what is left of the child and of the processes it started."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._answers.close()


class Line:
    """The child's end: ``ready`` once, then ``done`` after every round.

    Each returns when the next round begins, or ends the process when there is none.
    """

    def __init__(self) -> None:
        self._answers = os.fdopen(int(os.environ[_PIPE]), "w")
        self._began = 0.0

    def ready(self) -> None:
        """Says that everything is loaded."""
        self._say({})

    def done(self, tokens: int) -> None:
        """Says what the round took that began when the last call returned."""
        self._say({"seconds": time.perf_counter() - self._began, "tokens": tokens})

    def _say(self, answer: Mapping[str, float]) -> None:
        print(json.dumps(answer), file=self._answers, flush=True)
        if not sys.stdin.readline():
            _end()
        self._began = time.perf_counter()


def _end() -> NoReturn:
    """Ends the process at once: trainers and engines have threads that would not hear of it."""
    sys.stderr.flush()
    os._exit(0)
