"""Attacks on the sandbox, each a program in ``attacks/``, and what the host saw of them.

    python benchmarks/rewards_attacks.py

An attack succeeds when something changed on the host, a planted secret came out, it took more than its limits, the
next run in the same server saw a trace of it, or its run has another end than it should. The file's first line says
what it tries, the line with ``expect:`` how it must end: statuses | limits | ``both`` isolations, ``peak`` use
measured, ``twice`` in a row.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import host_watch
from host_watch import Host, Peak

from thinkery.sandbox import Limits, Program, RunResult, Sandbox, Status, cpp
from thinkery.sandbox.isolation import LEVELS, probe

ATTACKS = Path(__file__).parent / "attacks"
COMPILER_LIMITS = Limits(wall_s=3, cpu_s=1.5, memory_bytes=320 << 20, processes=32, file_bytes=64 << 20)
MEMORY_MARGIN_MB = 200  # of the peak, beyond the run's limit: compilers, interpreters, the rest of the machine
PROCESS_MARGIN = 8  # of the peak: the sandbox's own, and those that are dead but not yet buried
LATE_S = 5.0  # that a run may take beyond its wall time on a busy machine
TRIES = 3  # at a peak: other programs on the machine take memory, too

# What a run finds that comes into a clean world, as text; nothing in it may depend on what ran before.
CANARY = """
import builtins, errno, json, os, random, resource, signal, socket, sys, threading
def names(folder):
    try: return sorted(os.listdir(folder))
    except OSError: return None
def opened(number):
    try: os.fstat(number)
    except OSError: return False
    return True
def free(name):
    try:
        with socket.socket(socket.AF_UNIX) as one: one.bind(name)
    except OSError as error: return error.errno == errno.EAFNOSUPPORT  # refused to all
    return True
def children():
    try: return os.waitpid(-1, os.WNOHANG)
    except ChildProcessError: return None
world = {
    "folders": [os.getcwd(), *map(names, ("/", "/tmp", "/dev", "/dev/shm", "/thinkery", "/thinkery/inside"))],
    "environment": dict(os.environ), "arguments": sys.argv, "path": sys.path, "modules": sorted(sys.modules),
    "builtins": [(name, type(value).__name__, getattr(value, "__module__", "")) for name, value in
                 sorted(vars(builtins).items())],
    "works": [json.dumps([1.5, len("abc")]), random.random()],
    "limits": [resource.getrlimit(which) for which in range(16)],
    "handlers": [str(signal.getsignal(number)) for number in sorted(signal.valid_signals())],
    "mask": str(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
    "descriptors": [number for number in range(64) if opened(number)],
    "others": [threading.active_count(), children(), os.getpid(), os.getuid(), os.getgid()],
    "scheduling": [os.nice(0), sorted(os.sched_getaffinity(0)), os.sched_getscheduler(0)],
    "umask": os.umask(0), "free": free("\\0left-behind"), "name": os.uname().nodename,
    "space": (lambda s: [s.f_blocks - s.f_bfree < 64, s.f_files - s.f_ffree])(os.statvfs("/tmp")),
}
print(json.dumps(world))
"""


@dataclass(frozen=True)
class Attack:
    """One file of ``attacks/``."""

    name: str
    tries: str  # what, in words
    program: Program
    ends: frozenset[Status]
    limits: Limits
    both: bool
    peak: bool
    twice: bool


def attacks() -> list[Attack]:
    """All attacks, by name."""
    return [_read(path) for path in sorted(ATTACKS.iterdir()) if path.suffix in (".py", ".cpp")]


def _read(path: Path) -> Attack:
    source = path.read_text()
    told = re.search(r"expect: ([a-z_ ]+) \| ([a-z_=0-9. ]+?)(?: \| ([a-z ]+))?$", source, re.MULTILINE)
    assert told, f"{path} does not say how it must end"
    values = {key: float(value) for key, value in (pair.split("=") for pair in told[2].split())}
    limits = Limits(
        wall_s=values["wall_s"],
        cpu_s=values.get("cpu_s", 2.0),
        memory_bytes=int(values.get("memory_mb", 256)) << 20,
        processes=int(values.get("processes", 16)),
        file_bytes=int(values.get("file_mb", 16)) << 20,
        disk_bytes=int(values.get("disk_mb", 48)) << 20,
    )
    flags = (told[3] or "").split()
    return Attack(
        name=path.stem,
        tries=source.splitlines()[0].strip('"/ '),
        program=Program(source, "python" if path.suffix == ".py" else "cpp"),
        ends=frozenset(map(Status, told[1].split())),
        limits=limits,
        both="both" in flags,
        peak="peak" in flags,
        twice="twice" in flags,
    )


def filled_in(attack: Attack, host: Host) -> Program:
    """The attack's program, told about the host's traps."""
    return dataclasses.replace(attack.program, source=host.fill_in(attack.program.source))


class Target:
    """A sandbox of one server, to attack, and what its world looks like before the first attack."""

    def __init__(self, host: Host, sandbox: Sandbox) -> None:
        self.host = host
        self.sandbox = sandbox
        self.run("x = input()", stdin=host.earlier)  # something for later runs to look for
        self.clean = self.world()
        assert "told" not in self.clean, f"a harmless program {self.clean['told']}"

    def run(self, source: str, stdin: str | bytes = "") -> RunResult:
        """Run a harmless Python program."""
        return self.sandbox.run(Program(source), stdin, Limits(wall_s=10))

    def world(self) -> dict[str, object]:
        """What a run sees of the world; empty if it could not look."""
        told = self.run(CANARY)
        return dict(json.loads(told.stdout)) if told.ok else {"told": f"{told.status} {told.reason} {told.stderr}"}

    def attack(self, attack: Attack) -> list[str]:
        """Attack; what it achieved, in words."""
        for _ in range(TRIES):
            before = self.host.look()
            achieved, too_much = self._once(attack)
            achieved += self.aftermath(before)
            if achieved or not too_much:
                break
        return achieved + too_much

    def _once(self, attack: Attack) -> tuple[list[str], list[str]]:
        """(what it achieved, which limits it broke), in words."""
        program = filled_in(attack, self.host)
        achieved, too_much = [], []
        for _ in range(2 if attack.twice else 1):
            started = time.monotonic()
            with Peak() if attack.peak else contextlib.nullcontext() as peak:
                result = self.sandbox.run(program, "", attack.limits)
            took_s = time.monotonic() - started
            achieved += self.judge(result, attack.ends)
            if took_s > attack.limits.wall_s + LATE_S + (COMPILER_LIMITS.wall_s if program.language == "cpp" else 0):
                achieved.append(f"it took {took_s:.1f} s")
            if peak and peak.memory_mb > (attack.limits.memory_bytes >> 20) + MEMORY_MARGIN_MB:
                too_much.append(f"it took {peak.memory_mb:.0f} MiB of memory")
            if peak and peak.processes > attack.limits.processes + PROCESS_MARGIN:
                too_much.append(f"it had {peak.processes} processes")
        return achieved, too_much

    def judge(self, result: RunResult, ends: frozenset[Status]) -> list[str]:
        """What is wrong with a result."""
        achieved = []
        if result.status not in ends:
            told = f"{result.reason} {result.stdout[-500:]} {result.stderr[-500:]}"
            achieved.append(f"it ended with {result.status} {result.exit_code}: {told}")
        told = f"{result.stdout}{result.stderr}{result.reason}"
        if any(word in told for word in (self.host.secret, self.host.token, self.host.earlier)):
            achieved.append(f"what must not came out: {result.stdout[-500:]} {result.stderr[-500:]}")
        return achieved

    def aftermath(self, before: host_watch.Look) -> list[str]:
        """What is different on the host, and for the next run in the same server."""
        after = self.world()
        seen = [f"the next run sees {k}: {after.get(k)}, not {v}" for k, v in self.clean.items() if after.get(k) != v]
        if "told" in after:
            seen = [f"the next run ends with {after['told']}"]
        left = [name for users in host_watch.server_users() for name in self.host.left_by(users)]
        return seen + self.host.changes(before) + ([f"left behind: {left}"] if left else [])


# The crowd: attacks that are over soon, so that a thousand of them take a minute.
CROWD = {
    "close_output_and_go_on",
    "cpu_of_unreaped_children",
    "daemons",
    "exit_in_every_way",
    "forged_end",
    "fork_bomb",
    "fork_bomb_of_clones",
    "garbage_outlives_the_run",
    "host_unix_sockets",
    "interrupt_the_first",
    "kill_everything",
    "leave_objects",
    "locks_on_host_files",
    "many_small_files",
    "memory_in_files",
    "memory_in_lists",
    "memory_in_unix_backlog",
    "memory_of_children",
    "mounts",
    "namespaces",
    "network",
    "orphan_writes_later",
    "output_flood",
    "poison_modules",
    "stdout_in_a_garbage_socket",
    "thread_bomb",
    "zombies",
}
CROWD_WALL_S = 0.4


def crowd(host: Host, runs: int, workers: int = 8, threads: int = 64) -> dict[str, float]:
    """Many attacks at once; what is left of them when the sandbox is closed.

    ``files`` counts changed and new ones, ``memory_mb`` what is missing of the machine's memory.
    """
    chosen = [attack for attack in attacks() if attack.name in CROWD]
    before = host.look()
    started = time.monotonic()
    with Sandbox(workers=workers) as sandbox:
        for attack in chosen:  # compile them; and the machine's caches fill
            sandbox.run(filled_in(attack, host), "", attack.limits)
        accounted_mb = host_watch.accounted_mb()
        with ThreadPoolExecutor(threads) as pool:
            results = list(pool.map(lambda i: _one_of_the_crowd(sandbox, host, chosen[i % len(chosen)]), range(runs)))
    told = host.changes(before)
    left = [name for users in host_watch.server_users() for name in host.left_by(users)]
    after = host.look()
    return {
        "runs": len(results),
        "lost": sum(result.status is Status.LOST for result in results),
        "secrets": sum(host.secret in result.stdout + result.stderr for result in results),
        "processes": len(after.processes - before.processes),
        "files": len(left) + len(after.files ^ before.files) + len(after.named - before.named),
        "other": len(told),
        "memory_mb": missing_memory_mb(accounted_mb),
        "seconds": time.monotonic() - started,
    }


def missing_memory_mb(accounted_mb: float) -> float:
    """How much less memory is accounted for, in MiB; what the kernel frees soon is waited for."""
    end = time.monotonic() + 3
    while (missing := accounted_mb - host_watch.accounted_mb()) > 0 and time.monotonic() < end:
        threading.Event().wait(0.1)
    return max(0.0, missing)


def _one_of_the_crowd(sandbox: Sandbox, host: Host, attack: Attack) -> RunResult:
    limits = dataclasses.replace(attack.limits, wall_s=CROWD_WALL_S, cpu_s=0.3, memory_bytes=64 << 20)
    return sandbox.run(filled_in(attack, host), "", limits)


@contextlib.contextmanager
def hasty_compiler() -> Iterator[None]:
    """Compile bombs under smaller limits than the usual 20 seconds."""
    usual, cpp.LIMITS = cpp.LIMITS, COMPILER_LIMITS
    try:
        yield
    finally:
        cpp.LIMITS = usual


def measure() -> dict[str, float]:
    """All attacks, on every isolation that works here, and a thousand hostile runs at once."""
    tried = succeeded = 0
    with Host() as host, hasty_compiler():
        for level in LEVELS:
            if not probe(level).works:
                continue
            with Sandbox(workers=1, isolation=level) as sandbox:
                target = Target(host, sandbox)
                for attack in attacks():
                    achieved = target.attack(attack)
                    tried += 1
                    succeeded += bool(achieved)
                    if achieved:
                        print(f"{level}: {attack.name}: {achieved}", file=sys.stderr)
        told = crowd(host, 1000)
    return {
        "attacks_tried": tried,
        "attacks_succeeded": succeeded,
        "hostile_runs": told["runs"],
        "hostile_left_processes": told["processes"],
        "hostile_left_files": told["files"],
        "hostile_left_memory_mb": round(told["memory_mb"], 1),
        "hostile_seconds": round(told["seconds"], 1),
    }


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    print(json.dumps(measure(), indent=2))
