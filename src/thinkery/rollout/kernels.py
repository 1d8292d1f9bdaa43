"""The compiled operations of decoding on a CPU (``kernels.cpp``): built once on a machine, then loaded.

Any C++ compiler will do (``CXX``, else the system's), in a second or two; the library is kept in the user's cache
folder, under a name that says what it was made from and for which processor. Where there is no compiler, ``kernels``
gives None and decoding goes through torch alone, with the same results up to rounding and at a fraction of the speed.
Left out: what the operations are for (``decoder.py``).
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from ctypes import POINTER, c_float, c_int, c_int64, c_void_p
from functools import cache
from pathlib import Path

import torch

SOURCE = Path(__file__).with_suffix(".cpp")
COMPILERS = ("c++", "g++", "clang++")
# Vectors need sums in any order; nothing here relies on the sign of zero or on floating-point exceptions.
FLAGS = (
    "-std=c++17 -O3 -march=native -fPIC "
    "-fno-math-errno -fno-trapping-math -fassociative-math -fno-signed-zeros -freciprocal-math"
).split()
# Threads are torch's own: its OpenMP is in this process already, so the library doesn't bring one.
OPENMP = "-fopenmp"
WIDTHS = (32, 64, 96, 128, 256)  # of heads, in kernels.cpp
_COMPILE_DEADLINE_S = 120
_TYPES = {torch.float32: "float32", torch.bfloat16: "bfloat16"}


class Cohort(ctypes.Structure):
    """``kernels.cpp``'s view of a cohort's cache."""

    _fields_ = [
        ("rows", c_int64),
        ("prompt_columns", c_int64),
        ("age", c_int64),
        ("block", c_int64),
        ("problem", c_void_p),
        ("prompt_length", c_void_p),
        ("prompt", POINTER(c_void_p)),
        ("blocks", POINTER(c_void_p)),
    ]


def addresses(of: Sequence[int]) -> ctypes.Array[c_void_p]:
    """A table of tensors' places, as ``Cohort`` takes it."""
    return (c_void_p * len(of))(*of)


class Heads(ctypes.Structure):
    """What a layer's attention has besides its matrices; the norms' weights are float32, None where there are none."""

    _fields_ = [
        ("query", c_int64),
        ("key", c_int64),
        ("width", c_int64),
        ("query_norm", c_void_p),
        ("key_norm", c_void_p),
        ("epsilon", c_float),
        ("scaling", c_float),
    ]


class Kernels:
    """The operations of one element type. Tensors are contiguous, in the shapes that ``kernels.cpp`` gives."""

    def __init__(self, library: ctypes.CDLL, dtype: torch.dtype) -> None:
        name = _TYPES[dtype]
        self._attend = library[f"attend_{name}"]
        self._attend.argtypes = [POINTER(Cohort), POINTER(Heads), c_int64, *[c_void_p] * 5, c_int]
        self._add_norm = library[f"add_norm_{name}"]
        self._add_norm.argtypes = [c_int64, c_int64, *[c_void_p] * 3, c_float, c_void_p, c_int]
        self._gate = library[f"gate_{name}"]
        self._gate.argtypes = [c_int64, c_int64, c_void_p, c_void_p, c_int]
        for function in (self._attend, self._add_norm, self._gate):
            function.restype = None

    def attend(
        self,
        cohort: Cohort,
        heads: Heads,
        layer_idx: int,
        qkv: torch.Tensor,
        positions_S: torch.Tensor,
        cos_TD: torch.Tensor,
        sin_TD: torch.Tensor,
        out: torch.Tensor,
    ) -> None:
        """One token a row: normed, rotated, kept in the cache's open column, and what it attends to, in ``out``."""
        self._attend(
            cohort,
            heads,
            layer_idx,
            qkv.data_ptr(),
            positions_S.data_ptr(),
            cos_TD.data_ptr(),
            sin_TD.data_ptr(),
            out.data_ptr(),
            torch.get_num_threads(),
        )

    def add_norm(
        self,
        rows: int,
        hidden: torch.Tensor,
        more: torch.Tensor | None,
        weight: torch.Tensor,
        epsilon: float,
        out: torch.Tensor,
    ) -> None:
        """``hidden += more``, in float32, for the first ``rows``; its RMS norm in ``out``."""
        self._add_norm(
            rows,
            hidden.shape[1],
            hidden.data_ptr(),
            None if more is None else more.data_ptr(),
            weight.data_ptr(),
            epsilon,
            out.data_ptr(),
            torch.get_num_threads(),
        )

    def gate(self, rows: int, gate_up: torch.Tensor, out: torch.Tensor) -> None:
        """silu(gate) * up, [rows, 2 * width] -> ``out`` [rows, width]."""
        self._gate(rows, out.shape[1], gate_up.data_ptr(), out.data_ptr(), torch.get_num_threads())


@cache
def kernels(dtype: torch.dtype) -> Kernels | None:
    """The operations of an element type, compiled if need be; None if they can't be had on this machine."""
    library = _library() if dtype in _TYPES else None
    return None if library is None else Kernels(library, dtype)


def words() -> str:
    """For people: where the compiled operations are, or what would bring them."""
    library = _library()
    if library is None:
        return "none; a C++ compiler (apt-get install g++) makes sampling on a CPU several times as fast"
    return library._name


@cache
def _library() -> ctypes.CDLL | None:
    compiler = next(filter(None, map(shutil.which, [os.environ.get("CXX", ""), *COMPILERS])), None)
    if compiler is None:
        return None
    for flags in ([*FLAGS, OPENMP], FLAGS):
        try:
            return ctypes.CDLL(str(_built(compiler, flags)))
        except (OSError, subprocess.SubprocessError):  # no OpenMP of that kind here, or nothing that compiles
            continue
    return None


def _built(compiler: str, flags: Sequence[str]) -> Path:
    """The library's file, compiled unless it is there already. Raises ``SubprocessError`` if it doesn't compile."""
    made_from = "\n".join([SOURCE.read_text(), compiler, *flags, _version(compiler), _processor()])
    name = f"kernels-{hashlib.sha256(made_from.encode()).hexdigest()[:16]}.so"
    for folder in _folders():
        if (folder / name).exists():
            return folder / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _compile(compiler, flags, folder / name)
        except OSError:  # it can't be written there
            continue
        return folder / name
    raise OSError("no folder to keep a library in")


def _folders() -> list[Path]:
    """Where a library may be kept: the user's cache, else a folder for temporary files, of this user's own."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "thinkery"
    return [cache, Path(tempfile.gettempdir()) / f"thinkery-{os.getuid()}"]


def _compile(compiler: str, flags: Sequence[str], path: Path) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".compiling-") as name:
        compiled, linked = Path(name) / "kernels.o", Path(name) / "kernels.so"
        # Linked without the flags: -fopenmp would add an OpenMP of the compiler's.
        for command in (
            [compiler, *flags, "-c", str(SOURCE), "-o", str(compiled)],
            [compiler, "-shared", str(compiled), "-o", str(linked)],
        ):
            subprocess.run(command, check=True, capture_output=True, timeout=_COMPILE_DEADLINE_S)
        os.replace(linked, path)


def _version(compiler: str) -> str:
    command = [compiler, "--version"]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=_COMPILE_DEADLINE_S).stdout


def _processor() -> str:
    """What -march=native depends on: a home folder may be shared by machines of several kinds."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() + platform.machine()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "") + platform.machine()
