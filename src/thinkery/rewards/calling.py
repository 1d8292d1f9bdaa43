"""Runs rewards on a batch of completions, with a deadline, and clear words for what goes wrong.

A reward is called once with the whole batch, since it may compare completions with one another. Only after a failure
are completions tried one by one, to find the one to show, or to leave out. Users' own rewards are called in their
process, where they may be async, ours in a thread of this one, where they aren't. Left out: weights and totals
(``grader``), the process (``reward_process``), and ending a thread, which nobody can: where a reward of ours misses its
deadline, the run ends.
"""

from __future__ import annotations

import copy
import math
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from thinkery.rewards.interfaces import (
    BAD_VALUE,
    STANDARD_COLUMNS,
    Failure,
    Outcome,
    Reward,
    Values,
    outcome_of,
    shortened,
)
from thinkery.rewards.reward_process import ProcessReward
from thinkery.types import Completion, Problem, RewardErrors, UserError, Verdict
from thinkery.user_code import Place, place_of_frame

_ARGUMENTS = ("prompts", "completions", "completion_ids")
_TOGETHER = 16  # completions tried one by one that are in flight at once, where the reward is async


class GradedRow(NamedTuple):
    """A completion to be paid for."""

    problem: Problem
    completion: Completion
    verdict: Verdict


class RewardCall(Protocol):
    """One call of a reward, in progress, in a thread of this process or in the process of the users' rewards."""

    future: Future[Any]  # done with the call, and with an exception if that is known to have failed

    @property
    def disturbed(self) -> bool:
        """Whether it failed by another's fault, so that it is worth a second one."""
        ...

    def start(self) -> None:
        """Begins it; a sync reward has ended when this returns. Raises ``TimeoutError`` at the deadline."""
        ...

    def outcome(self) -> Outcome:
        """Waits for the checked values, or how it failed. Raises ``TimeoutError``, and ``UserError`` if it did."""
        ...

    def late(self) -> Place | None:
        """Where it is at its deadline; and the end of it where that is possible."""
        ...

    def cancel(self) -> None:
        """Gives it up, where that is possible."""
        ...


def call_rewards(
    rewards: Mapping[str, Reward | ProcessReward],
    rows: Sequence[GradedRow],
    *,
    on_error: RewardErrors,
    timeout_s: float,
) -> tuple[dict[str, Values], dict[str, int]]:
    """Every reward's values, one a row, and how many of its rows failed.

    Sync rewards run one after the other; the users' async ones are in flight together, in their process. Each
    has ``timeout_s`` from its start, for all its work. Each gets its own copies of what it may change.

    A reward fails by an exception, by values that are not one finite number or None a row, and by ending its process.
    With ``on_error`` "stop" that is a ``UserError`` that shows the error, the user's line and the completion. With
    "zero" the failing completions have the value 0 and are counted, the others the values of a second call without
    them; if that fails too, all are 0 and counted. A failure that can't be repeated is neither shown with a completion
    nor counted.

    A missed deadline is a failure of all rows in a user's process, which is ended. In a thread, which can't be ended,
    it raises ``UserError`` whatever ``on_error`` says. So does a ``UserError`` of a reward's own: it is a mistake of
    the recipe's.
    """
    if not rows:
        return {name: [] for name in rewards}, dict.fromkeys(rewards, 0)
    batch = _Batch.of(rows)
    runs = {name: _Run(name, reward, batch, on_error, timeout_s) for name, reward in rewards.items()}
    settled: dict[str, tuple[Values, int]] = {}
    try:
        calls = {name: call for name, run in runs.items() if (call := run.begin()) is not None}
        # What has failed is said at once, and not after the slowest of the others.
        wait([call.future for call in calls.values()], timeout_s, return_when=FIRST_EXCEPTION)
        waits = {name: not call.future.done() or call.disturbed for name, call in calls.items()}
        for name in sorted(runs, key=lambda name: waits.get(name, False)):
            settled[name] = runs[name].settle()
    finally:
        for run in runs.values():
            run.cancel()
    return {name: settled[name][0] for name in rewards}, {name: settled[name][1] for name in rewards}


@dataclass(frozen=True, slots=True)
class _Batch:
    """What rewards are called with."""

    rows: Sequence[GradedRow]
    columns: tuple[str, ...]  # the problems' own, of all rows

    @classmethod
    def of(cls, rows: Sequence[GradedRow]) -> _Batch:
        names = dict.fromkeys(name for problem, _, _ in rows for name in problem.columns)
        return cls(rows, tuple(name for name in names if name not in STANDARD_COLUMNS + _ARGUMENTS))

    def arguments(self, indices: Sequence[int], *, copies: bool) -> dict[str, Any]:
        """TRL's keyword arguments for some of the rows, with ``copies`` in lists that the callee may change."""
        rows = [self.rows[i] for i in indices]
        own = [[p.columns.get(name) for p, _, _ in rows] for name in self.columns]
        # One copy of all columns together: what sixteen completions of a problem share is copied once.
        own = copy.deepcopy(own) if copies else own
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
            "completion_ids": [list(c.token_ids) if copies else c.token_ids for _, c, _ in rows],
        }


class _Run:
    """One reward on one batch, with one deadline for everything it takes."""

    def __init__(
        self, name: str, reward: Reward | ProcessReward, batch: _Batch, on_error: RewardErrors, timeout_s: float
    ) -> None:
        self._name, self._reward, self._batch, self._timeout_s = name, reward, batch, timeout_s
        self._on_error = on_error
        self._deadline = math.inf  # the first call sets it
        self._first: RewardCall | None = None
        self._calls: list[RewardCall] = []

    def begin(self) -> RewardCall | None:
        """Calls the reward on all rows; None if it was to be ended at its deadline.

        A sync reward has ended when this returns, an async one is in flight.
        """
        if isinstance(self._reward, ProcessReward):
            self._reward.ready()
        self._deadline = time.monotonic() + self._timeout_s
        try:
            self._first = self._start(range(len(self._batch.rows)))
        except _Late as late:
            self._missed(late)
        return self._first

    def settle(self) -> tuple[Values, int]:
        """The values of the call on all rows, and how many of them failed."""
        count = len(self._batch.rows)
        if self._first is not None and self._first.disturbed:
            self.begin()
        try:
            outcome = self._outcome(self._first) if self._first is not None else None
        except _Late as late:
            self._missed(late)
            outcome = None
        if outcome is None:
            return [0.0] * count, count
        if self._on_error == "stop":
            self._require(outcome)
        if isinstance(outcome, Failure):
            return self._without_culprits(outcome)
        return [0.0 if isinstance(v, Failure) else v for v in outcome], sum(isinstance(v, Failure) for v in outcome)

    def cancel(self) -> None:
        """Ends what is still awaited."""
        for call in self._calls:
            call.cancel()

    def _require(self, outcome: Outcome) -> None:
        """Raises ``UserError`` if anything failed."""
        if isinstance(outcome, Failure):
            index, alone = next(self._culprits(outcome), (None, outcome))
            # Alone, an exception belongs to the completion shown; of a list the length for the batch says more.
            raise self._error(outcome if outcome.kind == BAD_VALUE else alone, index)
        for index, value in enumerate(outcome):
            if isinstance(value, Failure):
                raise self._error(value, index)

    def _without_culprits(self, failure: Failure) -> tuple[Values, int]:
        """The values where the completions that fail alone are left out of the batch and worth 0."""
        count = len(self._batch.rows)
        culprits = {index for index, _ in self._culprits(failure)}
        rest = [index for index in range(count) if index not in culprits]
        values: Values = [0.0] * count
        if not rest:
            return values, count
        try:
            outcome = self._outcome(self._start(rest))
        except _Late:
            return values, count
        if isinstance(outcome, Failure):
            return values, count
        for index, value in zip(rest, outcome, strict=True):
            values[index] = 0.0 if isinstance(value, Failure) else value
        return values, len(culprits) + sum(isinstance(value, Failure) for value in outcome)

    def _culprits(self, failure: Failure) -> Iterator[tuple[int, Failure]]:
        """Rows on which alone the reward fails as it did on all of them; ends early at the deadline.

        A reward that compares completions may fail on a single one for that reason alone, hence "as it did".
        """
        count = len(self._batch.rows)
        together = 1 if failure.ends_process else _TOGETHER  # what is in flight then is lost with the culprit
        try:
            for first in range(0, count, together):
                indices = range(first, min(first + together, count))
                calls = [self._start([index]) for index in indices]
                for index, call in zip(indices, calls, strict=True):
                    outcome = self._outcome(call)
                    if isinstance(outcome, Failure) and outcome.kind == failure.kind:
                        yield index, outcome
        except _Late:
            return

    def _start(self, indices: Sequence[int]) -> RewardCall:
        """Calls the reward on some rows. Raises ``_Late`` if it has no time, or is sync and takes too long."""
        if time.monotonic() >= self._deadline:
            raise _Late(None)  # no further thread shall hang
        call: RewardCall
        if isinstance(self._reward, ProcessReward):
            arguments = self._batch.arguments(indices, copies=False)  # it travels as a copy
            call = self._reward.call(arguments, len(indices), self._deadline)
        else:
            ours, arguments = self._reward, self._batch.arguments(indices, copies=True)
            call = _ThreadCall(lambda: ours(**arguments), len(indices), self._deadline)
        self._calls.append(call)
        try:
            call.start()
        except TimeoutError:
            raise _Late(call.late()) from None
        return call

    def _outcome(self, call: RewardCall) -> Outcome:
        try:
            return call.outcome()
        except TimeoutError:
            raise _Late(call.late()) from None

    def _missed(self, late: _Late) -> None:
        """Raises ``UserError``, unless all rows are to count as 0, and the reward could be ended."""
        if self._on_error == "zero" and isinstance(self._reward, ProcessReward):
            return
        at = f"\n  It is at {late.place}" if late.place else ""
        raise UserError(
            f"reward {self._name!r} gave no answer within {self._timeout_s:g} s for {len(self._batch.rows)} "
            f"completions; make it faster, or raise reward_timeout_s{at}"
        )

    def _error(self, failure: Failure, index: int | None) -> UserError:
        lines = [f"reward {self._name!r} {failure.said}"]
        if failure.place:
            lines.append(f"  at {failure.place}")
        if index is None:
            lines.append(
                f"  in a batch of {len(self._batch.rows)} completions; no single one was found that makes it fail so"
            )
        else:
            problem, completion, _ = self._batch.rows[index]
            lines.append(f"  for completion {completion.index} of problem {problem.id!r}: {shortened(completion.text)}")
        lines.append("  Correct the reward, or set reward_errors: zero to count such completions with the value 0.")
        return UserError("\n".join(lines))


class _Late(Exception):  # noqa: N818  # no error by itself: what it means depends on who waits
    """The deadline passed; ``place`` is where the reward was."""

    def __init__(self, place: Place | None) -> None:
        self.place = place


class _ThreadCall:
    """One call of a reward of ours, in a thread."""

    disturbed = False

    def __init__(self, function: Callable[[], Any], count: int, deadline: float) -> None:
        self._count, self._deadline = count, deadline
        self.future: Future[Any] = Future()
        self._thread = threading.Thread(target=_fulfil, args=(self.future, function), name="reward", daemon=True)

    def start(self) -> None:
        """See ``RewardCall``."""
        self._thread.start()
        wait([self.future], max(0.0, self._deadline - time.monotonic()))
        if not self.future.done():
            raise TimeoutError

    def outcome(self) -> Outcome:
        """See ``RewardCall``."""
        return outcome_of(self.future.result, self._count)

    def late(self) -> Place | None:
        """See ``RewardCall``. A thread can't be ended."""
        return place_of_frame(sys._current_frames().get(self._thread.ident or 0))

    def cancel(self) -> None:
        """See ``RewardCall``. It has ended, or can't be ended."""


def _fulfil(future: Future[Any], function: Callable[[], Any]) -> None:
    try:
        future.set_result(function())
    except BaseException as error:  # nothing may be lost in a thread
        future.set_exception(error)
