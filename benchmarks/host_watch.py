"""What must not change on the host while untrusted programs run: planted secrets, traps, and looks before and after.

``Host`` plants a random secret in this process's environment and in two files, opens listeners that nobody may reach
and starts a victim that nobody may kill. ``look`` is the state that a run must leave as it was; ``changes`` compares.
``Peak`` measures what a run takes while it goes on. Left out: the attacks themselves (``rewards_attacks``).
"""

from __future__ import annotations

import contextlib
import os
import resource
import secrets
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

# Places to which an attack tries to write a file with the token in its name; folders are listed, not searched.
PLACES = (
    "/",
    "/tmp",
    "/var/tmp",
    "/dev/shm",
    "/dev",
    "/run",
    "/root",
    "/home",
    "/mnt",
    "/etc",
    "/usr",
    "/usr/bin",
    "/usr/lib",
)
SHARED_WITH_RUNS = ("/dev/null", "/dev/zero", "/dev/urandom", "/usr", "/usr/bin", "/usr/bin/env", "/usr/lib", "/bin/sh")
SERVER_USERS = (1_000_000_000, 1_500_000_000)  # where the user ids of bubblewrap's and our own launcher's servers begin
SETTLE_S = 2.0  # for what the kernel does after the last process of a run is gone


@dataclass(frozen=True)
class Look:
    """The host at one moment."""

    processes: frozenset[tuple[int, str]]  # of ours and of the sandbox's users: (pid, when it started)
    files: frozenset[tuple[str, int, int]]  # in the folder of traps: name, size, time of change
    shared: tuple[tuple[str, int, int, int], ...]  # name, mode, owner, time of change
    named: frozenset[str]  # files with the token in their names, wherever
    process_state: tuple[object, ...]  # of this process: limits, niceness, cores, folder, descriptors, threads
    machine: tuple[object, ...]  # name, kernel settings
    clock_s: float  # the wall clock against the monotonic one


@dataclass
class Host:
    """The traps. A context manager, to be entered before the sandbox starts: its servers could inherit the secret."""

    secret: str = field(default_factory=lambda: "secret" + secrets.token_hex(12))  # no attack is told
    token: str = field(default_factory=lambda: "token" + secrets.token_hex(12))  # names what attacks write
    earlier: str = field(default_factory=lambda: "earlier" + secrets.token_hex(12))  # an earlier run's input

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="traps-"))
        self.folder.chmod(0o777)  # open to all: only the sandbox's walls keep it safe
        self.open_secret = self.folder / "open"
        self.closed_secret = self.folder / "closed"
        for path, mode in ((self.open_secret, 0o666), (self.closed_secret, 0o600)):
            path.write_text(f"{self.secret}\n")
            path.chmod(mode)
        self.variable = f"PLANTED_{self.secret[-8:].upper()}"
        os.environ[self.variable] = self.secret
        self.listeners = self._listen()
        self.port = self.listeners[0].getsockname()[1]
        self.victim = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        return self

    def __exit__(self, *_: object) -> None:
        for listener in self.listeners:
            listener.close()
        self.victim.kill()
        self.victim.communicate()
        del os.environ[self.variable]
        shutil.rmtree(self.folder)

    def _listen(self) -> list[socket.socket]:
        tcp = socket.create_server(("127.0.0.1", 0))
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind(tcp.getsockname())
        listeners = [tcp, udp]
        for address in (str(self.folder / "unix"), f"\0{self.token}.abstract"):
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(address)
            listener.listen()
            listeners.append(listener)
        (self.folder / "unix").chmod(0o777)
        return listeners

    def fill_in(self, source: str) -> str:
        """An attack's source with what it needs to know of the traps."""
        for name, value in {
            "@TOKEN@": self.token,
            "@SECRET_OPEN@": str(self.open_secret),
            "@SECRET_CLOSED@": str(self.closed_secret),
            "@FOLDER@": str(self.folder),
            "@PORT@": str(self.port),
            "@UNIX@": str(self.folder / "unix"),
            "@VICTIM@": str(self.victim.pid),
        }.items():
            source = source.replace(name, value)
        return source

    def look(self) -> Look:
        """The state of now."""
        shared = ((name, os.stat(name)) for name in SHARED_WITH_RUNS)
        limits = [resource.getrlimit(which) for which in range(16)]
        ours = (os.getpriority(os.PRIO_PROCESS, 0), os.sched_getaffinity(0), os.getcwd(), os.listdir("/proc/self/fd"))
        settings = ("kernel/core_pattern", "kernel/modprobe", "user/max_user_namespaces", "vm/overcommit_memory")
        return Look(
            processes=frozenset(processes()),
            files=frozenset((f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in self.folder.iterdir()),
            # Whoever writes to a device changes its time, so for those only mode and owner count.
            shared=tuple((n, s.st_mode, s.st_uid, 0 if n.startswith("/dev/") else s.st_mtime_ns) for n, s in shared),
            named=frozenset(f"{place}/{name}" for place in PLACES for name in _names(place) if self.token in name),
            process_state=(limits, *ours, threading.active_count()),
            machine=(socket.gethostname(), *(_text(Path("/proc/sys", setting)) for setting in settings)),
            clock_s=time.time() - time.monotonic(),
        )

    def changes(self, before: Look) -> list[str]:
        """What is not as it was, in words; the kernel gets a moment to finish."""
        end = time.monotonic() + SETTLE_S
        while (told := self._changes(before)) and time.monotonic() < end:
            select.select([], [], [], 0.02)
        return told

    def _changes(self, before: Look) -> list[str]:
        after = self.look()
        told = []
        if after.processes != before.processes:
            new, gone = after.processes - before.processes, before.processes - after.processes
            told.append(f"processes: new {[_described(*one) for one in new]}, gone {sorted(gone)}")
        if after.files != before.files:
            told.append(f"files of the traps: {sorted(after.files ^ before.files)}")
        if after.named != before.named:
            told.append(f"files written: {sorted(after.named - before.named)}")
        for name in ("shared", "process_state", "machine"):
            if getattr(after, name) != getattr(before, name):
                told.append(f"{name}: {getattr(before, name)} became {getattr(after, name)}")
        if abs(after.clock_s - before.clock_s) > 1.0:
            told.append(f"the clock moved by {after.clock_s - before.clock_s:.1f} s")
        called, _, _ = select.select(self.listeners, [], [], 0)
        if called:
            told.append(f"called: {[listener.getsockname() for listener in called]}")
        if self.victim.poll() is not None:
            told.append("the victim died")
        return told

    def left_by(self, users: range) -> list[str]:
        """Files in the folders open to all that belong to these users."""
        left = []
        for place in ("/tmp", "/var/tmp", "/dev/shm", "/dev/mqueue", str(self.folder)):
            for name in _names(place):
                with contextlib.suppress(OSError):
                    if os.lstat(f"{place}/{name}").st_uid in users:
                        left.append(f"{place}/{name}")
        return left


def server_users() -> list[range]:
    """The user ids that the servers of this process run as, if it is root."""
    return [range(first + os.getpid() * 64, first + os.getpid() * 64 + 64) for first in SERVER_USERS]


def processes() -> list[tuple[int, str]]:
    """(pid, when it started) of all that descend from this process or run as one of the sandbox's users."""
    parents: dict[int, int] = {}
    dead = set()  # zombies: init's business where it is the parent
    started: dict[int, str] = {}
    found = set()
    users = server_users() if os.geteuid() == 0 else []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            fields = Path("/proc", name, "stat").read_text().rpartition(")")[2].split()
            user = os.stat(f"/proc/{name}/task/{name}").st_uid if users else 0
        except OSError:
            continue
        parents[int(name)], started[int(name)] = int(fields[1]), fields[19]
        if fields[0] == "Z":
            dead.add(int(name))
        elif any(user in ours for ours in users):
            found.add(int(name))
    ours = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in ours and pid not in ours}:
        ours |= more
    return [(pid, started[pid]) for pid in (found | ours) if pid in started]


def _described(pid: int, started: str) -> str:
    return f"{pid} from {started}: {_text(Path(f'/proc/{pid}/cmdline'))[:100]!r}"


def available_mb() -> float:
    """Memory of the machine that is free or can be freed at once, in MiB.

    Free pages that lie ready for one processor count here, which MemAvailable leaves out: up to an eighth of all memory
    since Linux 6.7.
    """
    with open("/proc/zoneinfo") as file:
        ready = sum(int(line.split()[1]) for line in file if line.lstrip().startswith("count:"))
    return _meminfo_mb("MemAvailable") + ready * resource.getpagesize() / (1 << 20)


def accounted_mb() -> float:
    """Memory that is available or some living process's own, in MiB; where this shrinks, something was left behind.

    What is missing is the kernel's, or in files in memory. Other programs on the machine may grow meanwhile.
    """
    return available_mb() + _meminfo_mb("AnonPages")


def _meminfo_mb(name: str) -> float:
    with open("/proc/meminfo") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(f"{name}:")) / 1024


def _settled_mb() -> float:
    """Available memory, when the kernel has stopped freeing what ended before."""
    best = available_mb()
    while True:
        time.sleep(0.05)
        if (now := available_mb()) < best + 4:
            return max(best, now)
        best = now


class Peak:
    """While it is entered: how much memory went, and how many processes there were at once."""

    EVERY_S = 0.02

    def __enter__(self) -> Self:
        self._start_mb = self._least_mb = _settled_mb()
        self._start_processes = self._most_processes = len(processes())
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(self.EVERY_S):
            self._least_mb = min(self._least_mb, available_mb())
            self._most_processes = max(self._most_processes, len(processes()))

    @property
    def memory_mb(self) -> float:
        """Memory taken at most, in MiB, by all of the machine."""
        return self._start_mb - self._least_mb

    @property
    def processes(self) -> int:
        """Processes at most, beyond those at the start."""
        return self._most_processes - self._start_processes


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def is_alive(pid: int, started: str) -> bool:
    """Whether this process, and not a later one of the same number, still runs; a zombie does not."""
    fields = _text(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return bool(fields) and fields[19] == started and fields[0] != "Z"
