"""Fills every folder it can write to."""

# expect: ok error memory | wall_s=4 memory_mb=128 disk_mb=32 file_mb=400 | both peak

import os

written = 0
for folder in ("/tmp", "/dev/shm", "/", "/dev", "/var/tmp", "/run", "/proc", "/thinkery", "/usr", "/home", "/mnt"):
    try:
        with open(os.path.join(folder, "@TOKEN@"), "wb", buffering=0) as file:
            while written < 600 << 20:
                written += file.write(bytes(1 << 20))
    except OSError:
        pass
