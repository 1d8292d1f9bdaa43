"""What both sides of a connection to a vLLM server share: waits that end, and the secret that a run must know.

A time-out of a socket is for one read; whoever sends a byte now and then outwits it. Here every wait ends at a moment
that is set beforehand. Left out: what is said over the connection (``remote.py``, ``server.py``).
"""

from __future__ import annotations

import http.client
import io
import math
import os
import socket
import time
from typing import Any
from urllib.parse import urlsplit

from thinkery.types import UserError

TOKEN = "THINKERY_VLLM_TOKEN"  # the environment variable that holds the secret of a server which a user starts
MIN_TOKEN = 16  # characters
MAX_REPLY_BYTES = 256 << 20  # of an answer, or of a line of one
HOW_TO_SET = (
    f"set {TOKEN} to a secret of {MIN_TOKEN} characters or more, the same for the server and the run; this makes one: "
    'python -c "import secrets; print(secrets.token_urlsafe(32))"'
)
JSON = "application/json"
WEIGHTS = "application/octet-stream"


class TimedSocket:
    """A socket whose waits all end at ``deadline`` (of ``time.monotonic``), with TimeoutError."""

    def __init__(self, raw: socket.socket) -> None:
        self.raw = raw
        self.deadline = math.inf

    def within(self, seconds: float) -> None:
        """Sets the deadline from now."""
        self.deadline = time.monotonic() + seconds

    def arm(self) -> None:
        """Gives the socket what is left. Raises TimeoutError if nothing is."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self.raw.settimeout(None if math.isinf(left) else left)

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Sends all of it by the deadline."""
        self.arm()
        self.raw.sendall(data, flags)

    def makefile(self, mode: str = "rb", buffering: int = -1) -> io.BufferedReader:
        """A buffered stream of what arrives."""
        return io.BufferedReader(_Arriving(self))

    def setsockopt(self, *arguments: Any) -> None:
        """See ``socket.socket``."""
        self.raw.setsockopt(*arguments)

    def settimeout(self, seconds: float | None) -> None:
        """Changes nothing: the deadline alone counts."""

    def shutdown(self, how: int) -> None:
        """See ``socket.socket``."""
        self.raw.shutdown(how)

    def close(self) -> None:
        """Closes it, once nobody reads from it any more."""
        self.raw.close()


class _Arriving(io.RawIOBase):
    """What arrives at a timed socket."""

    def __init__(self, timed: TimedSocket) -> None:
        self._timed = timed
        self._stream = timed.raw.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._timed.arm()
        return self._timed.raw.recv_into(buffer)

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
        super().close()


class Connection(http.client.HTTPConnection):
    """A run's connection to a server."""

    def __init__(self, url: str, token: str) -> None:
        parts = urlsplit(url)
        super().__init__(parts.hostname or "", parts.port or 80)
        self._token = token
        self._within = math.inf

    def within(self, seconds: float) -> None:
        """How long all that follows may take, until this is called again."""
        self._within = time.monotonic() + seconds
        if isinstance(self.sock, TimedSocket):
            self.sock.deadline = self._within

    def connect(self) -> None:
        """Connects by the deadline."""
        left = self._within - time.monotonic()
        self.timeout = None if math.isinf(left) else max(0.001, left)
        super().connect()
        timed: Any = TimedSocket(self.sock)
        timed.deadline = self._within
        self.sock = timed

    def wanted(self, path: str, body: bytes | None = None, kind: str = JSON) -> http.client.HTTPResponse:
        """Sends a request and returns the head of its answer, also of a refusal that comes before the body is sent."""
        headers = {"Authorization": f"Bearer {self._token}"} | ({"Content-Type": kind} if body is not None else {})
        try:
            self.request("GET" if body is None else "POST", path, body, headers)
        except (BrokenPipeError, ConnectionResetError):
            if self.sock is None:
                raise
        return self.getresponse()


def whole(response: http.client.HTTPResponse) -> bytes:
    """The body of an answer. Raises ValueError if it is longer than any of ours."""
    body = response.read(MAX_REPLY_BYTES + 1)
    if len(body) > MAX_REPLY_BYTES:
        raise ValueError(f"an answer of more than {MAX_REPLY_BYTES >> 20} MiB")
    return body


def token_of_environment() -> str | None:
    """The secret that the user has set, None if there is none that is long enough."""
    token = os.environ.get(TOKEN, "")
    return token if len(token) >= MIN_TOKEN and token.isascii() and token.isprintable() and " " not in token else None


def require_token(field: str) -> str:
    """The secret of a server that the user has started. Raises ``UserError`` if the user has set none."""
    token = token_of_environment()
    if token is None:
        raise UserError(f"{field}: a server lets in who knows its token: {HOW_TO_SET}")
    return token
