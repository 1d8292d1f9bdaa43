"""Which walls this machine can put around untrusted programs: found out by trying, with reasons where it can't.

Two levels are safe. ``bubblewrap`` and ``landlock`` give every run user, mount, PID, network and IPC namespaces of
its own, a read-only view of the system's programs and nothing else, and a seccomp filter. They differ in who builds
that: the program bwrap, or system calls from ``inside.namespaces``, with Landlock as a second wall around files where
the kernel has it. Necessary for ``landlock``: all the namespaces, a private root, ``/proc`` and the filter; Landlock
alone would leave modes and owners of one's own files, signals and other users' sockets in reach. ``none`` is no wall
at all, for whoever asks for it by name.

Left out: starting the servers (``bubblewrap``, ``unshare``, ``unsafe``); other machines (``fusion``).
"""

from __future__ import annotations

import contextlib
import os
import platform
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from thinkery.sandbox import bubblewrap, needs, unsafe, unshare
from thinkery.sandbox.inside import landlock
from thinkery.sandbox.packages import Packages
from thinkery.sandbox.types import Limits, Status
from thinkery.sandbox.worker import Launch, Request, SandboxWorker, SandboxWorkerLost
from thinkery.types import UserError

Level = Literal["bubblewrap", "landlock", "none"]
IsolationName = Literal["auto"] | Level
LEVELS: tuple[Level, ...] = ("bubblewrap", "landlock")  # the safe ones, best first


class Launcher(Protocol):
    """Starts a server that speaks to ``control`` and shows its programs ``packages``."""

    def __call__(self, control: socket.socket, packages: Packages | None = None) -> subprocess.Popen[bytes]:
        """The server's process."""
        ...


_LAUNCH: dict[Level, Launcher] = {"bubblewrap": bubblewrap.launch, "landlock": unshare.launch, "none": unsafe.launch}
_ELSEWHERE = "run them on a SandboxFusion server: give its address as fusion_url"
_WITHOUT = "if you trust the programs with everything your account can do: --unsafe-local on the command line"
_CONTAINER_RULES = (
    "this process is under rules that forbid it, as most containers are: start the container with --security-opt "
    "seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined (Docker, Podman), or "
    "with securityContext: {seccompProfile: {type: Unconfined}, procMount: Unmasked} (Kubernetes)"
)


@dataclass(frozen=True, slots=True)
class Isolation:
    """A level that works here. ``launch`` starts a server in it, for ``SandboxWorker``."""

    level: Level
    launch: Launcher


@dataclass(frozen=True, slots=True)
class IsolationProbe:
    """What trying a level showed: whether it works, what was seen, and what to do if it doesn't."""

    level: Level
    works: bool
    detail: str
    advice: str = ""
    limited: bool = False  # the limits that thinkery was started under are the cause


_working: dict[Level, IsolationProbe] = {}


def choose_isolation(requested: IsolationName = "auto") -> Isolation:
    """Return the level asked for, or for ``auto`` the best safe one.

    Raises UserError, with the reasons and what to do, if it does not work here. ``none`` is never tried nor chosen
    by itself.
    """
    if requested == "none":
        return Isolation("none", unsafe.launch)
    tried: list[IsolationProbe] = []
    for level in LEVELS if requested == "auto" else (requested,):
        found = probe(level)
        if found.works:
            return Isolation(level, _LAUNCH[level])
        tried.append(found)
    what = "no isolation works here" if requested == "auto" else f"the isolation {requested!r} does not work here"
    reasons = [f"  {found.level}: {found.detail}" for found in tried]
    cures = [*dict.fromkeys(found.advice for found in tried), _ELSEWHERE]
    if not any(found.limited for found in tried):  # there the isolation is fine, and not to be given up
        cures.append(_WITHOUT)
    raise UserError(
        "\n".join(
            [
                f"A model's programs are not run unprotected, and {what}:",
                *reasons,
                "What helps, any of:",
                *(f"  - {cure}" for cure in cures),
            ]
        )
    )


def probe(level: Level) -> IsolationProbe:
    """Try a level: start a server with its real settings and run a program. What works is tried once a process.

    What does not is tried again when asked again: a machine out of breath recovers.
    """
    if level not in _working:
        found = _probe(level)
        if not found.works:
            return found
        _working[level] = found
    return _working[level]


def _probe(level: Level) -> IsolationProbe:
    if platform.system() != "Linux":
        advice = "use a Linux machine, or the Linux side of one (WSL, a virtual machine)"
        return IsolationProbe(level, False, f"needs Linux, and this is {platform.system()}", advice)
    try:
        complaint = _try(_LAUNCH[level])
    except UserError as error:  # something is not installed
        detail, _, advice = str(error).partition(": ")
        return IsolationProbe(level, False, detail, advice)
    if complaint:
        return _explained(level, complaint)
    return IsolationProbe(level, True, _strength(level))


def _try(launch: Launch) -> str:
    """Run a program that prints a word; return what went wrong, empty if nothing did."""
    try:
        worker = SandboxWorker(launch)
        try:
            worker.begin(Request("python", b"print('works')", Limits()))
            result, _ = worker.end()
        finally:
            worker.close()
    except SandboxWorkerLost as lost:
        return str(lost)
    if result.status is Status.OK and result.stdout == "works\n":
        return ""
    return result.reason or f"a program that prints a word ended with {result.status}: {result.stderr[-500:]}"


def _explained(level: Level, complaint: str) -> IsolationProbe:
    """What was seen of a level that does not work, and what to do."""
    refused = any(word in complaint.lower() for word in ("not permitted", "permission"))
    short = needs.shortages()
    if short and not refused and "No space left" not in complaint:  # what a switch below answers with
        problem, advice = "; ".join(one.problem for one in short), ", and ".join(one.advice for one in short)
        return IsolationProbe(level, False, f"{problem} ({complaint})", advice, limited=True)
    for path, blocking, name, cure in (
        ("user/max_user_namespaces", "0", "user.max_user_namespaces", "15000"),
        ("kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone", "1"),
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "kernel.apparmor_restrict_unprivileged_userns", "0"),
    ):
        if _setting(path) == blocking:
            advice = f"as root of the machine: sysctl -w {name}={cure}, and {name} = {cure} in /etc/sysctl.d to keep it"
            return IsolationProbe(
                level, False, f"user namespaces are switched off ({name} = {blocking}): {complaint}", advice
            )
    if refused and (_seccomp_mode() == 2 or _container()):
        return IsolationProbe(level, False, complaint, _CONTAINER_RULES)
    if level == "landlock":
        return IsolationProbe(level, False, complaint, "it needs Linux 5.12 or newer with user namespaces")
    advice = "run `bwrap --unshare-all --ro-bind / / true` to see whether bubblewrap works by itself"
    return IsolationProbe(level, False, complaint, advice)


def _setting(path: str) -> str:
    try:
        return Path("/proc/sys", path).read_text().strip()
    except OSError:
        return ""


def _seccomp_mode() -> int:
    """Of this process: 2 is under a filter, as in most containers."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("Seccomp:"):
                return int(line.split()[1])
    return 0


def _container() -> bool:
    return any(Path(path).exists() for path in ("/.dockerenv", "/run/.containerenv")) or (
        "KUBERNETES_SERVICE_HOST" in os.environ
    )


def _strength(level: Level) -> str:
    """What a working level consists of here."""
    version = landlock.abi()
    second_wall = f", Landlock (ABI {version})" if version else ", no Landlock in this kernel"
    walls = "bubblewrap, seccomp" if level == "bubblewrap" else f"system calls, seccomp{second_wall}"
    return "; ".join(filter(None, (f"namespaces by {walls}", needs.core_dumps(_setting("kernel/core_pattern")))))
