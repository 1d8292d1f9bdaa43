"""Ignores every signal that can be ignored, and sleeps."""

# expect: timeout | wall_s=0.7 | both

import contextlib
import signal
import time

for number in range(1, signal.NSIG):
    with contextlib.suppress(OSError, ValueError):
        signal.signal(number, signal.SIG_IGN)
time.sleep(60)
