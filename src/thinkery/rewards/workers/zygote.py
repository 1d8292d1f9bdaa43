"""The side of a worker pool that runs apart from the caller: a warm process that forks workers, and the workers.

Importing computer algebra takes a second, forking a process that has imported it takes milliseconds. So a pool starts
one *zygote*, which imports the target and then only forks and kills on command. It ends, and its workers with it, when
its control socket closes, so nothing outlives a caller that was itself killed. Left out: the pool (``pool``).
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import resource
import signal
import socket
import struct
from collections.abc import Callable, Mapping
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

MEMORY_BYTES = 3 << 27  # of a worker's address space; computer algebra needs 70 MB of it
RETIRE_BYTES = 1 << 28  # a worker that ever grew beyond this answers and is replaced: the next request needs the room
REAP_EVERY_S = 0.05
COMMAND = struct.Struct("!q")  # 0 with a descriptor attached: fork; a process id: kill it. Answered with the process id
READY = COMMAND.pack(-1)
LAST, MORE = b"1", b"0"  # a reply's first byte: whether the worker ends after it

Reply = Mapping[str, Any]


def main(control_fd: int, target: str, deadline_s: float) -> None:
    """The zygote: imports ``target`` ("module:function"), then forks and kills workers until the socket closes."""
    module, _, name = target.partition(":")
    answer: Callable[..., Reply] = getattr(import_module(module), name)
    gc.collect()
    gc.freeze()  # a collection in a worker would write to, and so copy, every page that it shares with the zygote
    living: set[int] = set()
    dying: set[int] = set()
    with socket.socket(fileno=control_fd) as control, contextlib.suppress(ConnectionError):
        control.sendall(READY)
        while True:
            control.settimeout(REAP_EVERY_S if dying else None)
            try:
                command, descriptors, _, _ = socket.recv_fds(control, COMMAND.size, 1)
            except TimeoutError:
                _reap(dying)
                continue
            if not command:
                break
            (pid,) = COMMAND.unpack(command)
            if descriptors:
                pid = os.fork()
                if pid == 0:
                    control.close()
                    _work(descriptors[0], answer, deadline_s)
                os.close(descriptors[0])
                living.add(pid)
            else:
                living.remove(pid)
                _kill(pid, dying)
            control.sendall(COMMAND.pack(pid))
            _reap(dying)
    for pid in living:
        _kill(pid, dying)
    for pid in dying:
        os.waitpid(pid, 0)


# Only here are workers reaped, so a process id that the pool holds is never another's.
def _kill(pid: int, dying: set[int]) -> None:
    os.kill(pid, signal.SIGKILL)
    dying.add(pid)


def _reap(dying: set[int]) -> None:
    """Reaps who is dead; nobody waits for a process that takes its time, as one with much memory does."""
    for pid in list(dying):
        if os.waitpid(pid, os.WNOHANG)[0]:
            dying.remove(pid)


def _work(descriptor: int, answer: Callable[..., Reply], deadline_s: float) -> None:
    """The worker: answers requests until the pipe closes. Never returns into the zygote's code."""
    try:
        with contextlib.suppress(ValueError, OSError):  # the hard limit may already be lower
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        with contextlib.suppress(OSError):  # Linux: if memory runs out, this process goes before the caller's
            Path("/proc/self/oom_score_adj").write_text("1000")
        connection = Connection(descriptor)
        while True:
            request = json.loads(connection.recv_bytes())
            _limit_cpu(deadline_s)
            reply = json.dumps(answer(**request)).encode()
            connection.send_bytes((LAST if _peak_bytes() > RETIRE_BYTES else MORE) + reply)
    except (EOFError, OSError):
        pass  # the pool closed the pipe
    finally:
        os._exit(0)


def _peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if os.uname().sysname == "Darwin" else peak * 1024


def _limit_cpu(deadline_s: float) -> None:
    """Lets the kernel end a hanging worker whose pool and zygote were both killed and so will never end it."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    soft = int(used.ru_utime + used.ru_stime + deadline_s) + 1  # whole seconds, rounded up
    if hard == resource.RLIM_INFINITY or soft < hard:
        resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))
