"""Executes itself with as many and as long arguments and variables as the kernel takes."""

# expect: ok error memory | wall_s=4 memory_mb=128

import contextlib
import os
import sys

if len(sys.argv) == 1:
    for count in (4000, 400, 40, 10):
        with contextlib.suppress(OSError, MemoryError):
            os.execve("/usr/bin/env", ["env", *["x" * 100_000] * count], {f"V{i}": "y" * 100_000 for i in range(count)})
