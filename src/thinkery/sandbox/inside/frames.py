"""The frames that host and sandbox exchange over one stream socket: a kind, a length, a payload.

Only the host and the sandbox's own processes hold the socket; an untrusted program never does. Both sides check
every length before they allocate. Left out: what the payloads mean (``supervisor``, and ``worker`` on the host).
"""

from __future__ import annotations

import json
import socket
import struct
import time
from typing import Any

# Host to sandbox.
REQUEST = b"R"  # JSON: what to run, its limits
PROGRAM = b"P"  # source or machine code, follows REQUEST
STDIN = b"I"  # follows PROGRAM
NO_MORE = b"N"  # the conversation is over; the program sees the end of its channel
STOP = b"X"  # end the run now; the payload is the reason

# Sandbox to host.
READY = b"Y"  # once, when the server can take requests
ARTIFACT = b"A"  # the file a compiler made
STDOUT = b"O"
STDERR = b"E"
DONE = b"D"  # JSON: how the run ended; the last frame of a run

# Both ways.
MESSAGE = b"M"  # a conversation's message

MAX_MESSAGE_BYTES = 16 << 20
MAX_JSON_BYTES = 1 << 16
MAX_INPUT_BYTES = 256 << 20  # of a program or its standard input

_HEADER = struct.Struct(">cI")
CHANNEL_FD = 3  # of the program; frames there are a length of four bytes, big-endian, and the payload
CHANNEL_HEADER = struct.Struct(">I")


class ProtocolError(Exception):
    """The other side broke the protocol, or is gone."""


class NothingCame(ProtocolError):  # noqa: N818 - an event
    """The deadline passed."""


def send(stream: socket.socket, kind: bytes, payload: bytes | bytearray = b"") -> None:
    """Send one frame; the socket's timeout is the deadline of each of the two writes."""
    stream.sendall(_HEADER.pack(kind, len(payload)))
    if payload:
        stream.sendall(payload)


def send_json(stream: socket.socket, kind: bytes, value: dict[str, Any]) -> None:
    """Send one frame of JSON."""
    send(stream, kind, json.dumps(value).encode())


def receive(
    stream: socket.socket,
    limits: dict[bytes, int],
    deadline: float | None = None,
    whole_until: float | None = None,
) -> tuple[bytes, bytes]:
    """Return (kind, payload) of the next frame.

    ``limits`` maps each kind that may come now to its greatest length in bytes. ``deadline`` is a moment of
    ``time.monotonic()``: if nothing at all came by then, NothingCame is raised; a frame that began must be whole by
    ``whole_until`` (by default the same). Raises ProtocolError for any other kind, a longer payload, a frame that
    stays incomplete, or the end of the stream.
    """
    first = _receive_exactly(stream, 1, deadline)
    if whole_until is None:
        whole_until = deadline
    try:
        kind, length = _HEADER.unpack(first + _receive_exactly(stream, _HEADER.size - 1, whole_until))
        if length > limits.get(kind, -1):
            raise ProtocolError(f"a frame of kind {kind!r} and {length} bytes")
        return kind, _receive_exactly(stream, length, whole_until)
    except NothingCame:
        raise ProtocolError("a frame stayed incomplete") from None


def decode_json(payload: bytes) -> dict[str, Any]:
    """A JSON object. Raises ProtocolError for anything else."""
    try:
        value = json.loads(payload)
    except ValueError as error:
        raise ProtocolError(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ProtocolError("not a JSON object")
    return value


def _receive_exactly(stream: socket.socket, count: int, deadline: float | None) -> bytes:
    parts = []
    while count:
        if deadline is not None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise NothingCame
            stream.settimeout(left)
        try:
            part = stream.recv(min(count, 1 << 20))
        except TimeoutError:
            continue
        if not part:
            raise ProtocolError("the other side is gone")
        parts.append(part)
        count -= len(part)
    return b"".join(parts)
