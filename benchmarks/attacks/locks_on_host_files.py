"""Locks the files that it shares with the host, and those of the sandbox."""

# expect: ok | wall_s=3

import fcntl
import os
import signal

kept = []
for path in ("/usr/bin/python3", "/usr/bin/env", "/dev/null", "/dev/urandom", "/usr/lib", "/thinkery/inside/jail.py"):
    try:
        kept.append(os.open(path, os.O_RDONLY))
        fcntl.flock(kept[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        pass
if os.fork() == 0:
    os.setsid()
    signal.pause()
