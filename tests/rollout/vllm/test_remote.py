"""A run's side of a vLLM server: the whole way over HTTP on loopback, with an engine that only keeps what it is told.

What vLLM makes of it is in ``test_vllm_server.py``, where there is vLLM.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import torch

from thinkery.recipe import VLLMSpec
from thinkery.rollout.vllm import remote as vllm_remote
from thinkery.rollout.vllm.admission import Rules
from thinkery.rollout.vllm.connection import TOKEN
from thinkery.rollout.vllm.engine import CompletionRequest, Drawn, DrawRequest
from thinkery.rollout.vllm.fingerprint import Held
from thinkery.rollout.vllm.remote import RemoteEngine
from thinkery.rollout.vllm.server import EngineHost, main, serve
from thinkery.types import Sampling, UserError

pytestmark = pytest.mark.slow

SECRET = "the-secret-of-this-test"
ORDER = DrawRequest([CompletionRequest((1, 2), 5), CompletionRequest((1, 3), 6)], Sampling(1), 100, (0,), ())
STOP: Any = None  # the server looks for stop strings itself


class Keeper:
    """In vLLM's place: keeps what it is handed, and answers an order with its prompts."""

    def __init__(self) -> None:
        self.label: str | None = None
        self.steps = 0
        self.weights: dict[str, torch.Tensor] = {}

    def receive(self, weights: Iterable[tuple[str, torch.Tensor]], label: str) -> Held:
        self.weights, self.label = dict(weights), label
        return Held({("a",): ("float32", (1,))}, ())

    def draw(self, draw_request: DrawRequest, label: str, stop: object, cut: threading.Event) -> Generator[Drawn]:
        for number, wanted in enumerate(draw_request.completions):
            self.steps += 1
            yield Drawn(number, wanted.prompt_ids, (-0.5,) * len(wanted.prompt_ids), "stop")


@pytest.fixture
def keeper() -> Keeper:
    return Keeper()


@pytest.fixture
def served(keeper: Keeper) -> Iterator[Callable[..., VLLMSpec]]:
    """``served(max_bytes=...)``: how a recipe names a server with these rules and this engine."""
    servers = []

    def start(**rules: Any) -> VLLMSpec:
        work = EngineHost()
        work._engine = keeper  # type: ignore[assignment]
        work._rule = lambda *_: STOP  # type: ignore[assignment]
        threading.Thread(target=work.run, daemon=True).start()
        server = serve(work, "127.0.0.1", 0, Rules(SECRET, **rules))
        servers.append(server)
        url = f"http://127.0.0.1:{server.server_port}"
        return VLLMSpec(mode="server", server_base_url=url, server_timeout=5)

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def _token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN, SECRET)


def test_weights_and_completions_go_through_the_door(served: Callable[..., VLLMSpec], keeper: Keeper) -> None:
    engine = RemoteEngine(served())
    weights = {"a": torch.randn(300, 200), "b": torch.arange(7.0)}
    assert engine.receive(weights.items(), "policy@1").sums == {("a",): ("float32", (1,))}
    assert keeper.label == engine.label == "policy@1"
    assert keeper.weights.keys() == weights.keys()
    assert all(torch.equal(keeper.weights[name], weights[name]) for name in weights)
    drawn = list(engine.draw(ORDER, "policy@1", STOP, threading.Event()))
    assert [(one.number, one.token_ids) for one in drawn] == [(0, (1, 2)), (1, (1, 3))]
    with pytest.raises(RuntimeError, match="this server holds weights policy@1, and completions of policy@2"):
        list(engine.draw(ORDER, "policy@2", STOP, threading.Event()))


def test_another_token_is_told_of_at_once(
    served: Callable[..., VLLMSpec], keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = served()
    engine = RemoteEngine(spec)
    monkeypatch.setenv(TOKEN, "the-secret-of-another-server")
    with pytest.raises(UserError, match=r"has another token than this run: set THINKERY_VLLM_TOKEN"):
        RemoteEngine(spec)
    engine._token = "one that was right before the server was started anew"
    with pytest.raises(UserError, match="lacks this server's token, or has another one"):
        engine.receive([("a", torch.ones(2))], "policy@1")
    assert keeper.label is None


def test_a_request_that_is_too_long_says_how_to_start_the_server(served: Callable[..., VLLMSpec]) -> None:
    engine = RemoteEngine(served(max_bytes=1 << 20))
    with pytest.raises(UserError, match=r"this server takes at most 1048576: start it with --max-request-mib 25 or"):
        engine.receive([("a", torch.zeros(6, 1 << 20))], "policy@1")  # 24 MiB and a head, of which nothing is read


def test_a_server_by_a_name_that_it_does_not_know_is_told_of(served: Callable[..., VLLMSpec]) -> None:
    spec = served()
    assert spec.server_base_url is not None
    by_name = spec.model_copy(update={"server_base_url": spec.server_base_url.replace("127.0.0.1", "127.1")})
    with pytest.raises(UserError, match=r"not known as 127\.1:\d+: use its address, or start it with --allowed-host"):
        RemoteEngine(by_name)


@contextmanager
def dripping(first: bytes) -> Iterator[str]:
    """The address of something that answers with ``first``, and then with a byte now and then, for ever."""
    over = threading.Event()

    def serve_one(connection: socket.socket) -> None:
        with connection:
            try:
                connection.recv(1 << 16)
                connection.sendall(first)
                while not over.wait(0.02):
                    connection.sendall(b"x")
            except OSError:
                pass

    def serve_all(listener: socket.socket) -> None:
        while not over.is_set():
            connection = listener.accept()[0]
            threading.Thread(target=serve_one, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve_all, args=(listener,), daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        over.set()
        socket.create_connection(listener.getsockname()).close()  # the last to be accepted


ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n"


@pytest.mark.parametrize("first", [b"HTTP/1.1 200 OK\r\nX: ", ANSWER], ids=["head", "body"])
def test_a_server_that_drips_is_given_up(first: bytes) -> None:
    with dripping(first) as url:
        spec = VLLMSpec(mode="server", server_base_url=url, server_timeout=1)
        with pytest.raises(UserError, match=f"nothing answers at {url}"):
            RemoteEngine(spec)


def test_a_server_that_drips_later_is_given_up_as_well(
    served: Callable[..., VLLMSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = RemoteEngine(served())
    monkeypatch.setattr(vllm_remote, "HANDOVER_S", 0.5)
    monkeypatch.setattr(vllm_remote, "SILENCE_S", 0.5)
    with dripping(ANSWER) as engine.url:
        with pytest.raises(RuntimeError, match="did not answer /begin: TimeoutError"):
            engine.receive([("a", torch.ones(2))], "policy@1")
        with pytest.raises(RuntimeError, match="has said nothing for"):
            list(engine.draw(ORDER, "policy@1", STOP, threading.Event()))


def test_a_server_that_the_run_starts_has_a_token_that_nobody_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TOKEN)
    engine = RemoteEngine(VLLMSpec(mode="server"))
    try:
        token = engine._token
        assert len(token) >= 32
        for name in ("cmdline", "environ"):
            assert token.encode() not in Path(f"/proc/{engine.process_id}/{name}").read_bytes()
        for headers, status in (({}, 401), ({"Authorization": f"Bearer {token}"}, 200)):
            connection = HTTPConnection(urlsplit(engine.url).netloc, timeout=30)
            connection.request("GET", "/", headers=headers)
            assert connection.getresponse().status == status
            connection.close()
    finally:
        engine.close()
    with pytest.raises(ProcessLookupError):  # it ended with us
        os.kill(engine.process_id or 0, 0)


def test_a_server_of_the_users_does_not_start_without_a_token(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(TOKEN)
    monkeypatch.setattr(sys, "argv", ["vllm_server", "--port", "0"])
    with pytest.raises(SystemExit, match="2"):
        main()
    said = capsys.readouterr()
    assert "set THINKERY_VLLM_TOKEN to a secret" in said.err
    assert said.out == ""
