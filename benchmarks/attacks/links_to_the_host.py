"""Reaches for the host by links, by parent folders, and by the kernel's own links to other roots."""

# expect: ok | wall_s=3 | both

import os

targets = ["@SECRET_OPEN@", "@FOLDER@", "/etc/passwd", "/root", "/proc/1/root", "/proc/self/root", "/proc/1/cwd"]
targets += ["../" * 30 + path.lstrip("/") for path in targets] + [f"/proc/{pid}/root@SECRET_OPEN@" for pid in range(9)]
for number, target in enumerate(targets):
    for make in (os.symlink, os.link):
        try:
            make(target, f"/tmp/{make.__name__}{number}")
            path = f"/tmp/{make.__name__}{number}"
            with open(path) as file:
                print("REACHED", target, file.read())
        except IsADirectoryError:
            print("REACHED", target, os.listdir(path))
        except OSError:
            pass
for descriptor in range(64):
    try:
        folder = os.open("../../../../..@FOLDER@", os.O_RDONLY, dir_fd=descriptor)
        print("REACHED by descriptor", descriptor, os.listdir(folder))
    except OSError:
        pass
