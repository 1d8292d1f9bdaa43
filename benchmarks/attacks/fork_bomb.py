"""Forks as often as it can, and its children do the same."""

# expect: ok error timeout | wall_s=1.5 cpu_s=1 memory_mb=128 processes=8 | both peak

import contextlib
import os
import time

for _ in range(11):  # 2,048 processes if nothing stops it
    with contextlib.suppress(OSError):
        os.fork()
time.sleep(0.3)
