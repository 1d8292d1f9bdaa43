"""Fills pairs of connected sockets with as much as their buffers can be made to hold."""

# expect: ok error memory | wall_s=4 cpu_s=4 memory_mb=96 processes=8 | peak

import contextlib
import os
import socket
import time

budget = 120 << 20
for _ in range(6):
    if os.fork() != 0:
        continue
    pairs = []
    sent = 0
    try:
        while sent < budget:
            pair = socket.socketpair()
            pairs.append(pair)
            for end in pair:
                with contextlib.suppress(OSError):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 23)
                end.setblocking(False)
                try:
                    while sent < budget:
                        sent += end.send(bytes(1 << 16))
                except BlockingIOError:
                    pass
    except OSError:
        pass
    time.sleep(1)
    os._exit(0)
time.sleep(1.5)
