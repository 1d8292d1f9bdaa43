"""Calls a listener on the host, over TCP and UDP, and asks for names."""

# expect: ok | wall_s=4 | both

import contextlib
import os
import socket

won = []
for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"), (socket.AF_INET, "0.0.0.0")):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        try:
            with socket.socket(family, kind) as caller:
                caller.settimeout(0.5)
                caller.connect((address, int("@PORT@")))
                caller.send(b"@TOKEN@")
                if kind == socket.SOCK_STREAM:
                    won.append((address, kind))
        except OSError:
            pass
with contextlib.suppress(OSError):
    won.append(socket.getaddrinfo("thinkery.invalid", 80))
os._exit(len(won))
