"""The machine's peaks against work of known size, done here and now."""

from __future__ import annotations

import statistics
import time

import torch

from thinkery.machine.peaks import measure_peaks


def test_peaks_are_of_the_order_that_a_product_and_a_copy_reach() -> None:
    peaks = measure_peaks("cpu")
    assert set(peaks.flop_per_s) == {"bfloat16", "float32"}
    matrix, long = torch.randn(512, 512), torch.ones(4_000_000)
    products, copies = [], []
    for _ in range(9):
        started = time.perf_counter()
        matrix @ matrix
        products.append(time.perf_counter() - started)
        started = time.perf_counter()
        long.clone()
        copies.append(time.perf_counter() - started)
    # Whatever else runs on this machine: an error of units would be three orders of magnitude.
    assert 1 / 100 < peaks.flop_per_s["float32"] * statistics.median(products) / (2 * 512**3) < 100
    assert 1 / 100 < peaks.bytes_per_s * statistics.median(copies) / (2 * 16_000_000) < 100
    assert peaks.flop_per_s["bfloat16"] > 0


def test_peaks_are_measured_once() -> None:
    assert measure_peaks("cpu") is measure_peaks("cpu")
