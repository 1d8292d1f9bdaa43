"""Runs rewards on a batch of completions: sync and async ones, with a deadline, and clear words for what goes wrong.

A reward is called once with the whole batch, since it may compare completions with one another. Only after a failure
are completions tried one by one, to find the one to show, or to leave out. Left out: weights and totals (``grader``),
and stopping code that doesn't end: a thread can't be killed, so a missed deadline ends the run and not the thread.
"""

from __future__ import annotations

import asyncio
import copy
import inspect
import math
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from dataclasses import dataclass
from functools import cache
from numbers import Real
from typing import Any, Literal, NamedTuple

from thinkery.rewards.interfaces import Reward, Values
from thinkery.rewards.user_code import Place, described, place_of, place_of_awaitable, place_of_frame
from thinkery.types import Completion, Problem, UserError, Verdict

OnError = Literal["stop", "zero"]

STANDARD_COLUMNS = ("reference", "verdict", "problem_id", "domain", "level", "language")
_ARGUMENTS = ("prompts", "completions", "completion_ids")
_TOGETHER = 16  # completions tried one by one that are in flight at once, where the reward is async
_LOOP_ANSWERS_S = 1.0
_SHOWN = 200  # characters of a completion in a message


class Row(NamedTuple):
    """A completion to be paid for."""

    problem: Problem
    completion: Completion
    verdict: Verdict


class BadValueError(Exception):
    """A reward returned something that is no reward. Says what, beginning with "returned"."""


def call_rewards(
    rewards: Mapping[str, Reward], rows: Sequence[Row], *, on_error: OnError, timeout_s: float
) -> tuple[dict[str, Values], dict[str, int]]:
    """Every reward's values, one a row, and how many of its rows failed.

    Sync rewards run one after the other in threads, async ones together on one event loop that lasts as long as the
    process. Each has ``timeout_s`` from its start, for all its work. Each gets its own copies of what it may change.

    A reward fails by an exception, or by values that are not one finite number or None a row. With ``on_error`` "stop"
    that is a ``UserError`` that shows the error, the user's line and the completion. With "zero" the failing
    completions have the value 0 and are counted, the others the values of a second call without them; if that fails
    too, all are 0 and counted. A failure that can't be repeated is neither shown with a completion nor counted.

    A missed deadline raises ``UserError`` whatever ``on_error`` says: a thread that hangs can't be killed, and stays
    until the process ends. So does a ``UserError`` of a reward's own: it is a mistake of the recipe's.
    """
    if not rows:
        return {name: [] for name in rewards}, dict.fromkeys(rewards, 0)
    batch = _Batch.of(rows)
    runs = {name: _Run(name, reward, batch, timeout_s) for name, reward in rewards.items()}
    settled: dict[str, tuple[Values, int]] = {}
    try:
        calls = {name: run.begin() for name, run in runs.items()}
        # What has failed is said at once, and not after the slowest of the others.
        wait([call.future for call in calls.values()], timeout_s, return_when=FIRST_EXCEPTION)
        for name in sorted(calls, key=lambda name: not calls[name].future.done()):
            settled[name] = runs[name].settle(calls[name], on_error)
    finally:
        cancelled = [run.cancel() for run in runs.values()]
        if any(cancelled):
            _replace_blocked_loop()
    return {name: settled[name][0] for name in rewards}, {name: settled[name][1] for name in rewards}


@dataclass(frozen=True, slots=True)
class _Batch:
    """What rewards are called with."""

    rows: Sequence[Row]
    columns: tuple[str, ...]  # the problems' own, of all rows

    @classmethod
    def of(cls, rows: Sequence[Row]) -> _Batch:
        names = dict.fromkeys(name for problem, _, _ in rows for name in problem.columns)
        return cls(rows, tuple(name for name in names if name not in STANDARD_COLUMNS + _ARGUMENTS))

    def arguments(self, indices: Sequence[int]) -> dict[str, Any]:
        """TRL's keyword arguments for some of the rows, in lists that the callee may change."""
        rows = [self.rows[i] for i in indices]
        # One copy of all columns together: what sixteen completions of a problem share is copied once.
        own = copy.deepcopy([[p.columns.get(name) for p, _, _ in rows] for name in self.columns])
        return {
            **dict(zip(self.columns, own, strict=True)),
            "reference": [p.reference for p, _, _ in rows],
            "verdict": [v for _, _, v in rows],
            "problem_id": [p.id for p, _, _ in rows],
            "domain": [p.domain for p, _, _ in rows],
            "level": [p.level for p, _, _ in rows],
            "language": [p.language for p, _, _ in rows],
            "prompts": [p.prompt if isinstance(p.prompt, str) else [dict(m) for m in p.prompt] for p, _, _ in rows],
            "completions": [
                c.text if isinstance(p.prompt, str) else [{"role": "assistant", "content": c.text}] for p, c, _ in rows
            ],
            "completion_ids": [list(c.token_ids) for _, c, _ in rows],
        }


@dataclass(frozen=True, slots=True)
class _Failure:
    """How a call failed: ``said`` continues the sentence "reward x ..."; two are the same if ``kind`` is equal."""

    kind: object
    said: str
    place: Place | None = None


_Outcome = list[float | _Failure | None] | _Failure


class _Run:
    """One reward on one batch, with one deadline for everything it takes."""

    def __init__(self, name: str, reward: Reward, batch: _Batch, timeout_s: float) -> None:
        self._name, self._reward, self._batch, self._timeout_s = name, reward, batch, timeout_s
        self._deadline = math.inf  # the first call sets it
        self._calls: list[_Call] = []

    def begin(self) -> _Call:
        """Calls the reward on all rows; a sync reward has ended when this returns, an async one is in flight."""
        self._deadline = time.monotonic() + self._timeout_s
        try:
            return self._start(range(len(self._batch.rows)))
        except _Late as late:
            raise self._missed(late) from None

    def settle(self, call: _Call, on_error: OnError) -> tuple[Values, int]:
        """The values of the call on all rows, and how many of them failed."""
        try:
            outcome = call.outcome()
        except _Late as late:
            raise self._missed(late) from None
        if on_error == "stop":
            self._require(outcome)
        if isinstance(outcome, _Failure):
            return self._without_culprits(outcome)
        return [0.0 if isinstance(v, _Failure) else v for v in outcome], sum(isinstance(v, _Failure) for v in outcome)

    def cancel(self) -> bool:
        """Ends what is still awaited; whether there was anything."""
        cancelled = [call.cancel() for call in self._calls]
        return any(cancelled)

    def _require(self, outcome: _Outcome) -> None:
        """Raises ``UserError`` if anything failed."""
        if isinstance(outcome, _Failure):
            index, alone = next(self._culprits(outcome), (None, outcome))
            # Alone, an exception belongs to the completion shown; of a list the length for the batch says more.
            raise self._error(outcome if outcome.kind is BadValueError else alone, index)
        for index, value in enumerate(outcome):
            if isinstance(value, _Failure):
                raise self._error(value, index)

    def _without_culprits(self, failure: _Failure) -> tuple[Values, int]:
        """The values where the completions that fail alone are left out of the batch and worth 0."""
        count = len(self._batch.rows)
        culprits = {index for index, _ in self._culprits(failure)}
        rest = [index for index in range(count) if index not in culprits]
        values: Values = [0.0] * count
        if not rest:
            return values, count
        try:
            outcome = self._start(rest).outcome()
        except _Late:
            return values, count
        if isinstance(outcome, _Failure):
            return values, count
        for index, value in zip(rest, outcome, strict=True):
            values[index] = 0.0 if isinstance(value, _Failure) else value
        return values, len(culprits) + sum(isinstance(value, _Failure) for value in outcome)

    def _culprits(self, failure: _Failure) -> Iterator[tuple[int, _Failure]]:
        """Rows on which alone the reward fails as it did on all of them; ends early at the deadline.

        A reward that compares completions may fail on a single one for that reason alone, hence "as it did".
        """
        count = len(self._batch.rows)
        try:
            for first in range(0, count, _TOGETHER):
                indices = range(first, min(first + _TOGETHER, count))
                calls = [self._start([index]) for index in indices]
                for index, call in zip(indices, calls, strict=True):
                    outcome = call.outcome()
                    if isinstance(outcome, _Failure) and outcome.kind == failure.kind:
                        yield index, outcome
        except _Late:
            return

    def _start(self, indices: Sequence[int]) -> _Call:
        """Calls the reward on some rows. Raises ``_Late`` if it has no time, or is sync and takes too long."""
        if time.monotonic() >= self._deadline:
            raise _Late(None)  # no further thread shall hang
        arguments = self._batch.arguments(indices)
        call = _Call(lambda: self._reward(**arguments), len(indices), self._deadline)
        self._calls.append(call)
        return call

    def _missed(self, late: _Late) -> UserError:
        at = f"\n  It is at {late.place}" if late.place else ""
        return UserError(
            f"reward {self._name!r} gave no answer within {self._timeout_s:g} s for {len(self._batch.rows)} "
            f"completions; make it faster, or raise reward_timeout_s{at}"
        )

    def _error(self, failure: _Failure, index: int | None) -> UserError:
        lines = [f"reward {self._name!r} {failure.said}"]
        if failure.place:
            lines.append(f"  at {failure.place}")
        if index is None:
            lines.append(
                f"  in a batch of {len(self._batch.rows)} completions; no single one was found that makes it fail so"
            )
        else:
            problem, completion, _ = self._batch.rows[index]
            lines.append(
                f"  for completion {completion.index} of problem {problem.id!r}: {_shortened(completion.text)}"
            )
        lines.append("  Correct the reward, or set reward_errors: zero to count such completions with the value 0.")
        return UserError("\n".join(lines))


class _Late(Exception):  # noqa: N818  # no error by itself: what it means depends on who waits
    """The deadline passed; ``place`` is where the reward was."""

    def __init__(self, place: Place | None) -> None:
        self.place = place


class _Call:
    """One call of a reward, in a thread, and on the event loop if what it returns is to be awaited.

    Raises ``_Late`` if it is sync and does not end before ``deadline`` (of ``time.monotonic``).
    """

    def __init__(self, function: Callable[[], Any], count: int, deadline: float) -> None:
        self._count, self._deadline = count, deadline
        self._awaitable: Awaitable[Any] | None = None
        self.future: Future[Any] = Future()
        self._thread = threading.Thread(target=_fulfil, args=(self.future, function), name="reward", daemon=True)
        self._thread.start()
        self._require_done()
        if not self.future.exception() and inspect.isawaitable(self.future.result()):
            self._awaitable = self.future.result()
            self.future = asyncio.run_coroutine_threadsafe(_awaited(self._awaitable), _event_loop())

    def outcome(self) -> _Outcome:
        """The checked values, or how the call failed. Raises ``_Late``, and ``UserError`` if the reward did."""
        self._require_done()
        try:
            return _checked(self.future.result(), self._count)
        except UserError:
            raise
        except BadValueError as error:
            return _Failure(BadValueError, str(error))
        except BaseException as error:  # SystemExit and CancelledError too: they are the reward's, not ours
            cause = _first(error)
            place = place_of(cause)
            return _Failure((type(cause), place), f"raised {described(cause)}", place)

    def cancel(self) -> bool:
        """Ends it if it is awaited, and says whether it was; a thread can't be ended."""
        return self._awaitable is not None and self.future.cancel()

    def _require_done(self) -> None:
        wait([self.future], max(0.0, self._deadline - time.monotonic()))
        if not self.future.done():
            raise _Late(self._place())

    def _place(self) -> Place | None:
        """The line that the call waits at."""
        if self._awaitable is not None:
            return place_of_awaitable(self._awaitable)
        return place_of_frame(sys._current_frames().get(self._thread.ident or 0))


def _fulfil(future: Future[Any], function: Callable[[], Any]) -> None:
    try:
        future.set_result(function())
    except BaseException as error:  # nothing may be lost in a thread
        future.set_exception(error)


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


@cache
def _event_loop() -> asyncio.AbstractEventLoop:
    """One loop for all async rewards: a client that a user's module holds stays bound to the loop it first ran on."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="reward-loop", daemon=True).start()
    return loop


def _replace_blocked_loop() -> None:
    """Gives later calls a new loop if a coroutine blocks this one by waiting without ``await``."""
    alive = threading.Event()
    _event_loop().call_soon_threadsafe(alive.set)
    if not alive.wait(_LOOP_ANSWERS_S):
        _event_loop.cache_clear()


def _first(error: BaseException) -> BaseException:
    """The first error of a group (of a TaskGroup), or the error itself."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _checked(result: Any, count: int) -> list[float | _Failure | None]:
    """What a reward returned as one value a row. Raises ``BadValueError`` if it isn't a list of ``count`` items."""
    items = result.tolist() if hasattr(result, "tolist") else result  # an array or a tensor, on whatever device
    if not isinstance(items, list | tuple):
        raise BadValueError(f"returned {_described_type(result)}, not a list with one value for each completion")
    if len(items) != count:
        raise BadValueError(f"returned {len(items)} values for {count} completions")
    return [_value(item) for item in items]


def _value(item: Any) -> float | _Failure | None:
    if item is None:
        return None
    try:
        number = item.item() if hasattr(item, "item") else item  # a scalar of NumPy or torch
        if not isinstance(number, Real):
            said = f"returned {_shortened(item)} (a {type(item).__name__})"
        elif math.isfinite(value := float(number)):
            return value
        else:
            said = f"returned {value}"
    except (ValueError, RuntimeError):  # a tensor of several elements
        said = f"returned a whole {type(item).__name__}"
    except OverflowError:
        said = "returned a number too large for a float"
    return _Failure(said, f"{said} as a value; it must be a finite number, or None where the reward does not apply")


def _described_type(value: Any) -> str:
    return "None" if value is None else f"a {type(value).__name__}"


def _shortened(value: Any) -> str:
    text = repr(value)  # in one line, whatever is in it
    half = _SHOWN // 2
    return text if len(text) <= _SHOWN else f"{text[:half]} ... {text[-half:]}"
