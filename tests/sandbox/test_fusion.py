"""The SandboxFusion adapter, against a server here that speaks the documented interface and really runs programs."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from thinkery.sandbox import Limits, Program, RunResult, Sandbox, Status
from thinkery.sandbox.fusion import SandboxFusion
from thinkery.types import UserError

pytestmark = pytest.mark.slow

FAST = Limits(wall_s=1.0)


class FusionServer(ThreadingHTTPServer):
    """``POST /run_code`` as SandboxFusion's API documentation has it, over the local sandbox.

    ``misbehave`` is called with each request's handler first, and may answer in its place by returning True.
    """

    daemon_threads = True

    def __init__(self, sandbox: Sandbox) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.sandbox = sandbox
        self.requests: list[dict[str, Any]] = []
        self.misbehave: Callable[[Handler, int], bool] = lambda handler, count: False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is no news."""


class Handler(BaseHTTPRequestHandler):
    server: FusionServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append(body)
        if self.server.misbehave(self, len(self.server.requests)):
            return
        if self.path != "/run_code" or body.get("language") not in ("python", "cpp"):
            self.answer({"detail": "no"}, 404 if self.path != "/run_code" else 422)
            return
        limits = Limits(wall_s=body["run_timeout"], memory_bytes=body["memory_limit_MB"] << 20)
        result = self.server.sandbox.run(Program(body["code"], body["language"]), body["stdin"] or "", limits)
        self.answer(documented(result, compiled=body["language"] == "cpp"))

    def answer(self, value: object, status: int = 200) -> None:
        self.answer_bytes(json.dumps(value).encode(), status)

    def answer_bytes(self, content: bytes, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


def documented(result: RunResult, compiled: bool) -> dict[str, Any]:
    """A result as ``RunCodeResponse``."""
    stage = {
        "status": "TimeLimitExceeded" if result.status is Status.TIMEOUT else "Finished",
        "execution_time": result.wall_s,
        "return_code": None if result.status is Status.TIMEOUT else result.exit_code,
        "stdout": result.stdout,
        "stderr": result.stderr,
    }
    fine = {"status": "Finished", "execution_time": 0.1, "return_code": 0, "stdout": "", "stderr": ""}
    failed = result.status is Status.COMPILE_ERROR
    return {
        "status": "Success" if result.ok else "Failed",
        "message": "",
        "compile_result": (stage if failed else fine) if compiled else None,
        "run_result": None if failed else stage,
        "executor_pod_name": None,
        "files": {},
    }


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(workers=1) as sandbox:
        yield sandbox


@pytest.fixture
def server(sandbox: Sandbox) -> Iterator[FusionServer]:
    server = FusionServer(sandbox)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join(10)


def test_a_program_makes_the_round_trip(server: FusionServer) -> None:
    with SandboxFusion(server.url) as fusion:
        result = fusion.run(Program("print(int(input()) + 1, 'é')"), "41\n")
        twice = fusion.submit(Program("print(int(input()) * 2)"), "21\n").result(timeout=30)
    assert (result.status, result.exit_code, result.stdout, result.stderr) == (Status.OK, 0, "42 é\n", "")
    assert 0 < result.wall_s < 30
    assert (twice.status, twice.stdout) == (Status.OK, "42\n")


def test_a_request_says_what_the_interface_documents(server: FusionServer) -> None:
    with SandboxFusion(server.url + "/") as fusion:
        fusion.run(Program("pass"), "in", Limits(wall_s=3.5, memory_bytes=(100 << 20) + 1))
    sent = server.requests[0]
    assert sent.pop("compile_timeout") > 0
    assert sent == {"code": "pass", "language": "python", "stdin": "in", "run_timeout": 3.5, "memory_limit_MB": 101}


def test_failures_of_a_program_are_results(server: FusionServer) -> None:
    with SandboxFusion(server.url) as fusion:
        error = fusion.run(Program("import sys; print('a'); sys.exit(3)"))
        raised = fusion.run(Program("1 / 0"))
        late = fusion.run(Program("print('early', flush=True)\nwhile True: pass"), limits=FAST)
    assert (error.status, error.exit_code, error.stdout) == (Status.ERROR, 3, "a\n")
    assert raised.status is Status.ERROR
    assert "ZeroDivisionError" in raised.stderr
    assert (late.status, late.exit_code, late.stdout) == (Status.TIMEOUT, None, "early\n")
    assert len(server.requests) == 3  # none of them was tried again


def test_a_compiled_program_runs_or_says_why_it_does_not_compile(server: FusionServer) -> None:
    source = "#include <iostream>\nint main() { int n; std::cin >> n; std::cout << n + 1; }"
    with SandboxFusion(server.url) as fusion:
        good = fusion.run(Program(source, "cpp"), "41")
        bad = fusion.run(Program("int main() { return x; }", "cpp"))
    assert (good.status, good.stdout) == (Status.OK, "42")
    assert bad.status is Status.COMPILE_ERROR
    assert "was not declared" in bad.stderr


def test_scripts_that_print_json_come_back_whole(server: FusionServer) -> None:
    code = "import json; print(json.dumps([None, 1.5, 'ü\\n', {'a': []}] * 1000))"
    with SandboxFusion(server.url) as fusion:
        result = fusion.run(Program(code))
    assert json.loads(result.stdout) == [None, 1.5, "ü\n", {"a": []}] * 1000


def test_many_requests_are_under_way_at_once(server: FusionServer) -> None:
    meeting = threading.Barrier(6, timeout=30)

    def meet(handler: Handler, count: int) -> bool:
        meeting.wait()  # passes only if six requests are here together
        return False

    server.misbehave = meet
    with SandboxFusion(server.url, workers=6) as fusion:
        futures = [fusion.submit(Program(f"print({index})")) for index in range(6)]
        assert [future.result(timeout=60).stdout for future in futures] == [f"{index}\n" for index in range(6)]


def hang_up(handler: Handler, count: int) -> bool:
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()  # a reset
    return True


def say(content: bytes, status: int = 200) -> Callable[[Handler, int], bool]:
    def answer(handler: Handler, count: int) -> bool:
        handler.answer_bytes(content, status)
        return True

    return answer


def stop_in_the_middle(handler: Handler, count: int) -> bool:
    handler.wfile.write(b'HTTP/1.0 200 OK\r\nContent-Length: 100\r\n\r\n{"status": "Succ')
    return True


STAGE = {"status": "Finished", "execution_time": 0.1, "return_code": 0, "stdout": "", "stderr": ""}
TROUBLE = {
    "500": (say(b"oops", 500), "HTTP 500"),
    "503": (say(b"", 503), "HTTP 503"),
    "too many requests": (say(b"", 429), "HTTP 429"),
    "hang up": (hang_up, "Connection"),
    "half an answer": (stop_in_the_middle, "broke off"),
    "not HTTP": (lambda handler, count: bool(handler.wfile.write(b"\x00\xff hello\r\n\r\n")), "BadStatusLine"),
    "not JSON": (say(b"<html>hello</html>"), "not JSON"),
    "deep JSON": (say(b"[" * 100_000), "not JSON"),
    "other JSON": (say(b'{"answer": 42}'), "not an answer of SandboxFusion"),
    "a list": (say(b"[1]"), "not an answer of SandboxFusion"),
    "no run": (say(b'{"status": "Success", "run_result": null}'), "without a run"),
    "a run of nonsense": (say(b'{"status": "Success", "run_result": 7}'), "not the result of a command"),
    "output of nonsense": (
        say(json.dumps({"status": "Success", "run_result": {**STAGE, "stdout": [1]}}).encode()),
        "output that is no text",
    ),
    "no code": (
        say(json.dumps({"status": "Success", "run_result": {**STAGE, "return_code": None}}).encode()),
        "without a return code",
    ),
    "its sandbox": (say(b'{"status": "SandboxError", "message": "cgroup is full"}'), "cgroup is full"),
}


@pytest.mark.parametrize("name", TROUBLE)
def test_passing_trouble_is_tried_again(server: FusionServer, name: str) -> None:
    trouble, _ = TROUBLE[name]
    server.misbehave = lambda handler, count: count <= 2 and trouble(handler, count)
    with SandboxFusion(server.url) as fusion:
        assert fusion.run(Program("print('in the end')")).stdout == "in the end\n"
    assert len(server.requests) == 3


@pytest.mark.parametrize("name", TROUBLE)
def test_lasting_trouble_loses_the_run_and_says_why(server: FusionServer, name: str) -> None:
    trouble, reason = TROUBLE[name]
    server.misbehave = trouble
    with SandboxFusion(server.url, patience_s=0.1) as fusion:
        result = fusion.run(Program("print(1)"), limits=Limits(wall_s=0.1))
    assert (result.status, result.stdout) == (Status.LOST, "")
    assert reason in result.reason
    assert server.url in result.reason
    assert len(server.requests) > 1


@pytest.mark.parametrize("drips", [b"", b"HTTP/1.0 200 OK\r\n", b"HTTP/1.0 200 OK\r\nContent-Length: 100\r\n\r\n"])
def test_an_answer_that_never_ends_is_cut_off(server: FusionServer, drips: bytes) -> None:
    over = threading.Event()

    def drip(handler: Handler, count: int) -> bool:
        handler.wfile.write(drips)
        while not over.wait(0.01):
            handler.wfile.write(b"x" if drips else b"")
        return True

    server.misbehave = drip
    with SandboxFusion(server.url, patience_s=0.2) as fusion:
        future = fusion.submit(Program("print(1)"), "", Limits(wall_s=0.2))
        result = future.result(timeout=30)
        over.set()
    assert result.status is Status.LOST
    assert "no answer in time" in result.reason


def test_whoever_closes_waits_for_no_answer(server: FusionServer) -> None:
    """Ctrl-C closes it, and a request may have an hour of patience left."""
    asked, over = threading.Event(), threading.Event()

    def wait(handler: Handler, count: int) -> bool:
        asked.set()
        return over.wait(120)

    server.misbehave = wait
    fusion = SandboxFusion(server.url, patience_s=3600)
    future = fusion.submit(Program("print(1)"))
    assert asked.wait(60)
    closing = threading.Thread(target=fusion.close, daemon=True)
    closing.start()
    closing.join(60)
    assert not closing.is_alive()
    assert future.result(timeout=0).status is Status.LOST
    over.set()


def test_a_server_that_is_not_there_is_a_mistake_of_the_users() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens, and nobody else can take the port
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with SandboxFusion(url, patience_s=0.2) as fusion, pytest.raises(UserError, match=f"cannot reach .*{url}"):
            fusion.run(Program("print(1)"))


def test_another_kind_of_server_is_a_mistake_of_the_users(server: FusionServer) -> None:
    server.misbehave = say(b"not here", 404)
    with SandboxFusion(server.url) as fusion, pytest.raises(UserError, match=r"HTTP 404.*not here"):
        fusion.run(Program("print(1)"))


@pytest.mark.parametrize("url", ["", "localhost:8080", "ftp://a", "http://", "http://a:port", "http://a/?x=1"])
def test_nonsense_for_a_url_is_refused_at_once(url: str) -> None:
    with pytest.raises(UserError, match="http://localhost:8080"):
        SandboxFusion(url)


def test_output_that_the_server_may_have_cut_counts_as_too_much(server: FusionServer) -> None:
    stage = {**STAGE, "stdout": "é" * (1 << 19)}
    server.misbehave = say(json.dumps({"status": "Success", "run_result": stage}).encode())
    with SandboxFusion(server.url) as fusion:
        full = fusion.run(Program("pass"))
        less = fusion.run(Program("pass"), limits=Limits(output_bytes=5))
    assert full.status is less.status is Status.OUTPUT
    assert less.stdout == "éé"


def test_an_answer_without_end_is_not_read_to_the_end(server: FusionServer) -> None:
    server.misbehave = lambda handler, count: bool(
        handler.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n") and handler.wfile.write(b" " * (20 << 20))
    )
    with SandboxFusion(server.url, patience_s=1.0) as fusion:
        result = fusion.run(Program("pass"), limits=Limits(wall_s=0.5))
    assert result.status is Status.LOST
    assert "an answer of over" in result.reason


def test_half_characters_do_not_go_out(server: FusionServer) -> None:
    with SandboxFusion(server.url) as fusion:
        fusion.run(Program("# \ud800\U0001f600"), b"\xff1\n")
    assert (server.requests[0]["code"], server.requests[0]["stdin"]) == ("# \ufffd\U0001f600", "\ufffd1\n")


def test_half_characters_do_not_come_in(server: FusionServer) -> None:
    content = json.dumps({"status": "Success", "run_result": {**STAGE, "stdout": "a"}}).replace('"a"', '"a\\ud800b"')
    server.misbehave = say(content.encode())
    with SandboxFusion(server.url) as fusion:
        assert fusion.run(Program("pass")).stdout == "a\ufffdb"


def test_closing_drops_what_waits(server: FusionServer) -> None:
    asked = threading.Event()

    def refuse(handler: Handler, count: int) -> bool:
        asked.set()
        handler.answer_bytes(b"", 503)
        return True

    server.misbehave = refuse
    fusion = SandboxFusion(server.url, workers=1, patience_s=600.0)
    futures = [fusion.submit(Program("print(1)")) for _ in range(3)]
    assert asked.wait(30)
    fusion.close()
    assert futures[0].result(timeout=30).status is Status.LOST
    assert futures[2].cancelled()
