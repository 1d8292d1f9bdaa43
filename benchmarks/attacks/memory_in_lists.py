"""Allocates for ever."""

# expect: memory | wall_s=4 memory_mb=96 | both

chunks = []
while len(chunks) < 800:
    chunks.append(bytearray(1 << 20))
