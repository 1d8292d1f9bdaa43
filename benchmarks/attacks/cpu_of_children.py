"""Burns CPU time in children, one after the other, each below the limit of one process."""

# expect: timeout | wall_s=4 cpu_s=0.6

import os
import time

for _ in range(12):
    child = os.fork()
    if child == 0:
        while time.process_time() < 0.25:
            pass
        os._exit(0)
    os.waitpid(child, 0)
