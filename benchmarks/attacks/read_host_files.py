"""Reads what the host has: accounts, homes, the project, the secrets planted there."""

# expect: ok | wall_s=3 | both

import contextlib
import os

for path in ("@SECRET_OPEN@", "@SECRET_CLOSED@", "/etc/passwd", "/etc/shadow", "/etc/hostname", "/root/.bashrc"):
    try:
        with open(path) as file:
            print("READ", path, file.read())
    except OSError:
        pass
for folder in ("@FOLDER@", "/root", "/home", "/work", "/var", "/run", "/srv", "/mnt", "/etc", "/sys", "/proc"):
    with contextlib.suppress(OSError):
        print("LISTED", folder, os.listdir(folder))
