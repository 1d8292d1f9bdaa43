"""Who comes in through the door of a vLLM server, and how long they may take: real servers and sockets on loopback."""

from __future__ import annotations

import http.client
import select
import socket
import time
from collections.abc import Callable, Iterator
from threading import Thread

import pytest

from thinkery.rollout.vllm.admission import Guarded, GuardedServer, Rules
from thinkery.rollout.vllm.server import EngineHost, serve

TOKEN = "a secret that nobody guesses".replace(" ", "-")
BEARER = f"Authorization: Bearer {TOKEN}"
JSON = "Content-Type: application/json"
PATIENCE_S = 30.0  # of a test, with a server that should have acted within a second

Serve = Callable[..., GuardedServer]


@pytest.fixture(scope="module")
def serving() -> Iterator[Serve]:
    """``serving(head_s=...)``: a server with these rules, on a free port of this machine."""
    servers: list[GuardedServer] = []

    def start(host: str = "127.0.0.1", **rules: object) -> GuardedServer:
        servers.append(serve(EngineHost(), host, 0, Rules(TOKEN, **rules)))  # type: ignore[arg-type]
        return servers[-1]

    yield start
    ending = [Thread(target=server.shutdown) for server in servers]
    for thread in ending:
        thread.start()
    for thread, server in zip(ending, servers, strict=True):
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def server(serving: Serve) -> GuardedServer:
    return serving(hosts=frozenset({"by-this-name"}), max_bytes=1000)


def request(
    server: GuardedServer, *lines: str, method: str = "POST", path: str = "/interrupt", body: bytes = b"{}"
) -> bytes:
    host = [] if any(line.startswith("Host:") for line in lines) else [f"Host: 127.0.0.1:{server.server_port}"]
    length = (
        []
        if any(":" in line and line.split(":")[0] in ("Content-Length", "Transfer-Encoding") for line in lines)
        else [f"Content-Length: {len(body)}"]
    )
    head = [f"{method} {path} HTTP/1.1", *host, *lines, *length]
    return "\r\n".join([*(line for line in head if line), "", ""]).encode() + body


def connect(server: GuardedServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.server_port), timeout=PATIENCE_S)


def answer(connection: socket.socket) -> tuple[int, bytes]:
    response = http.client.HTTPResponse(connection)
    response.begin()
    return response.status, response.read()


def status(server: GuardedServer, sent: bytes) -> int:
    with connect(server) as connection:
        connection.sendall(sent)
        return answer(connection)[0]


def drip_until_it_hangs_up(connection: socket.socket, sent: bytes = b"x") -> bytes:
    """Sends a byte now and then until the other side says or ends something; what that is."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if select.select([connection], [], [], 0.02)[0]:
            try:
                return connection.recv(1 << 16)
            except ConnectionResetError:
                return b""
        try:
            connection.sendall(sent)
        except (BrokenPipeError, ConnectionResetError):
            return b""
    raise AssertionError("the server still holds the connection")


@pytest.mark.parametrize(
    ("lines", "wanted"),
    [
        ([BEARER, JSON], 200),
        ([BEARER, "Content-Type: application/json; charset=utf-8"], 200),
        ([BEARER, JSON, "Host: localhost"], 200),
        ([BEARER, JSON, "Host: [::1]:80"], 200),
        ([BEARER, JSON, "Host: by-this-name:8000"], 200),
        ([BEARER, JSON, "Origin: http://evil.example"], 403),
        ([BEARER, JSON, "Origin: null"], 403),
        ([BEARER, JSON, "Host: evil.example"], 403),  # a name that was made to point here
        ([BEARER, JSON, "Host: 127.0.0.1.evil.example"], 403),
        ([BEARER, JSON, "Host: 192.0.2.7"], 403),  # it listens on this machine alone
        ([BEARER, JSON, "Host: localhost", "Host: evil.example"], 403),
        ([BEARER, JSON, "Host:"], 403),
        ([BEARER, JSON, "Host: [::1"], 403),
        ([JSON], 401),
        ([f"Authorization: Bearer {TOKEN[:-1]}", JSON], 401),
        ([f"Authorization: Bearer {TOKEN}x", JSON], 401),
        (["Authorization: Bearer \u00e9", JSON], 401),
        ([f"Authorization: Basic {TOKEN}", JSON], 401),
        ([BEARER], 415),
        ([BEARER, "Content-Type: text/plain"], 415),  # what a form of a web page may send without asking
        ([BEARER, JSON, "Transfer-Encoding: chunked"], 411),
        ([BEARER, JSON, "Content-Length: 2", "Content-Length: 3"], 411),
        ([BEARER, JSON, "Content-Length: -1"], 400),
        ([BEARER, JSON, "Content-Length: 1001"], 413),
        ([BEARER, JSON, f"Content-Length: {10**30}"], 413),
    ],
    ids=lambda value: ", ".join(value) if isinstance(value, list) else "",
)
def test_only_a_request_of_a_run_comes_in(server: GuardedServer, lines: list[str], wanted: int) -> None:
    assert status(server, request(server, *lines)) == wanted
    assert status(server, request(server, BEARER, JSON)) == 200


def test_looking_whether_it_is_there_needs_the_token_too(serving: Serve) -> None:
    server = serving()
    assert status(server, request(server, method="GET", path="/", body=b"")) == 401
    assert status(server, request(server, BEARER, method="GET", path="/", body=b"")) == 200
    assert status(server, request(server, BEARER, method="OPTIONS", path="/", body=b"")) == 501  # what browsers ask


def test_weights_have_a_type_of_their_own(serving: Serve) -> None:
    server = serving()
    assert status(server, request(server, BEARER, JSON, path="/take")) == 415
    kind = "Content-Type: application/octet-stream"
    assert status(server, request(server, BEARER, kind, path="/take")) == 409  # no handover has begun
    assert status(server, request(server, BEARER, kind, path="/open")) == 415


def test_a_server_of_a_network_is_known_by_any_address_and_by_names_it_was_given(serving: Serve) -> None:
    server = serving("0.0.0.0", hosts=frozenset({"gpu-7"}))
    for host in ("192.0.2.7:8000", "[2001:db8::1]:8000", "gpu-7:8000", "GPU-7", "localhost", socket.gethostname()):
        assert server.knows(host), host
    for host in ("evil.example", "192.0.2.7.evil.example", "gpu-8", ""):
        assert not server.knows(host), host


def test_a_long_body_is_refused_before_it_is_read(serving: Serve) -> None:
    server = serving(max_bytes=1000)
    with connect(server) as connection:
        connection.sendall(request(server, BEARER, JSON, "Content-Length: 5000000000", body=b""))
        code, said = answer(connection)
    assert code == 413
    assert b"--max-request-mib 4769 or more" in said


@pytest.mark.parametrize("first", [b"", b"POST /interrupt HTTP/1.1\r\nX: "], ids=["nothing", "half a head"])
def test_a_client_that_stalls_loses_its_connection(serving: Serve, first: bytes) -> None:
    server = serving(head_s=0.3)
    with connect(server) as connection:
        connection.sendall(first)
        assert connection.recv(1) == b""  # PATIENCE_S or TimeoutError


def test_a_client_that_drips_a_head_loses_its_connection(serving: Serve) -> None:
    server = serving(head_s=0.3)
    with connect(server) as connection:
        connection.sendall(b"POST /interrupt HTTP/1.1\r\nX: ")
        assert drip_until_it_hangs_up(connection) == b""


def test_a_client_that_drips_a_body_is_told_and_loses_its_connection(serving: Serve) -> None:
    server = serving(body_s=0.3)
    with connect(server) as connection:
        connection.sendall(request(server, BEARER, JSON, "Content-Length: 100000", body=b""))
        said = drip_until_it_hangs_up(connection)
    assert said.startswith(b"HTTP/1.1 408 ")
    assert b"of 100000 bytes came in time" in said


def test_a_long_body_has_the_time_that_its_length_takes(serving: Serve) -> None:
    server = serving(body_s=0.0, bytes_per_s=100)
    with connect(server) as connection:
        connection.sendall(request(server, BEARER, JSON, "Content-Length: 3000", body=b"{"))
        select.select([connection], [], [], 0.1)
        connection.sendall(b" " * 2998 + b"}")
        assert answer(connection)[0] == 200


def test_a_connection_that_is_no_longer_used_ends(serving: Serve) -> None:
    server = serving(idle_s=0.3)
    with connect(server) as connection:
        for _ in range(2):
            connection.sendall(request(server, BEARER, JSON))
            assert answer(connection)[0] == 200
        assert connection.recv(1) == b""


def test_there_are_only_so_many_connections_and_one_that_ends_makes_room(serving: Serve) -> None:
    server = serving(connections=2, head_s=PATIENCE_S)
    held = [connect(server) for _ in range(2)]
    for connection in held:  # each has its thread once it has been answered
        connection.sendall(request(server, BEARER, JSON))
        assert answer(connection)[0] == 200
    assert status(server, request(server, BEARER, JSON)) == 503
    held[0].close()
    deadline = time.monotonic() + PATIENCE_S
    while (found := status(server, request(server, BEARER, JSON))) == 503 and time.monotonic() < deadline:
        pass
    assert found == 200
    held[1].close()


class Endless(Guarded):
    """Says more than any socket holds."""

    def answer(self, path: str, body: bytes) -> None:
        while True:
            self.connection.within(self.server.rules.answer_s)
            self.wfile.write(bytes(1 << 20))


def test_a_client_that_does_not_read_loses_its_place() -> None:
    with GuardedServer(("127.0.0.1", 0), Endless, Rules(TOKEN, connections=1, answer_s=0.3)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        with connect(server) as deaf:
            deaf.sendall(request(server, BEARER, JSON))
            assert deaf.recv(1, socket.MSG_PEEK)
            deadline = time.monotonic() + PATIENCE_S
            while time.monotonic() < deadline:
                with connect(server) as other:
                    other.sendall(request(server, BEARER, JSON))
                    if other.recv(12) != b"HTTP/1.1 503":
                        break
            else:
                raise AssertionError("the place is still taken")
        server.shutdown()
