"""Allocates in many processes, in each less than one process may."""

# expect: memory | wall_s=4 memory_mb=128 processes=16 | both peak

import os
import time

for _ in range(12):
    if os.fork() == 0:
        held = bytearray(64 << 20)
        for offset in range(0, len(held), 4096):
            held[offset] = 1
        time.sleep(3)
        os._exit(0)
time.sleep(3)
