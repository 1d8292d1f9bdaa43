"""Claims success while it fails: exits with codes that wrap around to 0, from hooks, threads and signal handlers."""

# expect: error | wall_s=2

import atexit
import os
import signal
import sys


class Zero(int):
    """Looks like 0 to whoever compares it."""

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = int.__hash__


signal.signal(signal.SIGTERM, lambda *_: os._exit(5))
atexit.register(lambda: os.kill(os.getpid(), signal.SIGTERM))
sys.exit(Zero(3))
