"""Sends its own output's descriptor to itself in a socket nobody can reach any more: the pipe has no end."""

# expect: ok | wall_s=2 | both

import array
import contextlib
import os
import socket

holder, sender = socket.socketpair()
rights = array.array("i", [holder.fileno(), sender.fileno(), 0, 1, 2])
with contextlib.suppress(OSError):
    sender.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
os._exit(0)
