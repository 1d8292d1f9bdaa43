"""Ctrl-C and SIGTERM, sent to real runs: they stop promptly, save, say how to go on, and what goes on is the same."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from thinkery.files import sha256_of

DEADLINE_S = 240.0  # a busy machine imports torch
LONG_S = 3600  # what must not be waited for
RECIPE = """
name: tiny
base: {base}
template: r1-compact
stages:
  - name: zero
    kind: rl
    from: base
    problems: {{source: mini, seed: 1}}
    rewards: {{format: 1, length: {{weight: 1, buffer: 20}}}}
    steps: 12
    learning_rate: 0.001
    num_problems: 4
    num_generations: 4
    max_completion_length: 24
    save_steps: 1000
    device: cpu
"""
TIMES = ("time", "seconds", "tokens_per_second")


def heed() -> None:
    """Who starts the tests in the background, or with nohup, has them and their children ignore these."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@contextmanager
def started(*arguments: object, cwd: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, *map(str, arguments)]
    pipe = subprocess.PIPE
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, stdout=pipe, stderr=pipe, text=True, cwd=cwd, env=environment, preexec_fn=heed, start_new_session=True
    ) as child:
        try:
            yield child
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)


def wait_until(condition: Callable[[], bool]) -> None:
    tick = threading.Event()
    for _ in range(int(DEADLINE_S / 0.01)):
        if condition():
            return
        tick.wait(0.01)
    raise AssertionError("it did not happen")


def steps_of(folder: Path) -> list[dict[str, Any]]:
    path = folder / "metrics.jsonl"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [{k: v for k, v in json.loads(line).items() if not k.startswith(TIMES)} for line in lines]


def test_a_run_that_is_stopped_saves_its_last_step_and_ends_as_one_that_never_was(
    tiny_model: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(RECIPE.format(base=tiny_model))
    with started("-m", "thinkery", "run", recipe, "--output-dir", "whole", cwd=tmp_path) as whole:
        _, error = whole.communicate(timeout=DEADLINE_S)
    assert whole.returncode == 0, error

    folder = tmp_path / "stopped"
    command = ["-m", "thinkery", "run", recipe, "--output-dir", "stopped"]
    with started(*command, cwd=tmp_path) as run:
        wait_until(lambda: len(steps_of(folder)) >= 3 or run.poll() is not None)
        run.send_signal(signal.SIGTERM)
        _, error = run.communicate(timeout=DEADLINE_S)
    assert run.returncode == 143, error
    step = steps_of(folder)[-1]["step"]
    assert error.splitlines()[-1] == f"stopped at zero step {step}; run the same command to resume"
    assert "Traceback" not in error
    assert [path.name for path in (folder / "checkpoints" / "zero").glob("step-*")] == [f"step-{step:06d}"]
    with started(*command, cwd=tmp_path) as run:
        said, error = run.communicate(timeout=DEADLINE_S)
    assert run.returncode == 0, error
    assert f"zero: resuming after step {step}" in said
    assert steps_of(folder) == steps_of(tmp_path / "whole")
    models = [sha256_of(one / "checkpoints" / "zero" / "model") for one in (folder, tmp_path / "whole")]
    assert models[0] == models[1]


@pytest.mark.parametrize("kind", ["silent", "down"])
def test_a_run_that_waits_for_a_judge_stops_at_once(
    kind: str, tiny_model: Path, tmp_path: Path, chat_server: Callable[..., Any]
) -> None:
    over = threading.Event()

    def answer(body: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        if kind == "silent":
            over.wait(DEADLINE_S)
        return 503, {"Retry-After": "250"}, b"later"

    server = chat_server(answer)
    (tmp_path / "problems.jsonl").write_text(
        '{"prompt": "1 + 1?", "answer": "2"}\n{"prompt": "2 + 2?", "answer": "4"}\n'
    )
    command = ["-m", "thinkery", "eval", "--model", tiny_model, "--data", "problems.jsonl", "--num-samples", "2"]
    command += ["--judge", server.address, "--judge-model", "m", "--max-completion-length", "8"]
    for setting in (f"judge.timeout_s={LONG_S}", "problems.preference=safety", "device=cpu"):
        command += ["--set", setting]
    try:
        with started(*command, cwd=tmp_path) as run:
            wait_until(lambda: bool(server.requests) or run.poll() is not None)
            run.send_signal(signal.SIGINT)
            said, error = run.communicate(timeout=60)
    finally:
        over.set()
    assert run.returncode == 130, (said, error)
    assert error.splitlines()[-1] == "stopped at base.eval; run the same command to resume"


WAITS = """
import ctypes, sys, threading
from thinkery.machine import interrupts
from thinkery.machine.interrupts import INTERRUPTS

interrupts.FINISH_S, interrupts.UNWIND_S = float(sys.argv[2]), 0.1
INTERRUPTS.last_words = lambda: "stopped here"
mutex = ctypes.create_string_buffer(128)
lock = ctypes.CDLL(None).pthread_mutex_lock
with INTERRUPTS.heeded():
    if sys.argv[1] == "step":
        with INTERRUPTS.finished():
            print("waits", flush=True)
            threading.Event().wait()
    lock(mutex)
    ready = False
    while True:
        try:
            if not ready:
                ready = True
                print("waits", flush=True)
            lock(mutex)  # for ever, in C: no Python handler is called from here on
        except KeyboardInterrupt:
            pass  # it was not there yet
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_what_hangs_ends_with_the_process(number: int, tmp_path: Path) -> None:
    with started("-c", WAITS, "hangs", 0, cwd=tmp_path) as waits:
        assert waits.stdout is not None
        assert waits.stdout.readline() == "waits\n"
        waits.send_signal(number)
        _, error = waits.communicate(timeout=DEADLINE_S)
    assert waits.returncode == 128 + number
    assert error.splitlines()[-1] == "stopped here"


def test_a_step_that_is_not_over_in_time_ends_with_the_process(tmp_path: Path) -> None:
    with started("-c", WAITS, "step", 0.1, cwd=tmp_path) as waits:
        assert waits.stdout is not None
        assert waits.stdout.readline() == "waits\n"
        waits.send_signal(signal.SIGTERM)
        _, error = waits.communicate(timeout=DEADLINE_S)
    assert waits.returncode == 143
    assert error.splitlines()[-1] == "stopped here"


def test_a_second_ctrl_c_ends_the_run_at_once(tmp_path: Path) -> None:
    with started("-c", WAITS, "step", LONG_S, cwd=tmp_path) as waits:
        assert waits.stdout is not None
        assert waits.stderr is not None
        assert waits.stdout.readline() == "waits\n"
        waits.send_signal(signal.SIGINT)
        assert waits.stderr.readline() == "stopping; Ctrl-C again ends the run at once\n"
        waits.send_signal(signal.SIGINT)
        _, error = waits.communicate(timeout=DEADLINE_S)
    assert waits.returncode == 130
    assert error == "stopped here\n"


def test_who_runs_stages_in_a_program_of_his_own_keeps_his_signals() -> None:
    from thinkery.machine.interrupts import INTERRUPTS, SIGNALS

    before = [signal.getsignal(number) for number in SIGNALS]
    with INTERRUPTS.heeded():
        pass
    assert [signal.getsignal(number) for number in SIGNALS] == before
