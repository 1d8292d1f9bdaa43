"""The compiled operations of decoding on a CPU (``kernels.cpp``): built once on a machine, then loaded.

Any C++ compiler will do (``CXX``, else the system's), in a second or two; the library is kept in the user's cache
folder, under a name that says what it was made from and for which processor. Where there is no compiler, ``kernels``
gives None and decoding goes through torch alone, with the same results up to rounding, in twice the time or more.
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
_INCLUDED = Path(__file__).with_name("vectors.h")
COMPILERS = ("c++", "g++", "clang++")
FLAGS = ["-std=c++17", "-O3", "-march=native", "-fPIC", "-fno-math-errno", "-fno-trapping-math"]
# Threads are torch's own: its OpenMP is in this process already, so the library doesn't bring one.
OPENMP = "-fopenmp"
WIDTHS = (32, 64, 96, 128, 256)  # of heads, in kernels.cpp
MULTIPLE = 32  # what a row's length is divided by: two vectors of the longest
_COMPILE_DEADLINE_S = 120
_TYPES = {torch.float32: "float32", torch.bfloat16: "bfloat16"}


class CacheView(ctypes.Structure):
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
    """A table of tensors' places, as ``CacheView`` takes it."""
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
        self._attend.argtypes = [POINTER(CacheView), POINTER(Heads), c_int64, *[c_void_p] * 5, c_int]
        self._add_norm = library[f"add_norm_{name}"]
        self._add_norm.argtypes = [c_int64, c_int64, *[c_void_p] * 3, c_float, c_void_p, c_int]
        self._gate = library[f"gate_{name}"]
        self._gate.argtypes = [c_int64, c_int64, c_void_p, c_void_p, c_int]
        self._sample = library[f"sample_{name}"]
        self._sample.argtypes = [c_int64, c_int64, c_int64, c_float, *[c_void_p] * 4, c_int]
        for function in (self._attend, self._add_norm, self._gate, self._sample):
            function.restype = None

    def attend(
        self,
        cache: CacheView,
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
            cache,
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

    def sample(
        self, logits_SV: torch.Tensor, u_S: torch.Tensor, temperature: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Draws a token a row by inverse CDF -> tokens [S] int64 and their log-probabilities [S] float32."""
        rows, vocabulary = logits_SV.shape
        tokens_S, logprobs_S = torch.empty(rows, dtype=torch.long), torch.empty(rows)
        self._sample(
            rows,
            vocabulary,
            logits_SV.stride(0),
            temperature,
            logits_SV.data_ptr(),
            u_S.data_ptr(),
            tokens_S.data_ptr(),
            logprobs_S.data_ptr(),
            torch.get_num_threads(),
        )
        return tokens_S, logprobs_S


@cache
def kernels(dtype: torch.dtype) -> Kernels | None:
    """The operations of an element type, compiled if need be; None if they can't be had on this machine."""
    library = _library() if dtype in _TYPES else None
    return None if library is None else Kernels(library, dtype)


def words() -> str:
    """For people: where the compiled operations are, or what would bring them."""
    library = _library()
    missing = "none; with a C++ compiler (apt-get install g++) sampling on a CPU takes half the time or less"
    return missing if library is None else str(library._name)


@cache
def _library() -> ctypes.CDLL | None:
    compiler = next(filter(None, map(shutil.which, [os.environ.get("CXX", ""), *COMPILERS])), None)
    if compiler is None:
        return None
    for flags in ([*FLAGS, OPENMP], FLAGS):
        try:
            return _built(compiler, flags)
        except (OSError, subprocess.SubprocessError):  # no OpenMP of that kind here, or nothing that compiles
            continue
    return None


def _built(compiler: str, flags: Sequence[str]) -> ctypes.CDLL:
    """The library, compiled unless it is there already. Raises ``SubprocessError`` or ``OSError`` if it can't be."""
    texts = [SOURCE.read_text(), _INCLUDED.read_text()]
    made_from = "\n".join([*texts, compiler, *flags, _version(compiler), _processor()])
    name = f"kernels-{hashlib.sha256(made_from.encode()).hexdigest()[:16]}.so"
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "thinkery"
    if not (folder / name).exists():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _compile(compiler, flags, folder / name)
        except OSError:  # nothing can be kept: it is compiled for this process alone
            with tempfile.TemporaryDirectory() as other:
                _compile(compiler, flags, Path(other) / name)
                return ctypes.CDLL(str(Path(other) / name))
    return ctypes.CDLL(str(folder / name))


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
