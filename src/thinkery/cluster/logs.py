"""Where a worker is, and its log: everything that its process says, in ``workers/<name>.log`` of the run folder.

The folder is on a file system that all nodes see, as all of a run's files. Left out: metrics, which the driver writes.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import ray

from thinkery.models.remote_code import trust_remote_code


class Here(NamedTuple):
    """A worker's process and the node that it runs on."""

    pid: int
    node: str


def here() -> Here:
    """Of this process."""
    return Here(os.getpid(), ray.get_runtime_context().get_node_id())


@dataclass(frozen=True)
class Home:
    """Where the driver is: its run folder, and the folder that relative paths start from; and what it may run."""

    run: Path
    cwd: Path
    trust_remote_code: bool


def move_in(home: Home, name: str) -> None:
    """Sends this process's output to the worker's log, behind what the one before it of that name has said.

    Models and rewards that the recipe names by relative paths are found as the driver finds them.
    """
    os.chdir(home.cwd)
    trust_remote_code(home.trust_remote_code)
    path = home.run / "workers" / f"{name}.log"
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
