"""Leaves daemons behind, each in a session of its own, deaf to every signal."""

# expect: ok | wall_s=2 processes=12 | both

import contextlib
import os
import signal
import time

for _ in range(4):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for number in range(1, signal.NSIG):
                with contextlib.suppress(OSError, ValueError):
                    signal.signal(number, signal.SIG_IGN)
            for descriptor in range(1024):
                with contextlib.suppress(OSError):
                    os.close(descriptor)
            end = time.monotonic() + 60
            while time.monotonic() < end:
                time.sleep(0.05)
                try:
                    with open("/tmp/@TOKEN@", "a") as file:
                        file.write("still here\n")
                except OSError:
                    pass
        os._exit(0)
time.sleep(0.1)
