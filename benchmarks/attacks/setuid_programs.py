"""Runs the system's programs that raise rights or enter other places, and those that hand out new ones."""

# expect: ok | wall_s=6 cpu_s=4 processes=16 | both

import os
import subprocess

sentence = "echo REACHED; id -u; cat @SECRET_OPEN@; touch @FOLDER@/written /tmp/@TOKEN@"
won = []
for command in (
    ["su", "-c", sentence],
    ["su", "root", "-s", "/bin/sh", "-c", sentence],
    ["sudo", "-n", "sh", "-c", sentence],
    ["newgrp", "root"],
    ["mount", "--bind", "/", "/tmp"],
    ["umount", "/tmp"],
    ["unshare", "-Urm", "sh", "-c", sentence],
    ["unshare", "-Ur", "mount", "-t", "tmpfs", "x", "/tmp"],
    ["nsenter", "-t", "1", "-a", "sh", "-c", sentence],
    ["bwrap", "--bind", "/", "/", "--dev", "/dev", "sh", "-c", sentence],
    ["bwrap", "--unshare-user", "--uid", "0", "--bind", "/", "/", "sh", "-c", sentence],
    ["chroot", "/proc/1/root", "sh", "-c", sentence],
    ["setpriv", "--reuid", "0", "sh", "-c", sentence],
    ["capsh", "--", "-c", sentence],
    ["pkexec", "sh", "-c", sentence],
    ["at", "now"],
    ["crontab", "-l"],
    ["systemd-run", "sh", "-c", sentence],
    ["chsh", "-s", "/bin/sh"],
    ["passwd", "-d", "root"],
):
    try:
        ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=2, cwd="/usr")
    except (OSError, subprocess.TimeoutExpired):
        continue
    if ended.returncode == 0 and (b"REACHED" not in ended.stdout or b"\n0\n" in ended.stdout):
        won.append((command, ended.stdout))
print(won)
os._exit(len(won))
