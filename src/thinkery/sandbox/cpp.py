"""C++ in the sandbox: the compiler's command, its limits, and the binaries it made.

The compiler is a program like any other: it runs untrusted input under limits, in a run of its own. Its binary comes
back to the host as opaque bytes and goes into later runs from there, so no run can reach another program's binary.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
import threading
from collections import OrderedDict

from thinkery.sandbox.types import Limits, RunResult, Status
from thinkery.sandbox.worker import Request
from thinkery.types import UserError

LIMITS = Limits(wall_s=20.0, cpu_s=20.0, memory_bytes=1 << 30, processes=32, disk_bytes=128 << 20, file_bytes=64 << 20)
SOURCE = "/tmp/program.cpp"
BINARY = "/tmp/program"
FLAGS = ("-O2", "-std=c++20", "-pipe", "-fdiagnostics-color=never")
CACHE_BYTES = 64 << 20


def request(source: bytes) -> Request:
    """What a worker is to do to compile. Raises UserError without a compiler."""
    command = (compiler(), *FLAGS, "-o", BINARY, SOURCE)
    return Request("compile", source, LIMITS, command=command, source_path=SOURCE, artifact=BINARY)


def compiler() -> str:
    """The path of the system's C++ compiler, links resolved. Raises UserError if there is none."""
    for name in ("g++", "clang++", "c++"):
        found = shutil.which(name, path="/usr/bin:/bin:/usr/local/bin")
        if found is not None:
            return os.path.realpath(found)
    raise UserError("There is no C++ compiler here: install the package 'g++' (or 'clang') to run C++ programs.")


def failure(result: RunResult) -> RunResult:
    """The result of a program that did not compile, from the compiler's."""
    if result.status is Status.LOST:
        return result
    message = result.reason or ("" if result.status is Status.ERROR else result.status)
    reason = message and f"the compiler: {message}"
    return dataclasses.replace(result, status=Status.COMPILE_ERROR, stdout="", reason=reason)


class BinaryCache:
    """The binaries used last, by their source, up to a total size. Thread-safe."""

    def __init__(self) -> None:
        self._binaries: OrderedDict[bytes, bytes] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, source: bytes) -> bytes | None:
        """The binary of a source, if it is still here."""
        key = hashlib.sha256(source).digest()
        with self._lock:
            if key in self._binaries:
                self._binaries.move_to_end(key)
            return self._binaries.get(key)

    def put(self, source: bytes, binary: bytes) -> None:
        """Keep a binary, and let go of the ones not used for longest."""
        with self._lock:
            self._bytes += len(binary) - len(self._binaries.pop(key := hashlib.sha256(source).digest(), b""))
            self._binaries[key] = binary
            while self._bytes > CACHE_BYTES:
                self._bytes -= len(self._binaries.popitem(last=False)[1])
