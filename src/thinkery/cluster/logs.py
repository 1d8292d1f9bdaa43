"""A worker's log: everything that its process says, in ``workers/<name>.log`` of the run folder.

The folder is on a file system that all nodes see, as all of a run's files. Left out: metrics, which the driver writes.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path


def log_to(folder: Path, name: str) -> None:
    """Sends this process's output to the worker's log, behind what the worker before it of that name has said."""
    path = folder / "workers" / f"{name}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    for standard in (1, 2):  # what is written below Python as well
        os.dup2(descriptor, standard)
    os.close(descriptor)
    sys.stdout = sys.stderr = os.fdopen(1, "w", buffering=1, errors="backslashreplace", closefd=False)
    say(f"{name} started, process {os.getpid()}")


def say(line: str) -> None:
    """A line for the log."""
    print(time.strftime("%Y-%m-%d %H:%M:%S"), line, flush=True)
