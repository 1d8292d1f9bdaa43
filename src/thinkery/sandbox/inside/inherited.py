"""The limits that a process was started under: worked within, never raised above the hard one, and told by name.

A hardened system starts everything under hard limits (``ulimit -H``), which only root can raise. What the sandbox sets
for a run is therefore the lesser of what the run wants and what is left, and a run that fails for want of the rest is
told so. Standard library, Python 3.9: it runs inside the sandbox, and on the host. Left out: which limits are too small
for the sandbox itself (``needs``, on the host).
"""

from __future__ import annotations

import contextlib
import resource
import signal
from collections.abc import Mapping
from typing import NamedTuple

UNLIMITED = resource.RLIM_INFINITY
SERVER_FILES, SERVER_STACK = 256, 8 << 20  # more descriptors would take longer to close in every run


class Kind(NamedTuple):
    """How people know a limit: what it is of, the letter of ``ulimit``, and how many of ours make one of its units."""

    what: str
    letter: str
    unit: str
    size: int


KINDS = {
    resource.RLIMIT_AS: Kind("address space", "v", "KiB", 1 << 10),
    resource.RLIMIT_CPU: Kind("CPU time of a process", "t", "s", 1),
    resource.RLIMIT_DATA: Kind("data of a process", "d", "KiB", 1 << 10),
    resource.RLIMIT_FSIZE: Kind("the size of a file", "f", "KiB", 1 << 10),
    resource.RLIMIT_NOFILE: Kind("open files", "n", "", 1),
    resource.RLIMIT_NPROC: Kind("processes of a user", "u", "", 1),
    resource.RLIMIT_STACK: Kind("the stack", "s", "KiB", 1 << 10),
}
_ENDED_BY: dict[int, int] = {
    signal.SIGXCPU: resource.RLIMIT_CPU,
    signal.SIGSEGV: resource.RLIMIT_STACK,
    signal.SIGXFSZ: resource.RLIMIT_FSIZE,
}


def lesser(one: int, other: int) -> int:
    """The stricter of two limits."""
    if UNLIMITED in (one, other):
        return one if other == UNLIMITED else other
    return min(one, other)


def set_limit(which: int, soft: int, hard: int) -> None:
    """Set a limit, or as much of it as the hard limit leaves."""
    hard = lesser(hard, resource.getrlimit(which)[1])
    resource.setrlimit(which, (lesser(soft, hard), hard))


def use_all() -> None:
    """Raise the soft limits of this process, which its starter may have lowered, as far as the sandbox needs them."""
    wanted = dict.fromkeys((resource.RLIMIT_AS, resource.RLIMIT_CPU, resource.RLIMIT_DATA), UNLIMITED)
    wanted |= {resource.RLIMIT_FSIZE: UNLIMITED, resource.RLIMIT_NPROC: UNLIMITED}
    wanted |= {resource.RLIMIT_NOFILE: SERVER_FILES, resource.RLIMIT_STACK: SERVER_STACK}
    for which, most in wanted.items():
        soft, hard = resource.getrlimit(which)
        raised = lesser(most, hard)
        if lesser(soft, raised) != raised:
            with contextlib.suppress(OSError, ValueError):  # some containers forbid the call
                resource.setrlimit(which, (raised, hard))


def lowered(wanted: Mapping[int, int]) -> dict[int, int]:
    """Those of the wanted limits that this process can't give, with what it has."""
    hard = {which: resource.getrlimit(which)[1] for which in wanted if which in KINDS}
    return {which: most for which, most in hard.items() if lesser(most, wanted[which]) != wanted[which]}


def blamed(low: Mapping[int, int], status: str, ended_by: int, compiling: bool) -> str:
    """Which of the lowered limits may have ended a run, in words; empty if none.

    A compiler that fails is told every one of them: what it was refused it says in words of its own.
    """
    suspects = list(low) if compiling and status != "ok" else []
    suspects += [resource.RLIMIT_AS, resource.RLIMIT_DATA] if status == "memory" else []
    if ended_by in _ENDED_BY:
        suspects.append(_ENDED_BY[ended_by])
    return "; ".join(shown(which, low[which]) for which in dict.fromkeys(suspects) if which in low)


def shown(which: int, value: int) -> str:
    """A limit and its value as people know them."""
    kind = KINDS[which]
    return f"the limit on {kind.what} that thinkery was started under is {amount(which, value)} (ulimit -{kind.letter})"


def amount(which: int, value: int) -> str:
    """A limit's value in the unit that ``ulimit`` counts in."""
    kind = KINDS[which]
    return f"{value // kind.size} {kind.unit}".strip()
