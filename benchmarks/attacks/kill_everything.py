"""Sends every signal to everybody: its group, its namespace, the first process, the host's processes."""

# expect: ok error | wall_s=3 | both

import contextlib
import os
import signal

if os.getpid() > 100 or os.getuid() == 0:
    raise SystemExit("not isolated: nothing is sent")
if os.fork() == 0:
    os.setsid()
    victim = int("@VICTIM@")  # a process that the test started to be attacked
    for target in (1, victim, -victim, 2, 3, 4, 5):
        for number in range(1, signal.NSIG):
            with contextlib.suppress(OSError, ValueError):
                os.kill(target, number)
    os.kill(-1, signal.SIGKILL)
    os._exit(0)
os.wait()
