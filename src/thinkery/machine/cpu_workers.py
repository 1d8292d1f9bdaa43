"""CPU workers: threads that compute side by side, each with its share of the cores.

torch spreads every operation over all cores. That pays where operations are large; a small model's are over before the
threads have met. With workers the cores share the work at hand instead (problems to sample, microbatches to learn
from), and each runs its part from one end to the other.

What a worker gets is decided before it starts, and results come in an order that does not depend on which worker was
faster. So the same work with as many workers gives the same numbers, bit for bit; with more or fewer, the same up to
rounding. Left out: GPUs, which have one worker; processes (``rollout/native/worker_processes.py``).
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import TypeVar

import torch

# Workers take turns in Python itself; with more of them than this, they would wait for that.
MOST = 4

_T = TypeVar("_T")
_R = TypeVar("_R")


def workers_on(device: torch.device) -> int:
    """How many workers to compute in: one on an accelerator, else as many as torch uses threads, up to ``MOST``."""
    return 1 if device.type != "cpu" else min(MOST, torch.get_num_threads())


class CpuWorkers:
    """A fixed number of workers: the caller's thread, and threads that wait for work."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._threads = ThreadPoolExecutor(count - 1, "cpu-worker") if count > 1 else None

    def map(self, work: Callable[[int, _T], _R], items: Sequence[_T], sizes: Sequence[int]) -> list[_R]:
        """``work(worker, item)`` for every item, results in the order of the items.

        Item after item goes to the worker that has the least to do, by ``sizes``; a worker does its items in their
        order. Raises what the first of the failing workers raised.
        """
        load = [0] * self.count
        shares: list[list[int]] = [[] for _ in load]
        for index, size in enumerate(sizes):
            worker = load.index(min(load))
            load[worker] += size
            shares[worker].append(index)
        results: dict[int, _R] = {}

        def run(worker: int) -> None:
            for index in shares[worker]:
                results[index] = work(worker, items[index])

        self._all(run, sum(map(bool, shares)))
        return [results[index] for index in range(len(items))]

    def _all(self, run: Callable[[int], None], workers: int) -> None:
        if workers < 2 or self._threads is None:
            for worker in range(workers):
                run(worker)
            return
        with narrowed(workers) as threads:

            def narrow(worker: int) -> None:
                torch.set_num_threads(threads)
                run(worker)

            others = [self._threads.submit(narrow, worker) for worker in range(1, workers)]
            try:
                run(0)
            finally:
                failed = [error for future in others if (error := future.exception()) is not None]
            if failed:
                raise failed[0]


def interleave(
    sources: Sequence[Generator[Sequence[_T], None, None]], stop: Callable[[], None] = lambda: None
) -> Generator[_T, None, None]:
    """The items of all sources: the first portion of each, the second of each, and so on. Each source has a worker.

    Sources run ahead while the caller does something else. Raises what a source raised, in its place. When the caller
    stops early, every source is closed and no worker is left running; ``stop`` hurries those that are amid a portion.
    """
    if len(sources) == 1:
        for portion in sources[0]:
            yield from portion
        return
    over = threading.Event()
    with narrowed(len(sources)) as threads:
        outs: list[queue.SimpleQueue[Sequence[_T] | BaseException | None]] = [queue.SimpleQueue() for _ in sources]
        workers = [
            threading.Thread(target=_drain, args=(source, out, over, threads), name="cpu-worker", daemon=True)
            for source, out in zip(sources, outs, strict=True)
        ]
        for worker in workers:
            worker.start()
        try:
            while outs:
                for out in list(outs):
                    got = out.get()  # a worker's last word is None or its error, whatever happens to it
                    if got is None:
                        outs.remove(out)
                    elif isinstance(got, BaseException):
                        raise got
                    else:
                        yield from got
        finally:
            stop()
            over.set()
            for worker in workers:
                worker.join()


def _drain(
    source: Generator[Sequence[_T], None, None],
    out: queue.SimpleQueue[Sequence[_T] | BaseException | None],
    over: threading.Event,
    threads: int,
) -> None:
    torch.set_num_threads(threads)
    try:
        with closing(source):
            for portion in source:
                out.put(portion)
                if over.is_set():
                    break
        out.put(None)
    except BaseException as error:
        out.put(error)


@contextmanager
def narrowed(workers: int) -> Iterator[int]:
    """Inside, this thread's operations use one worker's share of the cores, which is given."""
    threads = torch.get_num_threads()
    share = max(1, threads // workers)
    torch.set_num_threads(share)
    try:
        yield share
    finally:
        torch.set_num_threads(threads)
