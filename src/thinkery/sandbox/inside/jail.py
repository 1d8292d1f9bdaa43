"""The first process of a run's PID namespace: makes the run's own file system, then becomes or starts the program.

When this process ends, or is killed, the kernel kills every other process of the namespace. Python source runs in
it, which saves a fork; that shows only where a program sends itself a signal it does not handle, which the first
process of a namespace never gets. Machine code and compilers run in a child, and this process tells their end through
the report pipe; it holds no descriptor of the host's, and its memory is closed to the child.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import struct
import traceback
from typing import Any

from . import program, syscalls
from .program import Job

# The report: a kind and a number (a wait status, or the length of what follows).
REPORT = struct.Struct(">ci")
ENDED = b"S"
ARTIFACT = b"A"
FAILED = b"F"

FOLDER_INODES = 4096


def start(request: dict[str, Any], config: dict[str, Any], descriptors: list[int]) -> Job | None:
    """Be the first process of a run. Returns only in the program's process; elsewhere this ends the process.

    ``descriptors``: the report pipe, the program's text or code, then the program's own from 0 on.
    """
    report, *given = descriptors
    try:
        syscalls.die_with_parent(signal.SIGKILL)
        _close_all_except(descriptors)
        _own_file_system(request)
        child = 0
        if request["kind"] != "python":
            syscalls.hide_memory()
            child = os.fork()
        if child == 0:
            job = program.confine(request, config, given, report)
            os.close(report)
            return job
        for descriptor in given:
            os.close(descriptor)
        status = _wait_for(child)
        os.write(report, REPORT.pack(ENDED, status))
        if status == 0 and request["artifact"]:
            _send_artifact(report, request["artifact"], request["limits"]["file_bytes"])
        os._exit(0)
    except BaseException as error:
        _fail(report, error)
    raise AssertionError  # os._exit does not return


def _close_all_except(kept: list[int]) -> None:
    first = 0
    for descriptor in sorted(kept):
        if first < descriptor:
            os.closerange(first, descriptor)
        first = descriptor + 1
    os.closerange(first, resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def _own_file_system(request: dict[str, Any]) -> None:
    size = request["limits"]["disk_bytes"]
    syscalls.mount_tmpfs(program.FOLDER, f"size={size},nr_inodes={FOLDER_INODES},mode=700")
    syscalls.unmount("/proc")


def _wait_for(child: int) -> int:
    """Reap whatever ends, until it is the program."""
    while True:
        pid, status = os.wait()
        if pid == child:
            return status


def _send_artifact(report: int, path: str, limit: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)  # everything else in the namespace: nothing can write to the file any more
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    content = b""
    while len(content) <= limit and (part := os.read(descriptor, 1 << 20)):
        content += part
    os.write(report, REPORT.pack(ARTIFACT, len(content)))
    with open(report, "wb", buffering=0, closefd=False) as pipe:
        view = memoryview(content)
        while view:
            view = view[pipe.write(view) :]


def _fail(report: int, error: BaseException) -> None:
    message = "".join(traceback.format_exception_only(type(error), error)).strip().encode()[:2000]
    os.write(report, REPORT.pack(FAILED, len(message)) + message)
    os._exit(71)
