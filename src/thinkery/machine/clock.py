"""Where the time goes: seconds by part, measured while the work goes on.

At any moment one part runs, the innermost that is open, so a part's seconds are its own and all parts together are the
time that has passed: what one part does while another waits for it is never counted twice. Reading the clock costs a
microsecond, so every stage carries one. Left out: what the parts are called (the stages say), threads (one thread tells
the clock what it does; what others do meanwhile shows as the time that it waits for them).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

OTHER = "other"  # what no part has claimed

_T = TypeVar("_T")


class Clock:
    """Seconds by part since the last lap.

    ``settle`` is called before every reading. A GPU works through what it was told long after the call that told it;
    waiting for it there gives each part the time of its own work. None: the calls are taken as the work.
    """

    def __init__(self, settle: Callable[[], None] | None = None) -> None:
        self._settle = settle
        self._open = [OTHER]
        self._seconds: dict[str, float] = {}
        self._since = time.perf_counter()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """What happens inside belongs to ``name``, but for parts that it opens itself."""
        self._read()
        self._open.append(name)
        try:
            yield
        finally:
            self._read()
            self._open.pop()

    def each(self, name: str, items: Iterable[_T]) -> Iterator[_T]:
        """The items; making each belongs to ``name``, what the caller does with it does not."""
        iterator = iter(items)
        while True:
            with self.part(name):
                try:
                    item = next(iterator)
                except StopIteration:
                    return
            yield item

    def lap(self) -> dict[str, float]:
        """Seconds of every part that ran since the last lap, ``other`` among them; their sum is the time between."""
        self._read()
        seconds, self._seconds = self._seconds, {}
        return seconds

    def _read(self) -> None:
        """What has passed since the last reading is the innermost part's."""
        if self._settle is not None:
            self._settle()
        now = time.perf_counter()
        name = self._open[-1]
        self._seconds[name] = self._seconds.get(name, 0.0) + now - self._since
        self._since = now
