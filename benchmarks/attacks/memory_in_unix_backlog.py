"""Fills connections that a listener never accepts; their clients are long closed."""

# expect: ok error memory | wall_s=4 cpu_s=4 memory_mb=96 | both peak

import socket
import time

try:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("\0@TOKEN@")
    listener.listen(4096)
except OSError:
    raise SystemExit(0) from None
sent = 0
while sent < 700 << 20:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect("\0@TOKEN@")
        client.setblocking(False)
        try:
            while True:
                sent += client.send(bytes(1 << 16))
        except BlockingIOError:
            pass
time.sleep(0.3)
