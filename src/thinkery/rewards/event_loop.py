"""The event loop of async rewards: one for all, so that a client which a user's module holds stays on its loop.

Left out: what is awaited there, and until when (``calling``, ``workers/reward_host``).
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable
from concurrent.futures import Future
from functools import cache
from typing import Any

_LOOP_ANSWERS_S = 1.0


def begin(awaitable: Awaitable[Any]) -> Future[Any]:
    """Awaits it on the loop, from any thread."""
    return asyncio.run_coroutine_threadsafe(_awaited(awaitable), _event_loop())


def replace_blocked_loop() -> None:
    """Gives later calls a new loop if a coroutine blocks this one by waiting without ``await``."""
    alive = threading.Event()
    _event_loop().call_soon_threadsafe(alive.set)
    if not alive.wait(_LOOP_ANSWERS_S):
        _event_loop.cache_clear()


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


@cache
def _event_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=_run, args=(loop,), name="reward-loop", daemon=True).start()
    return loop


def _run(loop: asyncio.AbstractEventLoop) -> None:
    while True:  # sys.exit in a task stops the loop, before it has told who awaits the task
        with contextlib.suppress(SystemExit, KeyboardInterrupt):
            loop.run_forever()
