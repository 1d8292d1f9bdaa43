"""What goes into the sandbox and what comes out. Plain data only."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Literal

from thinkery.types import UserError

Language = Literal["python", "cpp"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What one run may use. Over a limit, the whole run is ended."""

    wall_s: float = 10.0
    cpu_s: float = 5.0  # of all its processes together
    memory_bytes: int = 512 << 20  # of all its processes and its files together
    processes: int = 16  # threads count
    open_files: int = 64  # a process
    file_bytes: int = 16 << 20  # of one file
    disk_bytes: int = 64 << 20  # of all files; they live in memory
    output_bytes: int = 1 << 20  # of standard output and standard error each; more is cut off and ends the run

    def __post_init__(self) -> None:
        for field in fields(self):
            if not getattr(self, field.name) > 0:
                raise UserError(f"A sandbox's limit must be above 0; {field.name} is {getattr(self, field.name)}.")


@dataclass(frozen=True, slots=True)
class Program:
    """Untrusted source code."""

    source: str
    language: Language = "python"


class Status(StrEnum):
    """How a run ended."""

    OK = "ok"  # exit code 0
    ERROR = "error"  # another exit code, or a signal
    COMPILE_ERROR = "compile_error"  # ``stderr`` says why
    TIMEOUT = "timeout"  # wall or CPU
    MEMORY = "memory"
    OUTPUT = "output"  # wrote too much
    LOST = "lost"  # the sandbox itself broke; the run says nothing about the program


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run ended and what it wrote. Text that is not UTF-8 has U+FFFD in its place."""

    status: Status
    exit_code: int | None
    stdout: str
    stderr: str
    wall_s: float
    cpu_s: float
    reason: str = ""  # for people, empty if the status says it all

    @property
    def ok(self) -> bool:
        """Whether the program ended by itself with exit code 0."""
        return self.status is Status.OK
