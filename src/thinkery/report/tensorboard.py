"""TensorBoard events, written with tensorboard's own record format and protocol buffers; TensorFlow is never imported.

Scalars only, and no background thread: every step is on disk when ``log`` returns, so a killed run loses none. A disk
that takes no more ends the events and nothing else: the next start writes them again from ``metrics.jsonl``.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter


class Events:
    """An event file in ``folder``, which is made if it isn't there. TensorBoard reads it while it grows.

    ``note`` is told why no more is written.
    """

    def __init__(self, folder: Path, note: Callable[[str], None]) -> None:
        self._folder, self._note = folder, note
        self._records: RecordWriter | None = None
        # TensorBoard reads the files of a folder in the order of their names: the later file must sort behind.
        name = f"events.out.tfevents.{time.time():017.6f}.{socket.gethostname()}.{os.getpid()}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # Unbuffered, or closing would try again what could not be written.
            self._records = RecordWriter((folder / name).open("wb", buffering=0))
        except OSError as error:
            self._give_up(error)
        self._write(Event(file_version="brain.Event:2"))

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Adds one point to the curve of every metric."""
        values = [Summary.Value(tag=name, simple_value=value) for name, value in metrics.items()]
        self._write(Event(step=step, summary=Summary(value=values)))

    def close(self) -> None:
        """Closes the file. Nothing is lost without it."""
        if self._records is not None:
            self._records.close()

    def _write(self, event: Event) -> None:
        if self._records is None:
            return
        event.wall_time = time.time()
        try:
            self._records.write(event.SerializeToString())
        except OSError as error:
            self._records.close()
            self._records = None
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        self._note(f"{self._folder}: no more TensorBoard events are written ({error}); metrics.jsonl has all of it")
