"""Workers: what goes where, in which order it comes back, and what is left when something fails."""

from __future__ import annotations

import threading
from collections.abc import Generator

import pytest
import torch

from thinkery.machine.cpu_workers import MOST, CpuWorkers, interleave, narrowed, workers_on


def test_items_go_where_there_is_least_to_do_and_results_keep_the_items_order() -> None:
    workers = CpuWorkers(3)
    seen: dict[int, list[str]] = {0: [], 1: [], 2: []}

    def work(worker: int, item: str) -> str:
        seen[worker].append(item)
        return item.upper()

    assert workers.map(work, ["a", "b", "c", "d", "e"], [5, 3, 1, 1, 2]) == ["A", "B", "C", "D", "E"]
    assert seen == {0: ["a"], 1: ["b"], 2: ["c", "d", "e"]}
    assert workers.map(work, [], []) == []


def test_lanes_run_at_the_same_time_each_with_its_share_of_the_threads() -> None:
    everybody = threading.Barrier(2, timeout=30.0)

    def work(_: int, item: int) -> int:
        everybody.wait()  # breaks if one worker waited for the other
        return torch.get_num_threads()

    threads = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        assert CpuWorkers(2).map(work, [0, 1], [1, 1]) == [2, 2]
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("failing", [0, 1])
def test_a_workers_error_reaches_the_caller_and_the_next_call_works(failing: int) -> None:
    workers = CpuWorkers(2)

    def work(worker: int, item: int) -> int:
        if worker == failing and item < 2:
            raise ValueError(f"worker {worker}")
        return item

    with pytest.raises(ValueError, match=f"worker {failing}"):
        workers.map(work, [0, 1], [1, 1])
    assert workers.map(work, [2, 3], [1, 1]) == [2, 3]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_sources_take_turns_however_fast_they_are(count: int) -> None:
    def source(number: int) -> Generator[list[tuple[int, int]], None, None]:
        for portion in range(number + 1):
            yield [(portion, number)] * portion  # portions of 0, 1, 2, ... items

    expected = [
        (portion, number) for portion in range(count) for number in range(portion, count) for _ in range(portion)
    ]
    assert list(interleave([source(number) for number in range(count)])) == expected


def test_a_sources_error_comes_in_its_place() -> None:
    def fails() -> Generator[list[int], None, None]:
        yield [1]
        raise ValueError("no more")

    def goes_on() -> Generator[list[int], None, None]:
        while True:
            yield [2]

    items = interleave([fails(), goes_on()])
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(ValueError, match="no more"):
        next(items)
    assert not [thread for thread in threading.enumerate() if thread.name == "cpu-worker"]


def test_an_accelerator_is_one_worker_and_a_cpu_has_one_a_thread() -> None:
    assert workers_on(torch.device("cuda")) == 1
    with narrowed(torch.get_num_threads()):
        assert workers_on(torch.device("cpu")) == 1
    threads = torch.get_num_threads()
    torch.set_num_threads(MOST + 1)
    try:
        assert workers_on(torch.device("cpu")) == MOST
    finally:
        torch.set_num_threads(threads)
