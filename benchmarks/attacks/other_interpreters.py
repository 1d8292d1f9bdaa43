"""Becomes another interpreter, to be rid of limits set for this one, and allocates."""

# expect: ok error memory | wall_s=4 memory_mb=96 | both peak

import contextlib
import os
import subprocess

GROW = "x = [bytearray(1 << 20) for _ in range(600)]"
for command in (
    ["perl", "-e", "my @x; push @x, 'x' x (1 << 20) for 1 .. 600"],
    ["bash", "-c", "ulimit -v unlimited; x=$(head -c 300000000 /dev/zero | tr '\\0' x)"],
    ["awk", 'BEGIN { x = "x"; for (i = 0; i < 29; i++) x = x x }'],
    ["prlimit", "--as=unlimited", "/usr/bin/python3", "-S", "-c", GROW],
):
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=0.7)
os.execv("/usr/bin/python3", ["python3", "-S", "-c", GROW])
