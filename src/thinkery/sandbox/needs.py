"""Which of the limits that thinkery was started under are too small for the sandbox, and what raises them.

The sandbox works within whatever it inherits (``inside.inherited``); below a few figures no server starts. Those are
named here with their value and with what is needed, since the complaint of what broke names neither. Left out: limits
that a control group sets; they refuse nothing, and end processes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import resource
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from thinkery.sandbox.inside import inherited, program
from thinkery.sandbox.types import Limits

# What a server and a small program get by with, measured on Linux 6 with Python 3.11 and doubled, or more.
_PROCESSES = 12
_FILES_BESIDE_SOURCES = 20
_OTHERS = {
    resource.RLIMIT_AS: 64 << 20,
    resource.RLIMIT_CPU: 2,
    resource.RLIMIT_DATA: 32 << 20,
    resource.RLIMIT_FSIZE: 64 << 10,
    resource.RLIMIT_STACK: 256 << 10,
}
_ITEMS = {  # as limits.conf and containers call them
    resource.RLIMIT_AS: "as",
    resource.RLIMIT_CPU: "cpu",
    resource.RLIMIT_DATA: "data",
    resource.RLIMIT_FSIZE: "fsize",
    resource.RLIMIT_NOFILE: "nofile",
    resource.RLIMIT_NPROC: "nproc",
    resource.RLIMIT_STACK: "stack",
}


@dataclass(frozen=True, slots=True)
class Shortage:
    """A limit of this process that is too small for the sandbox."""

    which: int
    soft: int
    hard: int
    needed: int

    @property
    def problem(self) -> str:
        """What is too small, and what is needed."""
        return (
            f"{inherited.shown(self.which, self.soft)}; the sandbox needs {inherited.amount(self.which, self.needed)}"
        )

    @property
    def advice(self) -> str:
        """How to raise it."""
        kind, item = inherited.KINDS[self.which], _ITEMS[self.which]
        needed = inherited.amount(self.which, self.needed)
        if inherited.lesser(self.hard, self.needed) == self.needed:  # the soft limit alone is in the way
            number = -(-self.needed // kind.size)
            return f"in the shell that starts thinkery: ulimit -S{kind.letter} {number}"
        return (
            f"raise the hard limit on {kind.what} to {needed} or more where it was set: {item} in "
            f"/etc/security/limits.conf, Limit{item.upper()}= of a systemd unit, --ulimit {item}= of a container"
        )


def shortages() -> list[Shortage]:
    """The limits of this process that are too small for the sandbox."""
    found = []
    for which, needed in needs().items():
        soft, hard = resource.getrlimit(which)
        if inherited.lesser(soft, needed) != needed:
            found.append(Shortage(which, soft, hard, needed))
    return found


def needs() -> dict[int, int]:
    """What the sandbox needs of each limit, beside what this process and its user have taken already."""
    with contextlib.suppress(OSError):
        sources = len(list(Path(inherited.__file__).parent.glob("*.py")))  # bubblewrap is handed each one open
        files = len(os.listdir("/proc/self/fd")) + sources + _FILES_BESIDE_SOURCES
        taken = 0 if os.geteuid() == 0 else sum(_threads_of(os.geteuid()))  # root's servers have a user of their own
        return {resource.RLIMIT_NOFILE: files, resource.RLIMIT_NPROC: taken + _PROCESSES, **_OTHERS}
    return dict(_OTHERS)


def lowered() -> list[str]:
    """The limits of programs that are lower here than the sandbox would set them, each with what is left."""
    request = {"kind": "native", "limits": dataclasses.asdict(Limits())}
    wanted = {which: hard for which, (_, hard) in program.wanted_limits(request).items()}
    return [
        f"{inherited.shown(which, left)}, and the sandbox would allow {inherited.amount(which, wanted[which])}"
        for which, left in inherited.lowered(wanted).items()
    ]


def core_dumps(pattern: str) -> str:
    """What a crash still starts on a machine with this ``kernel.core_pattern``; empty if nothing.

    Only a limit of 1 byte keeps a handler of core dumps from being started, and nobody can raise a hard limit of 0.
    """
    if not pattern.startswith("|") or resource.getrlimit(resource.RLIMIT_CORE)[1] != 0:
        return ""
    return "a crash starts this machine's handler of core dumps, as thinkery was started under ulimit -Hc 0"


def _threads_of(user: int) -> Iterator[int]:
    """How many threads each process of a user has, as far as one can see."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            fields = dict(
                line.split(":\t", 1) for line in (folder / "status").read_text().splitlines() if ":\t" in line
            )
            if int(fields["Uid"].split()[0]) == user:
                yield int(fields["Threads"])
