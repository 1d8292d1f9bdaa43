"""The warm fork server: an interpreter with the common modules imported, from which every run is forked.

At its start it splits in two. The *supervisor* holds the socket to the host, reads requests and moves all data. The
*zygote* forks runs on the supervisor's word; it never sees a program, its input or its output, so no run can find
another one's in the memory it was forked from, nor a way to the host among its descriptors. When one of the two ends,
so does the other, and everything in the sandbox with them.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import marshal
import os
import resource
import signal
import socket
import struct
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from . import inherited, jail, program, seccomp, syscalls
from .program import Job

WARM_MODULES = """
    array bisect cmath collections collections.abc copy datetime decimal enum fractions functools heapq io itertools
    json math numbers operator os random re string struct sys time types typing
"""

FIRST = struct.Struct(">i")  # the zygote's word to the supervisor: the pid of a run's first process
ENDED = struct.Struct(">id")  # and, when the namespace is empty: its wait status, the CPU seconds of all waited for
MAX_REQUEST_BYTES = 1 << 16
MAX_DESCRIPTORS = 6

Supervise = Callable[[socket.socket, socket.socket, dict[str, Any]], NoReturn]


def serve(supervise: Supervise) -> Job:
    """Serve until the host is gone. Returns only in the process of an untrusted program, with what it shall run."""
    config: dict[str, Any] = json.loads(sys.argv[1])
    inherited.use_all()
    _forbid_user_namespaces()
    _offer_to_be_killed()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a run can send it to the first process of its namespace
    _import_common_modules()
    _import_behind_walls(config)
    config["process_limit_is_ours"] = _process_limit_is_ours()
    host = socket.socket(fileno=0)
    zygote, supervisor = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork() == 0:
        zygote.close()
        syscalls.die_with_parent(signal.SIGKILL)
        supervise(host, supervisor, config)
    supervisor.close()
    host.close()
    os.open("/dev/null", os.O_RDWR)  # takes the number 0
    seccomp.prepare(config["new_groups"])
    program.prepare()
    gc.collect()
    gc.disable()
    gc.freeze()  # or the first collection after a fork would copy every page
    own_pid_namespace = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    while True:
        job = _serve_one(zygote, own_pid_namespace, config)
        if job is not None:
            return job


def _serve_one(zygote: socket.socket, own_pid_namespace: int, config: dict[str, Any]) -> Job | None:
    """Fork one run and wait for its end. Returns a job only in the untrusted process."""
    request, descriptors, _, _ = socket.recv_fds(zygote, MAX_REQUEST_BYTES, MAX_DESCRIPTORS)
    if not request:
        os._exit(0)
    first = syscalls.fork_first(own_pid_namespace)
    if first == 0:
        zygote.detach()  # or this object would close, at its end, whatever has its number by then
        return jail.start(marshal.loads(request), config, descriptors)
    for descriptor in descriptors:
        os.close(descriptor)
    try:
        zygote.send(FIRST.pack(first))
        _, status, usage = os.wait4(first, 0)
        zygote.send(ENDED.pack(status, usage.ru_utime + usage.ru_stime))
    except BrokenPipeError:  # the supervisor is gone
        os._exit(0)
    return None


def _import_common_modules() -> None:
    # ``random`` asks for a new seed in every child; ``program`` seeds it, and asks in its stead for the grandchildren.
    register, os.register_at_fork = os.register_at_fork, lambda **_: None
    for name in WARM_MODULES.split():
        importlib.import_module(name)
    os.register_at_fork = register


def import_packages(config: dict[str, Any]) -> None:
    """Import what this server was started for, beside the standard library; runs are forked with it."""
    sys.path.extend(config["path"])
    for name in config["modules"]:
        importlib.import_module(name)


def _import_behind_walls(config: dict[str, Any]) -> None:
    """Packages may want a folder to write to while they are imported; nothing of it is left for a run."""
    if not config["modules"]:
        return
    syscalls.mount_tmpfs(program.FOLDER, "size=16m,nr_inodes=1024,mode=700")
    os.environ["HOME"] = program.FOLDER
    import_packages(config)
    syscalls.unmount(program.FOLDER)


def _forbid_user_namespaces() -> None:
    """No new user namespace beneath ours; a run has no capability to take that back."""
    with open("/proc/sys/user/max_user_namespaces", "w", encoding="ascii") as file:
        file.write("0")


def _offer_to_be_killed() -> None:
    """Where memory runs out in spite of all limits, the kernel takes a sandbox and not the training."""
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("1000")


def _process_limit_is_ours() -> bool:
    """Whether RLIMIT_NPROC counts exactly the processes of this sandbox.

    It does since Linux 5.14, which counts by user namespace, unless the user is root. Before, it counts all
    processes of the same user on the machine, and only the supervisor's watch can tell ours apart.
    """
    count = sum(name.isdigit() for name in os.listdir("/proc")) + 1  # with the child that asks
    child = os.fork()
    if child == 0:
        os._exit(0 if _can_fork_under(count + 1) and not _can_fork_under(count) else 1)
    return os.waitpid(child, 0)[1] == 0


def _can_fork_under(limit: int) -> bool:
    hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    resource.setrlimit(resource.RLIMIT_NPROC, (inherited.lesser(limit, hard), hard))
    try:
        child = os.fork()
    except OSError:
        return False
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return True
