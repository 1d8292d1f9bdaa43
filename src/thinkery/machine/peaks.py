"""What this machine can do at most, measured: matrix products in bf16 and fp32, and bytes moved.

A profile says how near to these a step comes. They are what torch itself reaches here in its best case, large square
products and long rows, with as many threads as it uses: not a data sheet's figures, which no program sees. Left out:
caches (the arrays are larger than most), and products of narrow shapes, which are slower and are the caller's affair.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import torch

_REPEATS, _SECONDS, _DEADLINE_S = 5, 0.3, 3.0  # repeat so often and so long, but stop at the deadline


@dataclass(frozen=True)
class Peaks:
    """FLOP/s of matrix products by dtype ("bfloat16", "float32"; an addition with a multiplication is two), bytes/s."""

    flop_per_s: dict[str, float]
    bytes_per_s: float


@cache
def measure_peaks(device: str = "cpu") -> Peaks:
    """The peaks of a torch device, each the median of repeats, looked up once a process. Takes some seconds."""
    place = torch.device(device)
    dtypes = (torch.bfloat16, torch.float32)
    with torch.no_grad():
        flop_per_s = {str(dtype).removeprefix("torch."): _product_peak(place, dtype) for dtype in dtypes}
        return Peaks(flop_per_s, _memory_peak(place))


def _product_peak(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of the better of two sizes of square matrices."""
    best = 0.0
    for size in (1024, 2048) if device.type == "cpu" else (4096, 8192):
        left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
        out = torch.empty_like(left)
        seconds = _median_seconds(partial(torch.mm, left, right, out=out), device)
        best = max(best, 2 * size**3 / seconds)
    return best


def _memory_peak(device: torch.device) -> float:
    """Bytes/s of the fastest of a copy (which reads and writes), a sum and a matrix times a vector (which read)."""
    rows, columns = (8192, 8192) if device.type == "cpu" else (16384, 16384)  # 256 MiB, 1 GiB of fp32
    matrix = torch.ones(rows, columns, device=device)
    other = torch.empty_like(matrix)
    vector, out = torch.ones(columns, device=device), torch.empty(rows, device=device)
    size = matrix.numel() * matrix.element_size()
    work: tuple[tuple[int, Callable[[], object]], ...] = (
        (2 * size, partial(other.copy_, matrix)),
        (size, matrix.sum),
        (size, partial(torch.mv, matrix, vector, out=out)),
    )
    return max(moved / _median_seconds(run, device) for moved, run in work)


def _median_seconds(run: Callable[[], object], device: torch.device) -> float:
    """Seconds of one call, after one that doesn't count."""
    seconds: list[float] = []
    deadline = time.perf_counter() + _DEADLINE_S
    _timed(run, device)
    while not seconds or (
        (len(seconds) < _REPEATS or sum(seconds) < _SECONDS) and time.perf_counter() + seconds[-1] < deadline
    ):
        seconds.append(_timed(run, device))
    return statistics.median(seconds)


def _timed(run: Callable[[], object], device: torch.device) -> float:
    started = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started
