"""A vLLM engine behind HTTP, for runs in another process, environment or machine.

    python -m thinkery.rollout.vllm.server --port 8000

It starts empty: the first run that connects brings the model's configuration, its tokenizer and its weights. The engine
works in the main thread, one job after the other; each connection has a thread that hands jobs in. Requests: ``POST
/open`` (settings, tokenizer), ``/begin``, ``/take`` (safetensors), ``/end`` (a handover), ``/draw`` (a stream of JSON
lines), ``/interrupt``. Every request carries the server's token, from ``THINKERY_VLLM_TOKEN``, or from the run that has
started it, as the first line of standard input. Left out: who may come in, and how long they may take
(``admission.py``); encryption.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from thinkery.rollout.base import StopRule
from thinkery.rollout.vllm.admission import MAX_BYTES, Guarded, GuardedServer, Rules
from thinkery.rollout.vllm.connection import HOW_TO_SET, TOKEN, WEIGHTS, token_of_environment
from thinkery.rollout.vllm.engine import Drawn, EngineSettings, InProcessEngine, engine_for
from thinkery.rollout.vllm.fingerprint import Held
from thinkery.rollout.vllm.wire import (
    WeightsReader,
    read_draw_request,
    read_settings,
    read_tokenizer,
    write_drawn,
    write_held,
)
from thinkery.types import UserError

BEAT_S = 0.5  # a stream says something at least so often
BUCKET_S = 120.0  # until the next bucket of a handover must be there
_END = object()


class Refused(Exception):  # noqa: N818  (an answer, no defect)
    """Something that can't be done in the server's present state."""


class IncomingWeights:
    """A set of weights on its way from one connection to the engine."""

    def __init__(self) -> None:
        self.result: queue.SimpleQueue[Held | Exception] = queue.SimpleQueue()
        self._reader = WeightsReader()
        self._buckets: queue.Queue[list[tuple[str, torch.Tensor]] | None] = queue.Queue(maxsize=1)

    def take(self, body: bytes) -> None:
        """Hands in some weights. ``Refused`` if nobody takes them any more."""
        self._put(self._reader.read(body))

    def _put(self, bucket: list[tuple[str, torch.Tensor]] | None) -> None:
        try:
            self._buckets.put(bucket, timeout=BUCKET_S)
        except queue.Full:
            raise Refused("the handover has stopped: begin it anew") from None

    def end(self) -> Held:
        """Waits for what comes of it."""
        self._reader.end()
        self._put(None)
        outcome = self.result.get()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def arriving(self) -> Iterator[tuple[str, torch.Tensor]]:
        """The tensors as they come, for the engine. Raises ``Refused`` if the next ones don't."""
        while True:
            try:
                bucket = self._buckets.get(timeout=BUCKET_S)
            except queue.Empty:
                raise Refused(f"no weights came for {BUCKET_S:.0f} s in the middle of a handover") from None
            if bucket is None:
                return
            yield from bucket


class EngineHost:
    """The engine and all that is done with it. Methods named ``do_`` run in the main thread."""

    def __init__(self) -> None:
        self.jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.interrupted = threading.Event()  # of the present ``draw``
        self._engine: InProcessEngine | None = None
        self._opened: tuple[EngineSettings, dict[str, str]] | None = None
        self._tokenizer: PreTrainedTokenizerBase | None = None
        self._rules: dict[tuple[Any, ...], StopRule] = {}

    def run(self) -> None:
        """Works until the process ends."""
        while True:
            self.jobs.get()()

    def call(self, engine_host: Callable[[], Any]) -> Any:
        """Has the main thread do something, and waits for what comes of it."""
        result: queue.SimpleQueue[Any] = queue.SimpleQueue()

        def job() -> None:
            try:
                result.put((engine_host(), None))
            except Exception as error:
                result.put((None, error))

        self.jobs.put(job)
        value, error = result.get()
        if error is not None:
            raise error
        return value

    def steps(self) -> int:
        """How often the engine has computed something."""
        return self._engine.steps if self._engine is not None else 0

    def do_open(self, data: dict[str, Any]) -> dict[str, Any]:
        """Opens the engine, unless it is open with these very settings."""
        settings = read_settings(data)
        if self._opened != (settings, data["tokenizer"]):
            self._opened, self._engine = None, None
            self._tokenizer, self._rules = read_tokenizer(data["tokenizer"]), {}
            self._engine = engine_for(settings)
            self._opened = settings, data["tokenizer"]
        return {}

    def begin(self, label: str) -> IncomingWeights:
        """Starts to take new weights; they come over the connection that asked for it."""
        engine, handover = self._require(), IncomingWeights()

        def job() -> None:
            try:
                handover.result.put(engine.receive(handover.arriving(), label))
            except Exception as error:
                self._opened = self._engine = None  # to be opened anew
                handover.result.put(error)

        self.jobs.put(job)
        return handover

    def draw(self, data: dict[str, Any]) -> Generator[Drawn | None]:
        """Completions as they finish, and None when nothing has for a while. Closing it ends the job."""
        engine, draw_request = self._require(), read_draw_request(data)
        self.interrupted = interrupted = threading.Event()
        given_up = threading.Event()
        results: queue.SimpleQueue[Any] = queue.SimpleQueue()

        def job() -> None:
            try:
                if engine.label != data["label"]:
                    raise Refused(
                        f"this server holds weights {engine.label}, and completions of {data['label']} are asked for: "
                        "another run uses it, or it was started anew"
                    )
                stop = self._rule(draw_request.vocabulary, draw_request.stop_token_ids, draw_request.stop_strings)
                stream = engine.draw(draw_request, data["label"], stop, interrupted)
                for drawn in stream:
                    results.put(drawn)
                    if given_up.is_set():
                        stream.close()
                        break
                results.put(_END)
            except Exception as error:
                results.put(error)

        self.jobs.put(job)
        try:
            while (result := _next(results)) is not _END:
                if isinstance(result, Exception):
                    raise result
                yield result
        finally:
            given_up.set()
            interrupted.set()

    def _rule(self, vocabulary: int, token_ids: tuple[int, ...], strings: tuple[str, ...]) -> StopRule:
        key = vocabulary, token_ids, strings
        if key not in self._rules:
            assert self._tokenizer is not None
            self._rules = {key: StopRule(self._tokenizer, vocabulary, token_ids, strings, torch.device("cpu"))}
        return self._rules[key]

    def _require(self) -> InProcessEngine:
        if self._engine is None:
            raise Refused("no model is open on this server")
        return self._engine


def _next(results: queue.SimpleQueue[Any]) -> Any:
    try:
        return results.get(timeout=BEAT_S)
    except queue.Empty:
        return None


class Handler(Guarded):
    """A connection. Errors are told as JSON: 400 the user's mistake, 409 not in this state, 500 anything else."""

    types = {"/take": WEIGHTS}  # noqa: RUF012
    engine_host: EngineHost
    _handover: IncomingWeights | None = None  # this connection's

    def answer(self, path: str, body: bytes) -> None:
        """One of the requests above; a GET is told that the server is there."""
        try:
            if self.command == "GET":
                self.reply(200, {"thinkery": "vllm"})
            elif path == "/draw":
                self._stream(json.loads(body))
            else:
                self.reply(200, self._answer(body))
        except (ConnectionError, TimeoutError):  # nobody takes the answer
            self.close_connection = True
        except UserError as error:
            self.reply(400, {"error": str(error)})
        except Refused as error:
            self.reply(409, {"error": str(error)})
        except Exception as error:
            self.reply(500, {"error": f"{type(error).__name__}: {error}"})

    def _answer(self, body: bytes) -> dict[str, Any]:
        engine_host = self.engine_host
        if self.path == "/open":
            return dict(engine_host.call(lambda: engine_host.do_open(json.loads(body))))
        if self.path == "/begin":
            self._handover = engine_host.begin(json.loads(body)["label"])
            return {}
        if self.path == "/take" and self._handover is not None:
            self._handover.take(body)
            return {}
        if self.path == "/end" and self._handover is not None:
            return write_held(self._handover.end())
        if self.path == "/interrupt":
            engine_host.interrupted.set()
            return {}
        raise Refused(f"there is no {self.path} here, or not now")

    def _stream(self, data: dict[str, Any]) -> None:
        """JSON lines: completions, and in between how often the engine has computed something."""
        stream = self.engine_host.draw(data)
        first = next(stream, _END)  # an error before the first line is an answer of its own
        try:
            self.connection.within(self.server.rules.answer_s)
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            while first is not _END:
                self._line(write_drawn(first) if isinstance(first, Drawn) else {"steps": self.engine_host.steps()})
                first = next(stream, _END)
            self._line({"over": True})
        except (ConnectionError, TimeoutError):
            raise
        except Exception as error:
            self._line({"error": f"{type(error).__name__}: {error}"})
        finally:
            stream.close()
        self.wfile.write(b"0\r\n\r\n")

    def _line(self, data: Any) -> None:
        line = json.dumps(data).encode() + b"\n"
        self.connection.within(self.server.rules.answer_s)
        self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))


def serve(engine_host: EngineHost, host: str, port: int, rules: Rules) -> GuardedServer:
    """A server of this work that listens, in threads of its own. ``engine_host.run`` has to be running somewhere."""
    server = GuardedServer((host, port), type("Bound", (Handler,), {"engine_host": engine_host}), rules)
    threading.Thread(target=server.serve_forever, name="vllm-server", daemon=True).start()
    return server


def main() -> None:
    """Serves until it is killed; with ``--until-stdin-closes`` until whoever started it is gone, however it went."""
    parser = argparse.ArgumentParser(description="A vLLM engine for runs of Thinkery.", epilog=HOW_TO_SET)
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (this machine only)")
    parser.add_argument("--port", type=int, default=8000, help="0: any free one")
    parser.add_argument(
        "--allowed-host", action="append", default=[], metavar="NAME", help="a name that runs reach it by; repeatable"
    )
    parser.add_argument(
        "--max-request-mib",
        type=int,
        default=MAX_BYTES >> 20,
        help="the longest request; weights come in parts of 256 MiB, prompts all at once (default %(default)s)",
    )
    parser.add_argument(
        "--until-stdin-closes", action="store_true", help="end when standard input does; its first line is the token"
    )
    arguments = parser.parse_args()
    if arguments.until_stdin_closes:
        token: str | None = sys.stdin.buffer.readline().decode().strip() or None
        threading.Thread(target=_end_with_stdin, daemon=True).start()
    else:
        token = token_of_environment()
    os.environ.pop(TOKEN, None)  # no process of vLLM's needs it
    if token is None:
        parser.error(HOW_TO_SET)
    names = frozenset(name.lower() for name in arguments.allowed_host)
    rules = Rules(token, names, arguments.max_request_mib << 20)
    engine_host = EngineHost()
    server = serve(engine_host, arguments.host, arguments.port, rules)
    print(f"http://{arguments.host}:{server.server_port}", flush=True)
    os.dup2(2, 1)  # nobody reads on: what vLLM prints belongs with the rest of its log
    engine_host.run()


def _end_with_stdin() -> None:
    sys.stdin.buffer.read()
    os._exit(0)  # the main thread may be deep in vLLM


if __name__ == "__main__":
    main()
