"""Makes files, folders, links and attributes until there are no more names to be had."""

# expect: ok error memory | wall_s=4 cpu_s=3 memory_mb=96 | peak

import os

for make in (
    lambda name: os.close(os.open(name, os.O_CREAT)),
    os.mkdir,
    lambda name: os.symlink("x" * 4000, name),
    lambda name: os.link("/tmp/program.py", name),
    lambda name: os.setxattr("/tmp/program.py", f"user.{name[5:]}", bytes(60_000)),
    os.mkfifo,
):
    try:
        for number in range(20_000):
            make(f"/tmp/{make.__name__}{number}")
    except OSError:
        pass
