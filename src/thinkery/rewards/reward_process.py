"""The users' own rewards, each stage's in one process, which is ended at a deadline and started again.

Python code can't be ended from outside but with its process: a regular expression or a sum of big integers holds
Python's lock for as long as it takes, ``os._exit`` and a crash end whoever runs them. So they end a process that holds
nothing but the rewards. What a file keeps in its globals lives as long as that process. Left out: what runs there
(``workers/reward_host``), and what a failure means for the batch (``calling``).
"""

from __future__ import annotations

import contextlib
import itertools
import time
from array import array
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from thinkery.files import sha256_of
from thinkery.rewards.child import RewardChild, RewardProcessEndedError
from thinkery.rewards.custom import columns_of, reward_files
from thinkery.rewards.interfaces import Failure, Outcome, RewardContext, from_plain
from thinkery.types import Problem, UserError
from thinkery.user_code import Place, split_spec

LOAD_DEADLINE_S = 600.0  # a file may load a model of its own

_numbers = itertools.count()


class RewardProcess:
    """The place of the process; it starts with the first reward that is loaded. Used by one thread.

    ``ends`` says, in a line each, how often and why the process came to an end of which it was not told to.
    """

    def __init__(self, context: RewardContext, *, load_deadline_s: float = LOAD_DEADLINE_S) -> None:
        self.ends: list[str] = []
        self._context = replace(context, loaded={})  # it travels, and models stay
        self._load_deadline_s = load_deadline_s
        self._child: RewardChild | None = None
        self._rewards: list[ProcessReward] = []
        self._hashes: dict[Path, str] = {}

    @property
    def pid(self) -> int | None:
        """The id of the process, if there is one."""
        return self._child.pid if self._child else None

    def load(self, spec: str, options: Mapping[str, Any]) -> ProcessReward:
        """The user's function ``path/to/file.py:name`` or ``package.module:name`` as a reward; see ``load_reward``."""
        hashes = {file: sha256_of(file) for file in reward_files([spec])}
        reward = ProcessReward(self, spec, options)
        self._load(self.child(), reward)
        self._rewards.append(reward)
        self._hashes |= hashes
        return reward

    def child(self) -> RewardChild:
        """The process, with all rewards loaded; a new one where the last has ended. Raises ``UserError``."""
        if self._child is not None and self._child.ended is None:
            return self._child
        if self._child is not None:
            self._bury(self._child)
        changed = [file for file, known in self._hashes.items() if not file.is_file() or sha256_of(file) != known]
        if changed:
            raise UserError(
                f"{changed[0]} has changed since the stage began, and the process of the rewards has to be started "
                "again: put it back, or start the run again, which begins the stage anew"
            )
        child = self._child = RewardChild()
        try:
            for reward in self._rewards:
                self._load(child, reward)
                if reward.columns is not None:
                    self.ask(child, "know", reward.number, reward.columns)
        except BaseException:
            self.close()  # one that lacks a reward is of no use
            raise
        return child

    def ask(self, child: RewardChild, kind: str, *details: Any, number: int | None = None, spec: str = "") -> None:
        """Asks what is answered with nothing, and waits for it. Raises ``UserError`` if the process says so."""
        number = next(_numbers) if number is None else number
        deadline = time.monotonic() + self._load_deadline_s
        where = split_spec(spec)[0] if spec else "the rewards"
        try:
            answer: Future[Any] = child.ask((kind, number, *details), deadline)
            answer.result(max(0.0, deadline - time.monotonic()))
        except TimeoutError:
            place = child.stop(number)
            raise UserError(
                f"{where} cannot be imported: it was not done within {self._load_deadline_s:g} s{_at(place)}"
            ) from None
        except RewardProcessEndedError as error:
            raise UserError(f"{where} cannot be imported: it {error}{_at(error.place)}") from None

    def late(self, child: RewardChild, number: int, spec: str) -> Place | None:
        """Ends the process for a call that missed its deadline; says where that was."""
        place = child.stop(number)
        self.ends.append(_line(f"reward {spec!r} was not done at its deadline", place))
        return place

    def died(self, child: RewardChild, spec: str) -> None:
        """Takes note of the end of a process, in which a reward was to blame."""
        if not child.noted:
            child.noted = True
            ended = child.ended
            self.ends.append(_line(f"reward {spec!r} {ended}", ended.place if ended else None))

    def close(self) -> None:
        """Ends the process."""
        if self._child is not None:
            self._child.close()
            self._child = None

    def __enter__(self) -> RewardProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _load(self, child: RewardChild, reward: ProcessReward) -> None:
        details = reward.spec, self._context, reward.options
        self.ask(child, "load", *details, number=reward.number, spec=reward.spec)

    def _bury(self, child: RewardChild) -> None:
        """Notes an end that no call was there to see."""
        if not child.noted and not child.stopped:
            self.ends.append(f"the process of the rewards {child.ended} while none was asked")
        child.close()


class ProcessReward:
    """A user's reward in a process. ``columns`` are those of all problems, once they are known."""

    def __init__(self, process: RewardProcess, spec: str, options: Mapping[str, Any]) -> None:
        self.spec, self.options, self.number = spec, dict(options), next(_numbers)
        self.columns: frozenset[str] | None = None
        self._process = process

    def require_columns(self, problems: Iterable[Problem]) -> None:
        """Raises ``UserError`` if the function needs a column that none of the problems has; see ``custom``."""
        columns = columns_of(problems) | (self.columns or frozenset())
        self._process.ask(self._process.child(), "know", self.number, columns)
        self.columns = columns

    def ready(self) -> None:
        """Sees to it that the process is there, before any time is counted. Raises ``UserError``."""
        self._process.child()

    def call(self, arguments: Mapping[str, Any], count: int, deadline: float) -> ProcessCall:
        """A call of it on ``count`` rows, until ``deadline`` (of ``time.monotonic``), to be started."""
        return ProcessCall(self._process, self, arguments, count, deadline)


class ProcessCall:
    """One call of a reward in its process; a ``Call`` (``calling``)."""

    def __init__(
        self,
        process: RewardProcess,
        reward: ProcessReward,
        arguments: Mapping[str, Any],
        count: int,
        deadline: float,
    ) -> None:
        self._process, self._reward, self._count, self._deadline = process, reward, count, deadline
        self._child = process.child()
        self._number = next(_numbers)
        ids = [array("i", row) for row in arguments["completion_ids"]]  # quicker to send than lists
        self._request = "call", self._number, reward.number, count, {**arguments, "completion_ids": ids}
        self.future: Future[Any] = Future()

    def start(self) -> None:
        """Sends it, and waits until it is done or awaited. Raises ``TimeoutError`` at the deadline."""
        self.future = self._child.ask(self._request, self._deadline)
        self._child.wait_begun(self._number, max(0.0, self._deadline - time.monotonic()))

    @property
    def disturbed(self) -> bool:
        """Whether it failed for no fault of its own: another's call ended the process."""
        error = self.future.exception() if self.future.done() else None
        return isinstance(error, RewardProcessEndedError) and error.blameless

    def outcome(self) -> Outcome:
        """The values, or how the call failed. Raises ``TimeoutError`` at the deadline, ``UserError`` if it did."""
        try:
            plain = self.future.result(max(0.0, self._deadline - time.monotonic()))
            return from_plain(plain, self._count)
        except RewardProcessEndedError as error:
            if not error.blameless:
                self._process.died(self._child, self._reward.spec)
            return Failure(error.kind, str(error), error.place, ends_process=True)

    def late(self) -> Place | None:
        """Ends the process, since the deadline has passed; says where the call was."""
        return self._process.late(self._child, self._number, self._reward.spec)

    def cancel(self) -> None:
        """Gives it up, if it is still in progress."""
        if not self.future.done():
            with contextlib.suppress(RewardProcessEndedError, TimeoutError):
                self._child.tell(("cancel", next(_numbers), self._number), time.monotonic() + 1.0)


def _at(place: Place | None) -> str:
    return f"\n  It is at {place}" if place else ""


def _line(said: str, place: Place | None) -> str:
    return f"{said}, at {place}" if place else said
