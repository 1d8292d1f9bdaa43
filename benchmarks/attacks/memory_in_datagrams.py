"""Fills the queues of datagram sockets, from senders that are closed again."""

# expect: ok error memory | wall_s=4 cpu_s=4 memory_mb=96 processes=16 | peak

import os
import socket
import time

for number in range(12):
    if os.fork() != 0:
        continue
    kept = []
    try:
        for count in range(25):
            receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            receiver.bind(f"\0@TOKEN@{number}.{count}")
            kept.append(receiver)
            for _ in range(11):
                with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                    sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 22)
                    sender.setblocking(False)
                    sender.sendto(bytes(200_000), f"\0@TOKEN@{number}.{count}")
    except OSError:
        pass
    time.sleep(1.5)
    os._exit(0)
time.sleep(1.5)
