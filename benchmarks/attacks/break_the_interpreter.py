"""Deletes and overwrites the interpreter's files and the sandbox's own."""

# expect: ok | wall_s=3 | both

import os
import sys

won = []
if os.getuid() != 0:
    for path in (
        sys.executable,
        os.path.realpath(sys.executable),
        os.__file__,
        "/usr/bin/env",
        "/thinkery/inside/jail.py",
    ):
        for action in (
            lambda path: os.rename(path, path + ".@TOKEN@"),
            lambda path: os.close(os.open(path, os.O_WRONLY)),
            lambda path: os.chmod(path, 0o777),
            lambda path: os.utime(path),
            lambda path: os.link(path, os.path.dirname(path) + "/@TOKEN@"),
            lambda path: os.setxattr(path, "user.@TOKEN@", b"x"),
        ):
            try:
                action(path)
                won.append(path)
            except OSError:
                pass
print(won)
os._exit(len(won))
