"""The process of a run's own rewards: loads the users' files and calls them, until the caller's end of a pipe closes.

Sync rewards are called one after the other in the main thread, where signals work too; async ones share an event loop.
A thread of its own hears what is asked meanwhile: where a call is, and to cancel one. Requests are pickled by the
caller, whom this process trusts; what goes back is JSON, since a reward's code may be anything. Left out: deadlines,
and starting again (``reward_process``); isolation: the code has the user's rights.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import fcntl
import inspect
import io
import json
import os
import pickle
import queue
import select
import signal
import socket
import struct
import sys
import threading
import traceback
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from functools import cache
from typing import Any, Literal

from thinkery.rewards.custom import load_reward, require_columns
from thinkery.rewards.interfaces import Reward, RewardContext, outcome_of, to_plain
from thinkery.types import UserError
from thinkery.user_code import Place, place_of_awaitable, place_of_frame

SIZE = struct.Struct("!Q")  # before every message, in both directions

Load = tuple[Literal["load"], int, str, RewardContext, Mapping[str, Any]]  # number, spec, options
Know = tuple[Literal["know"], int, int, frozenset[str]]  # number, reward, columns of all problems
Ask = tuple[Literal["call"], int, int, int, Mapping[str, Any]]  # number, reward, rows, arguments
Where = tuple[Literal["where"], int, int]  # number, call
Cancel = tuple[Literal["cancel"], int, int]  # number, call
Request = Load | Know | Ask | Where | Cancel


def main(requests: int, replies: int, lifeline: int, dump: int) -> None:
    """Serves the descriptors' other ends: requests in, replies out; ``dump`` is where a crash is written to."""
    _end_with(lifeline)
    # Both are open as long as the process: faulthandler writes when nothing of Python works any more.
    faulthandler.enable(dump, all_threads=True)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True)  # a crash shall not swallow what was printed before it
    _Host(socket.socket(fileno=requests), socket.socket(fileno=replies)).work()


def _end_with(lifeline: int) -> None:
    """Lets the kernel end this process, and what it started, when the other end of a pipe closes.

    A thread that waits for that could not act on it while a reward's code holds Python's lock.
    """
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([lifeline], [], [], 0)[0]:  # it had closed before
        os._exit(0)


class _Host:
    def __init__(self, requests: socket.socket, replies: socket.socket) -> None:
        self._requests, self._replies = requests.makefile("rb"), replies
        self._heard: queue.SimpleQueue[Load | Know | Ask] = queue.SimpleQueue()
        self._rewards: dict[int, Reward] = {}
        self._sending = threading.Lock()
        self._present: int | None = None  # the sync call in progress
        self._awaited: dict[int, tuple[Awaitable[Any], Future[Any]]] = {}
        self._main = threading.main_thread().ident or 0

    def work(self) -> None:
        threading.Thread(target=self._listen, name="reward-host", daemon=True).start()
        while True:
            request = self._heard.get()
            self._present = request[1]
            match request:
                case ("load", number, spec, context, options):
                    self._answer(number, lambda: self._load(number, spec, context, options))
                case ("know", number, reward, columns):
                    self._answer(number, lambda: require_columns(self._rewards[reward], columns))
                case ("call", number, reward, count, arguments):
                    self._call(number, self._rewards[reward], count, arguments)
            self._present = None
            del request  # with the whole batch in it

    def _listen(self) -> None:
        try:
            while len(size := self._requests.read(SIZE.size)) == SIZE.size:
                self._take(pickle.loads(self._requests.read(*SIZE.unpack(size))))
        except BaseException:
            traceback.print_exc()
            os._exit(1)  # a process that no longer hears is of no use
        os._exit(0)

    def _take(self, request: Request) -> None:
        match request:
            case ("where", number, call):
                place = self._place(call)
                self._reply(number, place=[place.file, place.line] if place else None)
            case ("cancel", _, call):
                if (awaited := self._awaited.get(call)) is not None:
                    awaited[1].cancel()
            case _:
                self._heard.put(request)

    def _load(self, number: int, spec: str, context: RewardContext, options: Mapping[str, Any]) -> None:
        self._rewards[number] = load_reward(spec, context, **options)

    def _answer(self, number: int, do: Callable[[], None]) -> None:
        try:
            do()
        except UserError as error:
            self._reply(number, user_error=str(error))
        else:
            self._reply(number)

    def _call(self, number: int, reward: Reward, count: int, arguments: Mapping[str, Any]) -> None:
        future: Future[Any] = Future()
        ids = [row.tolist() for row in arguments["completion_ids"]]  # arrays, as they travel
        try:
            result = reward(**{**arguments, "completion_ids": ids})
        except BaseException as error:  # SystemExit too: the reward failed, and the process goes on
            future.set_exception(error)
        else:
            if inspect.isawaitable(result):
                future = asyncio.run_coroutine_threadsafe(_awaited(result), _event_loop())
                self._awaited[number] = result, future
                self._reply(number, awaited=True)
            else:
                future.set_result(result)
        future.add_done_callback(lambda done: self._done(number, done, count))

    def _done(self, number: int, future: Future[Any], count: int) -> None:
        self._awaited.pop(number, None)
        try:
            self._reply(number, outcome=to_plain(outcome_of(future.result, count)))
        except UserError as error:
            self._reply(number, user_error=str(error))

    def _place(self, call: int) -> Place | None:
        if call in self._awaited:
            return place_of_awaitable(self._awaited[call][0])
        return place_of_frame(sys._current_frames().get(self._main)) if call == self._present else None

    def _reply(self, number: int, **said: Any) -> None:
        message = json.dumps({"number": number} | said).encode()
        with self._sending, contextlib.suppress(OSError):  # the caller is gone, and soon this process too
            self._replies.sendall(SIZE.pack(len(message)) + message)


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


@cache
def _event_loop() -> asyncio.AbstractEventLoop:
    """One for all async rewards, so that a client which a user's module holds stays on its loop."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=_run, args=(loop,), name="reward-loop", daemon=True).start()
    return loop


def _run(loop: asyncio.AbstractEventLoop) -> None:
    while True:  # sys.exit in a task stops the loop, before it has told who awaits the task
        with contextlib.suppress(SystemExit, KeyboardInterrupt):
            loop.run_forever()
