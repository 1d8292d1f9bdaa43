"""Nests folders deeper than any path is long, and stays in the innermost."""

# expect: ok error | wall_s=4

import os

try:
    for _ in range(10_000):
        os.mkdir("x" * 200)
        os.chdir("x" * 200)
except OSError:
    pass
