"""Prints 100 MB to standard error from many processes at once."""

# expect: output | wall_s=4

import os

for _ in range(3):
    os.fork()
while True:
    os.write(2, b"x" * (1 << 16))
