"""Prints a little, again and again, so that it always looks alive."""

# expect: timeout | wall_s=0.8

import time

while True:
    print(".", end="", flush=True)
    time.sleep(0.01)
