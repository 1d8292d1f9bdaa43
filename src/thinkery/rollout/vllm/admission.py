"""Admission to a vLLM server: who may come in, how much they may bring, and how long they may take.

A request is refused before its body is read if it comes from a web page (an ``Origin``, or a ``Host`` that is not
this server's: names can be made to point here), lacks the server's secret, is of another type than its path takes, or
is too long. Heads and bodies have deadlines, answers as well, and there are only so many connections: nobody holds a
thread for ever. Left out: encryption (let a network carry it that you trust, or a tunnel), and what is done with a
request (``server.py``).
"""

from __future__ import annotations

import contextlib
import hmac
import io
import ipaddress
import json
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from thinkery.rollout.vllm.connection import JSON, TimedSocket

MAX_BYTES = 1 << 30  # of a body, unless the server is told otherwise
_PIECE = 1 << 20  # of a body, read at once


@dataclass(frozen=True, slots=True)
class Rules:
    """Who may come in, and how much and how long. Seconds are for the whole of what they are about."""

    token: str
    hosts: frozenset[str] = frozenset()  # names of this server beside its addresses, as clients write them
    max_bytes: int = MAX_BYTES  # of a body
    connections: int = 32  # at once
    head_s: float = 10.0  # until a request's head is there, from its first byte, or from connecting
    idle_s: float = 300.0  # between requests of one connection that has shown the secret
    body_s: float = 60.0  # until a body is there, beside the time that its length takes
    bytes_per_s: int = 1 << 20  # the slowest that a long body may come
    answer_s: float = 600.0  # until an answer, or a line of one, is taken


class Refusal(Exception):  # noqa: N818  (an answer, no defect)
    """A request that is not let in: its status, and why."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class GuardedServer(ThreadingHTTPServer):
    """Lets connections in, each with a thread, up to a number."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], handler: Callable[..., BaseHTTPRequestHandler], rules: Rules) -> None:
        self.rules = rules
        self._places = threading.BoundedSemaphore(rules.connections)
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, handler)
        self._local = _is_loopback(str(self.server_address[0]))
        self.names = {"localhost", socket.gethostname().lower(), address[0].lower(), *rules.hosts}

    def server_bind(self) -> None:
        """Binds without asking a name server who this is, which can take long."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def knows(self, host: str) -> bool:
        """Whether a ``Host`` is this server: a name of its own, or an address. No name server can forge an address."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
            address = ipaddress.ip_address(name)
        except ValueError:
            return bool(host) and _name_of(host) in self.names
        return address.is_loopback or not self._local

    def process_request(self, request: Any, client_address: Any) -> None:
        """Gives a connection a thread, or turns it away."""
        if not self._places.acquire(blocking=False):
            error = json.dumps({"error": f"{self.rules.connections} connections are open already"}).encode()
            head = f"HTTP/1.1 503 Busy\r\nContent-Type: {JSON}\r\nContent-Length: {len(error)}\r\nConnection: close"
            with contextlib.suppress(OSError):
                request.setblocking(False)
                request.sendall(f"{head}\r\n\r\n".encode() + error)
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._places.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serves a connection, and frees its place."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Serves a connection whose waits all end."""
        with contextlib.suppress(ConnectionError, TimeoutError):  # it is gone, or has been too slow
            super().finish_request(TimedSocket(request), client_address)  # type: ignore[arg-type]


class Guarded(BaseHTTPRequestHandler):
    """A connection through the door. ``answer`` does what a request asks for once it is let in."""

    protocol_version = "HTTP/1.1"
    types: dict[str, str] = {}  # noqa: RUF012  the content type of each path; JSON if it isn't here
    server: GuardedServer
    connection: Any  # a TimedSocket
    _known = False  # it has shown the secret

    def answer(self, path: str, body: bytes) -> None:
        """Answers a request; ``body`` is empty for a GET."""
        raise NotImplementedError

    def handle_one_request(self) -> None:
        """Waits for a request, as long as is granted."""
        rules = self.server.rules
        self.connection.within(rules.idle_s if self._known else rules.head_s)
        if not self.rfile.peek(1):  # type: ignore[attr-defined]
            self.close_connection = True
            return
        self.connection.within(rules.head_s)
        super().handle_one_request()

    def do_GET(self) -> None:
        """Whether it is there."""
        self._let_in(has_body=False)

    def do_POST(self) -> None:
        """All else."""
        self._let_in(has_body=True)

    def log_message(self, *args: object) -> None:
        """Says nothing: a run asks thousands of times."""

    def reply(self, status: int, data: dict[str, Any]) -> None:
        """A whole answer."""
        body = json.dumps(data).encode()
        self.connection.within(self.server.rules.answer_s)
        self.send_response(status)
        self.send_header("Content-Type", JSON)
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def _let_in(self, has_body: bool) -> None:
        try:
            self._check()
            body = self._body() if has_body else b""
        except Refusal as refusal:
            self.close_connection = True  # what follows may be a body that nobody reads
            self.reply(refusal.status, {"error": str(refusal)})
            return
        self.connection.within(self.server.rules.answer_s)
        self.answer(self.path, body)

    def _check(self) -> None:
        hosts = self.headers.get_all("Host", [])
        if len(hosts) != 1 or not self.server.knows(hosts[0].strip()):
            raise Refusal(
                403,
                f"this server is not known as {', '.join(hosts) or 'nothing'}: use its address, or start it with "
                "--allowed-host and the name",
            )
        if "Origin" in self.headers:
            raise Refusal(403, "requests of web pages are refused")
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        known = hmac.compare_digest(token.strip().encode(), self.server.rules.token.encode())
        if scheme.lower() != "bearer" or not known:
            raise Refusal(401, "the request lacks this server's token, or has another one")
        self._known = True

    def _body(self) -> bytes:
        """The body, read up to its length and no further."""
        rules = self.server.rules
        kind = self.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        wanted = self.types.get(self.path, JSON)
        if kind != wanted:
            raise Refusal(415, f"{self.path} takes {wanted}, not {kind or 'a body without a Content-Type'}")
        lengths = self.headers.get_all("Content-Length", [])
        if "Transfer-Encoding" in self.headers or len(lengths) != 1:
            raise Refusal(411, "say how long the body is, in one Content-Length")
        if not (lengths[0].isascii() and lengths[0].isdigit()):
            raise Refusal(400, f"Content-Length: {lengths[0]} is no length")
        length = int(lengths[0])
        if length > rules.max_bytes:
            raise Refusal(
                413,
                f"a body of {length} bytes; this server takes at most {rules.max_bytes}: start it with "
                f"--max-request-mib {-(-length >> 20)} or more",
            )
        self.connection.within(rules.body_s + length / rules.bytes_per_s)
        body = io.BytesIO()  # grows with what comes, not with what is announced
        while left := length - body.tell():
            try:
                part = self.rfile.read1(min(left, _PIECE))
            except TimeoutError:
                raise Refusal(408, f"only {body.tell()} of {length} bytes came in time") from None
            if not part:
                raise ConnectionResetError("it went away in the middle of a body")
            body.write(part)
        return body.getvalue()


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def _name_of(host: str) -> str:
    """The name in a ``Host``, without its port; empty if it is none."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""
