"""Prints 100 MB."""

# expect: output | wall_s=4 | both

import os

for _ in range(100):
    os.write(1, b"x" * (1 << 20))
