"""Fills as many pipes as it may open, made as large as they go."""

# expect: ok error memory | wall_s=4 memory_mb=96 processes=16 | peak

import contextlib
import fcntl
import os
import time

for _ in range(14):
    if os.fork() != 0:
        continue
    try:
        while True:
            _, writer = os.pipe()
            os.set_blocking(writer, False)
            with contextlib.suppress(OSError):
                fcntl.fcntl(writer, 1031, 1 << 20)  # F_SETPIPE_SZ
            try:
                while True:
                    os.write(writer, bytes(1 << 16))
            except BlockingIOError:
                pass
    except OSError:
        pass
    time.sleep(1)
    os._exit(0)
time.sleep(1)
