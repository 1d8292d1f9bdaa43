"""Becomes another interpreter, to be rid of limits set for this one, and allocates."""

# expect: ok error memory | wall_s=4 memory_mb=96 | both peak

import contextlib
import os
import subprocess

for command in (
    ["perl", "-e", "my @x; push @x, 'x' x (1 << 20) for 1 .. 600; sleep 1"],
    ["bash", "-c", "ulimit -v unlimited; x=$(head -c 400000000 /dev/zero | tr '\\0' x); sleep 1"],
    ["sh", "-c", "ulimit -u 100000; for i in 1 2 3 4 5 6 7 8 9; do sleep 1 & done; wait"],
    ["awk", 'BEGIN { x = "x"; for (i = 0; i < 29; i++) x = x x }'],
    ["/usr/bin/python3", "-c", "x = [bytearray(1 << 20) for _ in range(600)]"],
    ["prlimit", "--as=unlimited", "/usr/bin/python3", "-c", "x = [bytearray(1 << 20) for _ in range(600)]"],
):
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=2)
os.execv("/usr/bin/python3", ["python3", "-c", "x = [bytearray(1 << 20) for _ in range(600)]"])
