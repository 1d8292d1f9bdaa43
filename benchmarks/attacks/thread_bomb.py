"""Starts threads as long as it can."""

# expect: ok error timeout memory | wall_s=1.5 cpu_s=1 memory_mb=256 processes=8 | both peak

import threading
import time

threading.stack_size(32 << 10)
for _ in range(2000):
    try:
        threading.Thread(target=time.sleep, args=(0.5,), daemon=True).start()
    except RuntimeError:
        break
time.sleep(0.3)
