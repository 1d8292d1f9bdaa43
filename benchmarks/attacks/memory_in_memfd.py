"""Fills files in memory that no folder shows: memfd, and unlinked ones."""

# expect: ok error memory | wall_s=4 memory_mb=96 file_mb=64 | peak

import os

for number in range(40):
    try:
        descriptor = os.memfd_create(f"x{number}")
    except OSError:
        descriptor = os.open(f"/tmp/x{number}", os.O_RDWR | os.O_CREAT)
        os.unlink(f"/tmp/x{number}")
    try:
        for _ in range(16):
            os.write(descriptor, bytes(1 << 20))
    except OSError:
        break
