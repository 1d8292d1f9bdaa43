"""Makes files that claim to be enormous, and maps them."""

# expect: ok error memory | wall_s=3 memory_mb=96 | peak

import mmap
import os

for size in (1 << 62, 1 << 40, 1 << 34, 1 << 24):
    try:
        descriptor = os.open(f"/tmp/{size}", os.O_RDWR | os.O_CREAT)
        os.truncate(descriptor, size)
        os.posix_fallocate(descriptor, 0, size)
    except OSError:
        pass
    try:
        with mmap.mmap(descriptor, 0) as view:
            for at in range(0, min(len(view), 700 << 20), 4096):
                view[at] = 1
    except (OSError, ValueError, OverflowError, MemoryError):
        pass
