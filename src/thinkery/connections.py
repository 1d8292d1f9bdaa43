"""Connections that end at a moment in time, whatever the other side does.

A socket's timeout bounds one read, so a server that drips a byte now and then outlasts it, in its headers as well as in
its body. Here one clock runs from before the connection is made until the answer has been read. A run that is asked to
stop, and whoever calls ``hang_up``, end it as well. Left out: the time that the system takes to look up a name, which
has bounds of its own.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
import time
from types import TracebackType
from typing import Any, Self

from thinkery.machine.interrupts import INTERRUPTS


class Timed:
    """The connections of one exchange, which end ``timeout_s`` after it was begun. Use it as a context."""

    def __init__(self, timeout_s: float) -> None:
        self._deadline = time.monotonic() + timeout_s
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()
        self._hung_up = False
        self._alarm = threading.Timer(timeout_s, self.hang_up)
        self._alarm.daemon = True
        self._called = INTERRUPTS.calling(self.hang_up)

    @property
    def late(self) -> bool:
        """Whether its time is over; what was read may not be whole then."""
        return time.monotonic() >= self._deadline

    @property
    def ended(self) -> bool:
        """Whether it was ended: it is late, or somebody hung up."""
        return self._hung_up or self.late

    def plain(self, host: str, port: int | None = None, **options: Any) -> http.client.HTTPConnection:
        """A connection that is to be made; ``options`` are the class's own."""
        return self._timed(http.client.HTTPConnection(host, port, **self._bounded(options)))

    def encrypted(
        self, host: str, port: int | None = None, *, context: ssl.SSLContext, **options: Any
    ) -> http.client.HTTPSConnection:
        """The same, encrypted."""
        connection = http.client.HTTPSConnection(host, port, context=context, **self._bounded(options))
        self._timed(connection)
        return connection

    def hang_up(self) -> None:
        """Ends all connections now, from whatever thread: who reads from one finds its end."""
        with self._lock:
            self._hung_up = True
            for one in self._sockets:
                _shut(one)

    def __enter__(self) -> Self:
        self._alarm.start()
        self._called.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._called.__exit__(None, None, None)
        self._alarm.cancel()
        with self._lock:
            for one in self._sockets:
                one.close()
            self._sockets = []

    def _bounded(self, options: dict[str, Any]) -> dict[str, Any]:
        return options | {"timeout": max(self._deadline - time.monotonic(), 0.01)}

    def _timed(self, connection: http.client.HTTPConnection) -> http.client.HTTPConnection:
        """Has it connect through here: TLS, or a proxy, would talk on before anybody else saw the socket."""
        connection._create_connection = self._connect  # type: ignore[attr-defined]  # typeshed leaves it out
        return connection

    def _connect(
        self, address: tuple[str, int], timeout: object = None, source_address: tuple[str, int] | None = None
    ) -> socket.socket:
        """As ``socket.create_connection``, with one deadline for all of a host's addresses."""
        failed: OSError = OSError(f"{address[0]} has no address")
        for family, kind, protocol, _, place in socket.getaddrinfo(*address, 0, socket.SOCK_STREAM):
            if self.ended:
                raise TimeoutError("timed out")
            one = socket.socket(family, kind, protocol)
            try:
                one.settimeout(max(self._deadline - time.monotonic(), 0.01))
                self._keep(one)
                one.connect(place)
                return one
            except OSError as error:
                one.close()
                failed = error
        raise failed

    def _keep(self, one: socket.socket) -> None:
        """Remembers the connection itself; TLS takes the socket's descriptor away from it."""
        with self._lock:
            self._sockets.append(one.dup())
            if self._hung_up:
                raise ConnectionAbortedError("hung up")


def _shut(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
