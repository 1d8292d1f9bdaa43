"""Finds the cluster of a run, or starts one on this machine; where a worker is, and its log in the run folder.

Left out: what is placed on the cluster (``worker_pool.py``).
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import ray

from thinkery.recipe import ClusterSpec
from thinkery.types import UserError


class Here(NamedTuple):
    """A worker's process and the node that it runs on."""

    pid: int
    node: str


def here() -> Here:
    """Of this process."""
    return Here(os.getpid(), ray.get_runtime_context().get_node_id())


@dataclass(frozen=True)
class Home:
    """Where the driver is: its run folder, and the folder that relative paths start from."""

    run: Path
    cwd: Path


def move_in(home: Home, name: str) -> None:
    """Sends this process's output to the worker's log, behind what the one before it of that name has said.

    Models and rewards that the recipe names by relative paths are found as the driver finds them.
    """
    os.chdir(home.cwd)
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


AUTO, LOCAL = "auto", "local"
_ANSWERS_S = 10.0


def prepare() -> None:
    """What a Ray that is started from this process should know, unless the environment says otherwise."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody
    os.environ.setdefault("RAY_worker_niceness", "0")  # workers are what the machine is for
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # a worker without a GPU keeps its environment


def connect(address: str, spec: ClusterSpec) -> bool:
    """Connects this process to Ray; False if it was connected before, and stays so.

    ``auto``: the cluster that RAY_ADDRESS names or that ``ray start`` started on this machine, else one of this
    process's own. ``local``: one of its own. Otherwise an address, ``host:port`` or ``ray://host:port``. Raises
    ``UserError`` if nothing answers there.
    """
    if ray.is_initialized():
        return False
    prepare()
    place = _running() if address == AUTO else None if address == LOCAL else address
    if place is not None:
        _require_listening(address, place)
    common: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if place is None:
            store = spec.object_store_mb * 2**20
            ray.init(address="local", include_dashboard=False, object_store_memory=store, **common)
        else:
            ray.init(address=place, **common)
    except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise _no_answer(address, place or "this machine", said) from None
    return True


def _require_listening(address: str, place: str) -> None:
    """Ray itself would try for minutes. Raises ``UserError``."""
    host, _, port = place.removeprefix("ray://").rpartition(":")
    try:
        if not host or not port.isdecimal():
            raise UserError(f"--cluster {address}: write host:port, ray://host:port, auto or local")
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWERS_S).close()
    except (OSError, OverflowError) as error:
        raise _no_answer(address, place, str(error)) from None


def _no_answer(address: str, place: str, said: str) -> UserError:
    return UserError(
        f"--cluster {address}: no Ray cluster answers at {place} ({said}); start one with `ray start --head`, or write "
        "--cluster local"
    )


def _running() -> str | None:
    """The cluster that a bare ``ray.init()`` would join. Ray's own "auto" would also join other processes' own ones."""
    from ray._private.services import get_ray_address_from_environment  # there is no public way to ask

    find = cast(Callable[[str | None, str | None], str | None], get_ray_address_from_environment)
    return find(None, None)


def total(resource: str) -> float:
    """How much of a resource (``CPU``, ``GPU``) all nodes have together."""
    return float(ray.cluster_resources().get(resource, 0.0))
