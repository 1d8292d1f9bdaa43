"""CPU workers in processes of their own: real ones, which sample what threads would and never outlive their parent."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from thinkery.machine.interrupts import INTERRUPTS
from thinkery.models.loading import Policy
from thinkery.rollout import NativeRollout
from thinkery.rollout.native import worker_processes
from thinkery.rollout.native.engine import DecodingCall
from thinkery.rollout.native.worker_processes import WORKER_PROCESSES
from thinkery.types import Completion, Problem, Sampling

pytestmark = pytest.mark.slow

DEADLINE_S = 120.0  # a busy machine imports torch
PROBLEMS = [Problem(f"p{i}", prompt, "") for i, prompt in enumerate(["12+34=", "a", "what is 3*4", "hello: ", "7*8"])]
SAMPLING = Sampling(3, max_completion_length=40)


def sample(rollout: NativeRollout, problems: list[Problem] = PROBLEMS, step: int = 0) -> Iterator[Completion]:
    return rollout.generate(problems, SAMPLING, seed=0, step=step, stage="test")


@pytest.fixture(autouse=True)
def one_thread_a_lane() -> Iterator[None]:
    """However many cores there are: a worker alone would use them all, and round otherwise."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def rollout(policy: Policy) -> NativeRollout:
    """Two workers, the second a process that is ready."""
    rollout = NativeRollout(policy, max_slots=12, workers=2)
    WORKER_PROCESSES.wait(DEADLINE_S)
    return rollout


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many problems each worker had that was worked through in this process."""
    counts: list[int] = []
    original = DecodingCall.run

    def run(call: DecodingCall) -> Iterator[list[Completion]]:
        counts.append(len(call.share.prompts))
        return original(call)

    monkeypatch.setattr(DecodingCall, "run", run)
    return counts


def by_one_worker(policy: Policy, worker: int, step: int = 0) -> list[Completion]:
    """What worker ``worker`` of two samples, by an engine that has no other."""
    return list(sample(NativeRollout(policy, max_slots=6, workers=1), PROBLEMS[worker::2], step))


def test_a_process_samples_what_a_thread_would_bit_for_bit(rollout: NativeRollout, here: list[int]) -> None:
    for step in range(2):
        got = list(sample(rollout, step=step))
        assert here == [3]  # of worker 0
        for worker in range(2):
            mine = {problem.id for problem in PROBLEMS[worker::2]}
            assert [c for c in got if c.problem_id in mine] == by_one_worker(rollout.policy, worker, step)
        assert got == list(sample(rollout, step=step))
        here.clear()


def test_what_is_learnt_is_sampled_from_at_once(rollout: NativeRollout) -> None:
    before = list(sample(rollout))
    with torch.no_grad():
        for parameter in rollout.policy.model.parameters():
            parameter.mul_(1.1)
    rollout.policy.version += 1
    after = list(sample(rollout))
    assert after != before
    assert {c.policy_version for c in after} == {1}
    for worker in range(2):
        expected = by_one_worker(rollout.policy, worker)
        assert [c for c in after if c.problem_id in {e.problem_id for e in expected}] == expected


def test_whoever_stops_early_leaves_the_process_free(rollout: NativeRollout, here: list[int]) -> None:
    expected = list(sample(rollout))
    stream = sample(rollout)
    assert next(stream) == expected[0]
    stream.close()
    here.clear()
    assert list(sample(rollout)) == expected
    assert here == [3]


def test_calls_that_overlap_sample_the_same(rollout: NativeRollout, policy: Policy) -> None:
    expected = [list(sample(rollout, step=step)) for step in range(2)]
    outer = sample(rollout, step=0)
    first = next(outer)
    inner = list(sample(NativeRollout(policy, max_slots=12, workers=2), step=1))
    assert [[first, *outer], inner] == expected


def test_an_error_in_a_process_reaches_the_caller(rollout: NativeRollout) -> None:
    tokenizer = rollout.policy.tokenizer
    tokenizer.add_tokens([f"<{number}>" for number in range(40)])  # more than the model has embeddings for
    problems = [Problem("fine", "1+1", ""), Problem("odd", "<39>", "")]
    with pytest.raises(IndexError) as caught:
        list(sample(rollout, problems))
    assert "In a sampling worker's process" in caught.value.__notes__[0]
    assert len(list(sample(rollout, problems[:1] + PROBLEMS[:1]))) == 2 * SAMPLING.num_generations


def test_the_work_of_a_process_that_is_killed_is_done_by_a_thread_and_a_new_one_starts(rollout: NativeRollout) -> None:
    expected = list(sample(rollout))
    killed = WORKER_PROCESSES.pids[0]
    os.kill(killed, signal.SIGKILL)  # before its share: on a busy machine it might be done with it otherwise
    with pytest.warns(RuntimeWarning, match=r"worker 1 ended with exit code -9 \(SIGKILL\)"):
        assert list(sample(rollout)) == expected
    assert WORKER_PROCESSES.pids[0] != killed
    assert list(sample(rollout)) == expected  # by a thread, if the new process still starts
    WORKER_PROCESSES.wait(DEADLINE_S)
    assert list(sample(rollout)) == expected


def test_a_process_that_is_killed_amid_a_share_gives_nothing_twice(
    rollout: NativeRollout, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = list(sample(rollout))
    killed = WORKER_PROCESSES.pids[0]
    receive = worker_processes._Process.receive

    def receive_and_kill(process: worker_processes._Process) -> object:
        said = receive(process)
        if isinstance(said, list) and said and process.pid == killed:
            os.kill(killed, signal.SIGKILL)
        return said

    monkeypatch.setattr(worker_processes._Process, "receive", receive_and_kill)
    with pytest.warns(RuntimeWarning, match="worker 1 ended"):
        assert list(sample(rollout)) == expected


def test_a_process_that_is_stopped_is_replaced_like_one_that_is_killed(
    rollout: NativeRollout, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = list(sample(rollout))
    monkeypatch.setattr(worker_processes, "STILL_S", 0.5)
    stopped = WORKER_PROCESSES.pids[0]
    os.kill(stopped, signal.SIGSTOP)
    with pytest.warns(RuntimeWarning, match="worker 1 had no processor time"):
        assert list(sample(rollout)) == expected
    with pytest.raises(ProcessLookupError):
        os.kill(stopped, 0)


def test_whoever_leaves_a_stopped_process_early_is_not_held_up(
    rollout: NativeRollout, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = list(sample(rollout))
    monkeypatch.setattr(worker_processes, "STILL_S", 0.5)
    stopped = WORKER_PROCESSES.pids[0]
    stream = sample(rollout)
    assert next(stream) == expected[0]
    os.kill(stopped, signal.SIGSTOP)
    stream.close()
    wait_until(lambda: is_dead(stopped))
    assert list(sample(rollout)) == expected


def is_dead(pid: int) -> bool:
    """Whether a process has ended, reaped or not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except FileNotFoundError:
        return True


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline


def test_a_run_that_is_given_up_waits_for_no_process(rollout: NativeRollout, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = list(sample(rollout))
    monkeypatch.setattr(worker_processes, "STILL_S", 3600.0)
    stopped = WORKER_PROCESSES.pids[0]
    stream = sample(rollout)
    assert next(stream) == expected[0]
    os.kill(stopped, signal.SIGSTOP)
    monkeypatch.setattr(INTERRUPTS, "leaving", threading.Event())
    INTERRUPTS.leaving.set()
    stream.close()
    wait_until(lambda: is_dead(stopped))


def test_a_process_that_cannot_start_leaves_its_work_to_a_thread_for_good(
    rollout: NativeRollout, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = list(sample(rollout))
    monkeypatch.setattr(sys, "executable", "/bin/false")
    WORKER_PROCESSES.end()
    WORKER_PROCESSES.start([1])
    for failures in range(worker_processes.MOST_FAILED_STARTS):
        assert WORKER_PROCESSES._workers[1].process.answers(DEADLINE_S)  # the end of it
        with pytest.warns(RuntimeWarning, match="from now on" if failures == 2 else "another process is started"):
            assert list(sample(rollout)) == expected
    monkeypatch.undo()
    assert list(sample(rollout)) == expected
    WORKER_PROCESSES.end()


SAMPLES_ON = """
import sys
from thinkery.models.loading import load_policy
from thinkery.models.template import TEMPLATES
from thinkery.rollout import NativeRollout
from thinkery.rollout.native.worker_processes import WORKER_PROCESSES
from thinkery.types import Problem, Sampling

policy = load_policy(sys.argv[1], template=TEMPLATES["r1-zero-compact"], device="cpu", dtype="float32")
rollout = NativeRollout(policy, workers=2)
WORKER_PROCESSES.wait(120)
print(WORKER_PROCESSES.pids[0], flush=True)
problems = [Problem(str(number), "1+1", "") for number in range(2)]
for step in range(1_000_000):
    for _ in rollout.generate(problems, Sampling(4, max_completion_length=60), seed=0, step=step, stage="test"):
        print("sampled", flush=True)
"""


def test_processes_end_with_a_parent_that_is_killed(checkpoint: Path) -> None:
    command = [sys.executable, "-c", SAMPLES_ON, str(checkpoint)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = os.pidfd_open(int(parent.stdout.readline()))
        assert parent.stdout.readline() == "sampled\n"
        parent.kill()
    try:
        assert select.select([worker], [], [], DEADLINE_S)[0], "the worker outlived its parent"
    finally:
        os.close(worker)
