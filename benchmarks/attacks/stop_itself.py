"""Stops itself and its whole group, so that nothing goes on and nothing ends."""

# expect: timeout | wall_s=0.7

import os
import signal
import time

if os.fork() == 0:
    time.sleep(0.05)
    os.killpg(0, signal.SIGSTOP)
os.kill(os.getpid(), signal.SIGSTOP)
time.sleep(60)
