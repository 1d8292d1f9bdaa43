"""Standard output and error that can go away: nobody reads them, or their disk is full, and the run goes on.

What can't be written is dropped, and standard error is told once where it is still there. Each line is tried anew, so
output comes back when there is room again. Left out: readers that are there and don't read (a pager, a stopped
terminal), for whom a run waits as any program does; what a library's own code writes past Python.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class _Droppable(io.FileIO):
    """A descriptor that takes everything; what it can't pass on is lost."""

    def __init__(self, descriptor: int, name: str) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self._called, self._told = name, False

    def write(self, content: ReadableBuffer, /) -> int:
        try:
            written = super().write(content)
        except OSError as error:
            self._tell(error)
            written = None
        return memoryview(content).nbytes if written is None else written

    def _tell(self, error: OSError) -> None:
        if not self._told:
            self._told = True
            with contextlib.suppress(OSError):
                words = f"{self._called} can't be written ({error.strerror}); the run goes on without it\n"
                os.write(2, words.encode())


@contextmanager
def droppable_output() -> Iterator[None]:
    """While the block lasts, no ``print`` fails for the sake of where it goes."""
    before = sys.stdout, sys.stderr
    opened = _open_closed_ones()
    try:
        sys.stdout, sys.stderr = _droppable(sys.stdout, "standard output"), _droppable(sys.stderr, "standard error")
        yield
    finally:
        for stream, old in zip((sys.stdout, sys.stderr), before, strict=True):
            if stream is not old:
                stream.flush()
        sys.stdout, sys.stderr = before
        for descriptor in opened:
            os.close(descriptor)


def _droppable(stream: TextIO, name: str) -> TextIO:
    """The stream's descriptor behind a new stream; a stream that has none, or isn't there, as it is."""
    try:
        stream.flush()
        descriptor = stream.fileno()
    except (AttributeError, OSError, ValueError):  # ValueError: it is closed
        return stream
    raw = _Droppable(descriptor, name)
    buffer = io.BufferedWriter(raw)
    return io.TextIOWrapper(
        buffer, stream.encoding, stream.errors, line_buffering=raw.isatty() or name == "standard error"
    )


def _open_closed_ones() -> list[int]:
    """Puts the null device where a standard stream was closed: the next file would take its number, and its output."""
    opened = []
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            if os.open(os.devnull, os.O_RDWR) == number:
                opened.append(number)
    return opened
