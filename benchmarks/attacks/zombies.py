"""Never waits for its children."""

# expect: ok error | wall_s=2 processes=8

import os
import time

for _ in range(500):
    try:
        if os.fork() == 0:
            os._exit(0)
    except OSError:
        break
time.sleep(0.2)
