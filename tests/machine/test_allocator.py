"""jemalloc: real processes, which start again with it, once, and hand it on to CPU workers alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from thinkery.machine.allocator import PRELOAD, environment_with_jemalloc

REPORTS = """
import json, os, sys
from pathlib import Path
from thinkery.machine.allocator import environment, start_with_jemalloc

def has_jemalloc(pid):
    return "libjemalloc" in Path(f"/proc/{pid}/maps").read_text()

start_with_jemalloc()
workers = []
if sys.argv[1:] == ["workers"]:
    from thinkery.rollout.native.worker_processes import WORKER_PROCESSES
    WORKER_PROCESSES.start([1])
    WORKER_PROCESSES.wait(120)
    workers = [has_jemalloc(pid) for pid in WORKER_PROCESSES.pids]
print(json.dumps({"argv": sys.argv[1:], "here": has_jemalloc(os.getpid()), "workers": workers,
                  "for workers": environment(),
                  "left": [name for name in ("LD_PRELOAD", "MALLOC_CONF") if name in os.environ]}))
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not environment_with_jemalloc(), reason="no jemalloc that would help here"),
]


def report(*arguments: str, preload: str | None = None) -> dict[str, object]:
    environment = {name: value for name, value in os.environ.items() if name not in (PRELOAD, "MALLOC_CONF")}
    if preload is not None:
        environment[PRELOAD] = preload
    command = [sys.executable, "-c", REPORTS, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment, check=True)
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_a_process_starts_again_as_it_was_called_and_leaves_no_trace_to_others() -> None:
    assert report("a", "b c", "--d") == {
        "argv": ["a", "b c", "--d"],
        "here": True,
        "workers": [],
        "for workers": environment_with_jemalloc(),
        "left": [],
    }


def test_lanes_have_it_too() -> None:
    assert report("workers")["workers"] == [True]


def test_who_has_chosen_a_malloc_keeps_it() -> None:
    found = report("a", preload="")
    assert (found["here"], found["for workers"], found["left"]) == (False, {}, [PRELOAD])
