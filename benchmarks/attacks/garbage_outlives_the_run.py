"""Leaves sockets, a full file and a name in a cycle of sockets that only the kernel's collector can free."""

# expect: ok error | wall_s=3 file_mb=40 | both twice

import array
import contextlib
import os
import socket

file = os.open("/tmp/full", os.O_RDWR | os.O_CREAT)
os.write(file, bytes(32 << 20))
holder, sender = socket.socketpair()
kept = [holder.fileno(), sender.fileno(), file]
try:
    named = socket.socket(socket.AF_UNIX)
    named.bind("\0left-behind")
    kept.append(named.fileno())
except OSError:
    pass
with contextlib.suppress(OSError):
    sender.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", kept))])
os._exit(0)
