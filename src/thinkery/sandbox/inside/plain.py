"""The fork server without walls, for machines where none can be built and users who trust the programs.

It speaks the same protocol as ``server`` and shares ``supervisor`` and ``program`` with it, so limits, output,
conversations and results are the same. What is missing: programs run as the user, see the user's files and processes,
and write where the user can; a run has a folder of its own, but nothing keeps it there. The seccomp filter is there
wherever the machine has a table, so there is no network, and no way out of the process group that is killed at a
run's end.

Processes: the *waiter*, which the host kills; the *keeper*, which forks runs, adopts their orphans and cleans up
after them, also when the waiter dies; the *supervisor*, as in ``server``.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import marshal
import os
import shutil
import signal
import socket
import struct
import sys
import tempfile
from typing import Any, NoReturn

from . import frames, inherited, jail, program, supervisor, syscalls, watch
from .program import Job
from .server import ENDED, FIRST, MAX_DESCRIPTORS, MAX_REQUEST_BYTES, import_packages

_PR_SET_CHILD_SUBREAPER = 36


class _Over(BaseException):
    """The waiter is dead, or the supervisor: clean up and go."""


def serve() -> Job:
    """Serve until the host is gone. Returns only in the process of a program, with what it shall run."""
    config: dict[str, Any] = json.loads(sys.argv[1])
    inherited.use_all()
    _leave_a_waiter()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in ``server``
    host = socket.socket(fileno=0)
    keeper, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # until there is somebody to delete the folder
    home = tempfile.mkdtemp(prefix="thinkery-", dir=config["folders_in"])
    supervising = os.fork()
    if supervising == 0:
        keeper.close()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
        syscalls.die_with_parent(signal.SIGKILL)
        _supervise(host, theirs, home)
    theirs.close()
    host.close()
    os.open("/dev/null", os.O_RDWR)  # takes the number 0
    if ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(1), 0, 0, 0) != 0:
        raise OSError("prctl(PR_SET_CHILD_SUBREAPER)")
    os.umask(0o077)
    program.open_streams()
    import_packages(config)
    runs = _Runs(keeper, config)
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
        while True:
            job = runs.serve_one()
            if job is not None:
                return job
    except _Over:
        runs.clean_up()
        with contextlib.suppress(ProcessLookupError):
            os.kill(supervising, signal.SIGKILL)  # it may be about to make another folder
        with contextlib.suppress(ChildProcessError):
            os.waitpid(supervising, 0)
        shutil.rmtree(home, ignore_errors=True)
        os._exit(0)


def _leave_a_waiter() -> None:
    """Go on in a child, which hears of the parent's death in time to clean up."""
    syscalls.die_with_parent(signal.SIGKILL)
    child = os.fork()
    if child:
        os.close(0)
        os.waitpid(child, 0)
        os._exit(0)
    signal.signal(signal.SIGTERM, _be_over)
    syscalls.die_with_parent(signal.SIGTERM)


def _be_over(*_: object) -> NoReturn:
    raise _Over


class _Runs:
    """The keeper's work, and what there is to clean up after it."""

    def __init__(self, keeper: socket.socket, config: dict[str, Any]) -> None:
        self.keeper = keeper
        self.config = config
        self.first = 0  # of the processes of the run in progress
        self.folder = ""

    def serve_one(self) -> Job | None:
        """Fork one run, wait for its end, kill what it left. Returns a job only in the program's process."""
        data, descriptors, _, _ = socket.recv_fds(self.keeper, MAX_REQUEST_BYTES, MAX_DESCRIPTORS)
        if not data:
            raise _Over
        report, *given = descriptors
        request = marshal.loads(data)
        self.folder = request["folder"]
        request = _moved(request, self.folder)
        self.first = os.fork()
        if self.first == 0:
            self.keeper.detach()  # or this object would close, at its end, whatever has its number by then
            return _start(request, self.config, given, report)
        for descriptor in given:
            os.close(descriptor)
        self.keeper.send(FIRST.pack(self.first))
        os.waitid(os.P_PID, self.first, os.WEXITED | os.WNOWAIT)  # unreaped, so that its number stays its own
        status, cpu_s = _kill_group(self.first)
        if request["kind"] != "python":
            _report(report, request, status)
        os.close(report)
        self.clean_up()
        self.keeper.send(ENDED.pack(status, cpu_s))
        return None

    def clean_up(self) -> None:
        """Leave no process and no file of the run in progress."""
        if self.first:
            _kill_group(self.first)
        if self.folder:
            for path, _, _ in os.walk(self.folder):
                with contextlib.suppress(OSError):
                    os.chmod(path, 0o700)
            shutil.rmtree(self.folder, ignore_errors=True)
        self.first, self.folder = 0, ""


def _start(request: dict[str, Any], config: dict[str, Any], given: list[int], report: int) -> Job:
    """Be the first of a run's processes: as ``jail.start``, without the jail."""
    folder = request["folder"]
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        syscalls.die_with_parent(signal.SIGKILL)
        # Elsewhere every run sees the same folder; here each has another.
        program.FOLDER, program.SOURCE, program.BINARY = folder, f"{folder}/program.py", f"{folder}/program"
        os.environ.clear()
        os.environ.update(program.ENVIRONMENT, HOME=folder, TMPDIR=folder)
        job = program.confine(request, config, given, report)
        os.close(report)
        return job
    except BaseException as error:
        message = f"{type(error).__name__}: {error}".encode()[:2000]
        os.write(report, jail.REPORT.pack(jail.FAILED, len(message)) + message)
        os._exit(71)


def _kill_group(first: int) -> tuple[int, float]:
    """Kill all of a run's processes and wait for them; (the first one's wait status, CPU seconds of all)."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(first, signal.SIGKILL)
    first_status, cpu_s = 0, 0.0
    while True:
        try:
            pid, status, usage = os.wait4(-first, 0)
        except ChildProcessError:
            return first_status, cpu_s
        cpu_s += usage.ru_utime + usage.ru_stime
        if pid == first:
            first_status = status


def _report(report: int, request: dict[str, Any], status: int) -> None:
    """What the first process of a namespace reports of machine code and compilers."""
    content = b""
    if status == 0 and request["artifact"]:
        with contextlib.suppress(OSError), open(request["artifact"], "rb") as file:
            content = file.read(request["limits"]["file_bytes"] + 1)
    with contextlib.suppress(BrokenPipeError), open(report, "wb", closefd=False) as pipe:
        pipe.write(jail.REPORT.pack(jail.ENDED, status))
        if content:
            pipe.write(jail.REPORT.pack(jail.ARTIFACT, len(content)) + content)


def _moved(request: dict[str, Any], folder: str) -> dict[str, Any]:
    """A request with its paths in ``folder`` instead of the one that a run sees elsewhere."""

    def move(path: str) -> str:
        return folder + path[len(program.FOLDER) :] if path.startswith(f"{program.FOLDER}/") else path

    moved = {name: move(request[name]) for name in ("source_path", "artifact")}
    return {**request, **moved, "command": [move(word) for word in request["command"]]}


def _supervise(host: socket.socket, keeper: socket.socket, home: str) -> NoReturn:
    """Do the host's requests, each in a new folder in ``home``, until it or the keeper is gone."""
    try:
        frames.send(host, frames.READY)
        while True:
            request, code, stdin = supervisor.next_request(host)
            request["folder"] = tempfile.mkdtemp(dir=home)
            run = _Run(host, keeper, set(), request)
            run.start(code, stdin)
            run.drive()
            run.report()
    except (frames.ProtocolError, OSError, struct.error) as error:
        supervisor.give_up(error)


class _Run(supervisor.ProgramRun):
    def start(self, code: bytes, stdin: bytes) -> None:
        super().start(code, stdin)
        self.watch = _GroupWatch(self.first, self.request["folder"], self.limits)


class _Strangers(set[str]):
    """The processes that are not a run's, as /proc names them: all outside its process group."""

    def __init__(self, first: int) -> None:
        super().__init__()
        self.first = first

    def __contains__(self, name: object) -> bool:
        try:
            return os.getpgid(int(str(name))) != self.first
        except ProcessLookupError:
            return True


class _GroupWatch(watch.Watch):
    """A watch over a run that shares the machine's file system."""

    def __init__(self, first: int, folder: str, limits: dict[str, Any]) -> None:
        super().__init__(first, _Strangers(first), limits)
        self.folder = folder

    def look(self) -> tuple[str, str] | None:
        """Return (status, reason) if the run is over a limit, else None."""
        if self._file_bytes() > self.limits["disk_bytes"]:
            return "error", f"over {self.limits['disk_bytes']} bytes of files"
        return super().look()

    def _file_bytes(self) -> int:
        total = 0
        for path, _, names in os.walk(self.folder):
            for name in names:
                with contextlib.suppress(OSError):
                    total += os.lstat(os.path.join(path, name)).st_blocks * 512
        return total
