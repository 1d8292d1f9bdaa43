"""How much a run uses, over all its processes: CPU time, memory with files, processes.

The supervisor looks every few milliseconds, beside the kernel's own limits, which hold for one process each.
Memory is the resident set and the page tables of all processes plus what lies in the run's folder; where pages are
shared and the plain sum is over the limit, the proportional set size decides. Left out: the CPU time of children that
live shorter than a tick of the kernel's clock and are waited for by nobody; the wall limit ends such a run.
"""

from __future__ import annotations

import os
from typing import Any

from .program import FOLDER

_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")


class Watch:
    """Looks at one run. ``first_look_s`` after its start and then ``every_s`` are the moments to look.

    ``first`` is the first process of the run's namespace, ``ours`` are the processes outside that.
    """

    first_look_s = 0.01
    every_s = 0.02

    def __init__(self, first: int, ours: set[str], limits: dict[str, Any]) -> None:
        self.first = first
        self.limits = limits
        self.ours = ours
        self.cpu_s = 0.0  # so far, as of the last look
        self._ticks: dict[tuple[str, bytes], int] = {}  # of each process ever seen, by number and time of its start

    def look(self) -> tuple[str, str] | None:
        """Return (status, reason) if the run is over a limit, else None."""
        # A process in state Z or gone meanwhile uses nothing. Its CPU time is its parent's by then, unless the parent
        # ignores its children: so what was seen of it counts on.
        limits = self.limits
        most = limits["processes"] + 1  # the first process may be another one than the program's
        too_many = "error", f"over {limits['processes']} processes and threads"
        processes = []
        for name in os.listdir("/proc"):
            if name.isdigit() and name not in self.ours:
                processes.append(name)
                if len(processes) > most:  # said before any is looked at: where nothing else holds them, they double
                    return too_many
        ticks = resident = threads = 0
        for name in processes:
            fields = _stat(name)
            if fields is None:
                continue
            ticks += sum(map(int, fields[11:15]))  # utime, stime and those of reaped children
            self._ticks[name, fields[19]] = int(fields[11]) + int(fields[12])
            resident += int(fields[21]) * _PAGE + _unseen(name)
            threads += int(fields[17])
        self.cpu_s = max(ticks, sum(self._ticks.values())) / _TICKS
        if self.cpu_s > limits["cpu_s"]:
            return "timeout", f"over {limits['cpu_s']:g} s of CPU time"
        if threads > most:
            return too_many
        files = self._file_bytes()
        if resident + files > limits["memory_bytes"]:
            resident = sum(_proportional(name) + _unseen(name) for name in processes)
            if resident + files > limits["memory_bytes"]:
                return "memory", f"over {limits['memory_bytes']} bytes of memory and files"
        return None

    def _file_bytes(self) -> int:
        try:
            folder = os.statvfs(f"/proc/{self.first}/root{FOLDER}")
        except OSError:  # the run is ending
            return 0
        return (folder.f_blocks - folder.f_bfree) * folder.f_frsize


def _stat(name: str) -> list[bytes] | None:
    """The fields of /proc/<pid>/stat after the command's name, which may hold anything."""
    try:
        with open(f"/proc/{name}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()
    except OSError:
        return None


def _unseen(name: str) -> int:
    """Bytes that are in no resident set: what was swapped out, and page tables.

    A program can have a gigabyte of page tables that map one page of zeros over and over.
    """
    total = 0
    try:
        with open(f"/proc/{name}/status", "rb") as file:
            for line in file:
                if line.startswith((b"VmPTE:", b"VmSwap:")):
                    total += int(line.split()[1]) << 10
    except OSError:
        pass
    return total


def _proportional(name: str) -> int:
    """Proportional set size in bytes: a page that n processes share counts one n-th for each."""
    try:
        with open(f"/proc/{name}/smaps_rollup", "rb") as file:
            for line in file:
                if line.startswith(b"Pss:"):
                    return int(line.split()[1]) << 10
    except OSError:
        pass
    fields = _stat(name)
    return 0 if fields is None else int(fields[21]) * _PAGE
