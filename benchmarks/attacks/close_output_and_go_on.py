"""Closes every descriptor, so that it looks as if it had ended, and goes on."""

# expect: timeout | wall_s=0.7 | both

import os
import time

os.closerange(0, 4096)
time.sleep(60)
