"""The exit status of real processes: 0 only where the run is done, else as it ended; and who dies with whom."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from thinkery.machine.exit_status import UNFINISHED

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="commands are guarded on Linux alone")

START = "import os, signal, sys; from thinkery.machine.exit_status import guard, begun, ended; guard(); "
WAIT = START + "print(os.getpid(), flush=True); signal.signal(signal.SIGTERM, lambda *_: sys.exit(7)); "
# A shell that starts the tests in the background has them, and their children, ignore Ctrl-C.
heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)


@contextmanager
def python(script: str, *arguments: str, cwd: Path | None = None) -> Iterator[subprocess.Popen[str]]:
    command, pipe = [sys.executable, "-c", script, *arguments], subprocess.PIPE
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, cwd=cwd, preexec_fn=heed, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def end_of(script: str, *arguments: str, cwd: Path | None = None) -> tuple[int, str]:
    with python(script, *arguments, cwd=cwd) as process:
        _, err = process.communicate(timeout=240)
    return process.returncode, err


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("", 0),  # a command that runs nothing
        ("begun(); ended()", 0),
        ("begun(); ended(); begun()", UNFINISHED),
        ("begun(); os._exit(0)", UNFINISHED),
        ("begun(); sys.exit(0)", UNFINISHED),
        ("begun(); sys.exit(3)", 3),
        ("begun(); os._exit(130)", 130),
        ("begun(); os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        ("begun(); os.kill(os.getpid(), signal.SIGSEGV)", -signal.SIGSEGV),
    ],
)
def test_a_process_ends_with_0_only_if_what_it_began_is_done(code: str, status: int) -> None:
    returncode, err = end_of(START + code)
    assert returncode == status
    assert ("the process ended itself, with exit status 0, before the run was done" in err) == (status == UNFINISHED)


def test_a_process_that_stays_behind_holds_nothing_up() -> None:
    with python(START + "os.fork() or sys.stdin.read()") as process:
        assert process.wait(240) == 0


def test_code_that_ends_the_command_in_the_midst_of_a_stage_is_no_success(tmp_path: Path) -> None:
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text("{name: tiny, stages: [{name: grow, kind: pretrain, corpus: {source: mini}, tokens: 1000000}]}")
    script = """
import os, sys
import thinkery.stages.pretrain as pretrain
from thinkery.__main__ import main
pretrain.train_tokenizer = lambda *_: os._exit(0)
main()
"""
    returncode, err = end_of(script, "run", str(recipe), cwd=tmp_path)
    assert returncode == UNFINISHED
    assert err.splitlines()[-1].startswith("error: the process ended itself, with exit status 0, before the run was")
    assert "run the same command to resume" in err


def test_signals_to_the_guard_alone_reach_the_process_once_each() -> None:
    script = WAIT + "signal.signal(signal.SIGUSR1, lambda *_: print('usr1', flush=True))\nwhile True: signal.pause()"
    with python(script) as process:
        assert process.stdout is not None
        assert int(process.stdout.readline()) != process.pid
        process.send_signal(signal.SIGUSR1)
        assert process.stdout.readline() == "usr1\n"
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=240)
    assert (process.returncode, rest) == (7, "")


def test_the_process_dies_with_its_guard() -> None:
    with python(WAIT + "signal.pause()") as process:
        assert process.stdout is not None
        child = os.pidfd_open(int(process.stdout.readline()))
        try:
            process.kill()
            assert process.wait(240) == -signal.SIGKILL
            assert select.select([child], [], [], 240)[0]  # readable once it is gone
        finally:
            os.close(child)
