"""Burns CPU time in children whose time the kernel adds to nobody's, because SIGCHLD is ignored."""

# expect: timeout | wall_s=20 cpu_s=0.6 | both

import contextlib
import os
import signal
import time

signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for _ in range(12):
    child = os.fork()
    if child == 0:
        while time.process_time() < 0.25:
            pass
        os._exit(0)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(child, 0)
