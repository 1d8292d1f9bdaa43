"""Finds the cluster of a run, or starts one on this machine. Left out: what is placed there."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable
from typing import Any, cast

import ray

from thinkery.recipe import ClusterSpec
from thinkery.types import UserError

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
