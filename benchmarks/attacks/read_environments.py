"""Reads the environment, arguments and memory of the processes above it, by /proc and by its own memory."""

# expect: ok | wall_s=4 | both

import ctypes
import os

for name in ("self", "1", "2", "3", *map(str, range(4, 40))):
    for kind in ("environ", "cmdline", "mem", "maps", "root/etc/passwd", "cwd/pyproject.toml", "task/1/environ"):
        try:
            with open(f"/proc/{name}/{kind}", "rb") as file:
                print("READ", name, kind, file.read(100_000))
        except OSError:
            pass
print(os.environ)
variables = ctypes.POINTER(ctypes.c_char_p).in_dll(ctypes.CDLL(None), "environ")
index = 0
while variables[index]:
    print(variables[index])
    index += 1
