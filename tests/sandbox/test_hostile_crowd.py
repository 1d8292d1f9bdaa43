"""A thousand hostile runs at once: when they are over, the machine is as it was."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from thinkery.sandbox.isolation import probe

pytestmark = pytest.mark.slow

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))
host_watch = importlib.import_module("host_watch")
rewards_attacks = importlib.import_module("rewards_attacks")

RUNS = 1000
MEMORY_MB = 64  # what a machine's memory moves by anyway
TRIES = 3  # at the memory: other programs on the machine take some, too, but not every time


@pytest.mark.alone
@pytest.mark.skipif(not probe("bubblewrap").works, reason="no bubblewrap here")
def test_a_thousand_hostile_runs_at_once_leave_no_process_file_or_memory() -> None:
    with host_watch.Host() as host, rewards_attacks.hasty_compiler():
        for _ in range(TRIES):
            told = rewards_attacks.crowd(host, RUNS)
            assert told["runs"] == RUNS
            assert [told[name] for name in ("lost", "secrets", "processes", "files", "other")] == [0] * 5
            if told["memory_mb"] < MEMORY_MB:
                break
    assert told["memory_mb"] < MEMORY_MB
