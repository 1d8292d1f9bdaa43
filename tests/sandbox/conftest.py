"""What the sandbox's tests share: one warm sandbox, and a look at the machine from outside."""

from __future__ import annotations

import os
import resource
import select
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from thinkery.sandbox import Limits, RunResult, Sandbox, run_cpp, run_python


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    """Two warm workers."""
    with Sandbox(workers=2) as sandbox:
        yield sandbox


@pytest.fixture
def python(sandbox: Sandbox) -> Callable[..., RunResult]:
    """``python(source, stdin, wall_s=...)``: run Python source; keywords are limits."""

    def run(source: str, stdin: str | bytes = "", **limits: float) -> RunResult:
        return run_python(source, stdin, limits=Limits(**limits), sandbox=sandbox)  # type: ignore[arg-type]

    return run


@pytest.fixture
def cpp(sandbox: Sandbox) -> Callable[..., RunResult]:
    """The same for C++."""

    def run(source: str, stdin: str | bytes = "", **limits: float) -> RunResult:
        return run_cpp(source, stdin, limits=Limits(**limits), sandbox=sandbox)  # type: ignore[arg-type]

    return run


def children_of(root: int) -> set[int]:
    """All processes of the machine that descend from one."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    found: set[int] = set()
    level = {root}
    while level:
        level = {process for process, parent in parents.items() if parent in level}
        found |= level
    return found


@pytest.fixture
def descendants() -> Callable[[int], set[int]]:
    """``descendants(pid)``: the processes of the machine that descend from one."""
    return children_of


@pytest.fixture
def ends() -> Callable[[set[int]], bool]:
    """``ends(pids)``: whether all of these processes end within 20 seconds."""

    def wait(processes: set[int]) -> bool:
        for process in processes:
            with suppress(ProcessLookupError):
                descriptor = os.pidfd_open(process)
                try:
                    if not select.select([descriptor], [], [], 20)[0]:
                        return False
                finally:
                    os.close(descriptor)
        return True

    return wait


@pytest.fixture
def under() -> Callable[[Mapping[str, int]], Callable[[], None]]:
    """``under({"CORE": 0})``: what a child process is to do first so that it has these hard limits."""

    def lower(limits: Mapping[str, int]) -> Callable[[], None]:
        def first() -> None:
            for name, hard in limits.items():
                which = getattr(resource, f"RLIMIT_{name}")
                resource.setrlimit(which, (hard, hard))

        return first

    return lower
