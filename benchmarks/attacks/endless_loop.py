"""Computes for ever."""

# expect: timeout | wall_s=5 cpu_s=0.5 | both

while True:
    pass
