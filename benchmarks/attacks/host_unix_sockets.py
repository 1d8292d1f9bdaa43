"""Calls the host's own Unix sockets: by path, by abstract name, and where system services listen."""

# expect: ok | wall_s=3 | both

import os
import socket

won = []
for address in (
    "@UNIX@",
    "\0@TOKEN@.abstract",
    "/run/systemd/journal/socket",
    "/run/dbus/system_bus_socket",
    "/var/run/docker.sock",
    "/dev/log",
    "/tmp/.X11-unix/X0",
    "\0/tmp/.X11-unix/X0",
):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
        try:
            with socket.socket(socket.AF_UNIX, kind) as caller:
                caller.connect(address)
                caller.send(b"@TOKEN@")
                won.append(address)
        except OSError:
            pass
print(won)
os._exit(len(won))
