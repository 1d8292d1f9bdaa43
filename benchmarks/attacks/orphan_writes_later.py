"""Ends at once; an orphan with its output still open goes on writing to whoever comes next."""

# expect: ok | wall_s=2

import contextlib
import os
import time

if os.fork() == 0:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            os.write(1, b"from the past\n")
        time.sleep(0.001)
    os._exit(0)
os._exit(0)
