"""Many hostile runs at once: when they are over, the machine is as it was. The full thousand is a benchmark."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from thinkery.sandbox.isolation import probe

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))
host_watch = importlib.import_module("host_watch")
rewards_attacks = importlib.import_module("rewards_attacks")

RUNS = 200
MEMORY_MB = 64  # what a busy machine's memory moves by anyway


@pytest.mark.skipif(not probe("bubblewrap").works, reason="no bubblewrap here")
def test_hundreds_of_hostile_runs_at_once_leave_no_process_file_or_memory() -> None:
    with host_watch.Host() as host, rewards_attacks.hasty_compiler():
        told = rewards_attacks.crowd(host, RUNS)
    assert told["runs"] == RUNS
    assert {name: told[name] for name in ("lost", "secrets", "processes", "files", "other")} == {
        "lost": 0,
        "secrets": 0,
        "processes": 0,
        "files": 0,
        "other": 0,
    }
    assert told["memory_mb"] < MEMORY_MB
