"""The run's side of a vLLM server: an engine that is reached over HTTP, and the process of it where we start one.

Weights go over in buckets, in the type that vLLM computes in; completions come back as they finish. Every wait has a
deadline: a server that works says so twice a second. A server that is started here gets a token of its own, one that
runs already has the user's (``THINKERY_VLLM_TOKEN``). Left out: servers that other programs speak to
(``server.py`` has a protocol of its own, since vLLM's knows neither counter-based draws nor weights in a body).
"""

from __future__ import annotations

import atexit
import contextlib
import http.client
import json
import queue
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from thinkery.recipe import VLLMSpec
from thinkery.rollout.base import StopRule
from thinkery.rollout.vllm.connection import (
    HOW_TO_SET,
    JSON,
    MAX_REPLY_BYTES,
    WEIGHTS,
    Connection,
    require_token,
    whole,
)
from thinkery.rollout.vllm.engine import Drawn, DrawRequest, EngineSettings
from thinkery.rollout.vllm.fingerprint import Held
from thinkery.rollout.vllm.wire import (
    read_drawn,
    read_held,
    write_draw_request,
    write_settings,
    write_tokenizer,
    write_weights,
)
from thinkery.types import UserError

HANDOVER_S = 300.0  # until a bucket must have been taken
SILENCE_S = 60.0  # until a server that draws must have said something
SLOWEST_BYTES_PER_S = 1 << 20  # that a long request may travel
_OF_THE_USER = (400, 401, 403, 413)  # not the run's own, the token, the name of the server, the length of a request
_CLOSE_S = 10.0  # until a server that was asked to end is killed


class RemoteEngine:
    """An ``Engine`` (``engine.py``) in another process."""

    def __init__(self, spec: VLLMSpec) -> None:
        """Connects to the server, or starts one. Raises ``UserError`` if there is none in time."""
        self.label: str | None = None
        self.steps = 0
        self._timeout = spec.server_timeout
        self._opened: tuple[EngineSettings, dict[str, str]] | None = None
        self._dtype = torch.float32
        deadline = time.monotonic() + spec.server_timeout
        self._process = None
        if spec.server_base_url:
            self.url, self._token = spec.server_base_url, require_token("rollout.server_base_url")
        else:
            self._token = secrets.token_urlsafe(32)
            self._process = _Process(spec.server_python or sys.executable, self._token, deadline)
            self.url = self._process.url
        _await(self.url, self._token, deadline)

    def open(self, settings: EngineSettings, tokenizer: PreTrainedTokenizerBase) -> None:
        """Has the server open a model, unless it has it open."""
        wanted = settings, write_tokenizer(tokenizer)
        if self._opened != wanted:
            self.label = self._opened = None
            self._post("/open", write_settings(settings) | {"tokenizer": wanted[1]}, self._timeout)
            self._opened, self._dtype = wanted, getattr(torch, settings.dtype)

    def receive(self, weights: Iterable[tuple[str, torch.Tensor]], label: str) -> Held:
        """See ``Engine``."""
        self.label = None
        connection = Connection(self.url, self._token)
        try:
            self._send(connection, "/begin", json.dumps({"label": label}).encode(), HANDOVER_S)
            for body in write_weights((name, tensor.to(self._dtype)) for name, tensor in weights):
                self._send(connection, "/take", body, HANDOVER_S, WEIGHTS)
            held = read_held(self._send(connection, "/end", b"{}", HANDOVER_S))
        except (RuntimeError, UserError):
            self._opened = None  # the server has given its engine up
            raise
        finally:
            connection.close()
        self.label = label
        return held

    def draw(
        self, draw_request: DrawRequest, label: str, stop: StopRule, interrupted: threading.Event
    ) -> Generator[Drawn]:
        """See ``Engine``. The server looks for the stop strings itself."""
        connection = Connection(self.url, self._token)
        try:
            body = json.dumps(write_draw_request(draw_request) | {"label": label}).encode()
            response = self._request(connection, "/draw", body, SILENCE_S + len(body) / SLOWEST_BYTES_PER_S)
            notified = False
            while True:
                connection.within(SILENCE_S)
                line = _line(response, self.url)
                if interrupted.is_set() and not notified:
                    notified = True
                    self._post("/interrupt", {}, SILENCE_S)
                if isinstance(line, list):
                    yield read_drawn(line)
                elif "error" in line:
                    raise RuntimeError(f"the vLLM server at {self.url}: {line['error']}")
                elif "over" in line:
                    return
                else:
                    self.steps = line["steps"]
        finally:
            connection.close()

    def rest(self) -> None:
        """Nothing: a server has memory of its own."""

    @property
    def process_id(self) -> int | None:
        """The server's, if it was started here."""
        return None if self._process is None else self._process.id

    def close(self) -> None:
        """Ends the server, if it was started here."""
        self.label = None
        if self._process is not None:
            self._process.close()

    def _post(self, path: str, data: dict[str, Any], timeout: float) -> None:
        connection = Connection(self.url, self._token)
        try:
            self._send(connection, path, json.dumps(data).encode(), timeout)
        finally:
            connection.close()

    def _send(self, connection: Connection, path: str, body: bytes, timeout: float, kind: str = JSON) -> dict[str, Any]:
        response = self._request(connection, path, body, timeout, kind)
        try:
            return dict(json.loads(whole(response)))
        except (OSError, http.client.HTTPException, ValueError) as lost:
            raise self._lost(path, lost) from lost

    def _request(
        self, connection: Connection, path: str, body: bytes, timeout: float, kind: str = JSON
    ) -> http.client.HTTPResponse:
        """Raises ``UserError`` for a mistake of the user's, ``RuntimeError`` for all else that goes wrong."""
        connection.within(timeout)
        try:
            response = connection.wanted(path, body, kind)
            if response.status == 200:
                return response
            error = json.loads(whole(response)).get("error", "")
        except (OSError, http.client.HTTPException, ValueError) as lost:
            raise self._lost(path, lost) from lost
        if response.status in _OF_THE_USER:
            raise UserError(f"the vLLM server at {self.url}: {error}" if response.status != 400 else error)
        raise RuntimeError(f"the vLLM server at {self.url}: {error}{self._said()}")

    def _lost(self, path: str, error: Exception) -> RuntimeError:
        return RuntimeError(f"the vLLM server at {self.url} did not answer {path}: {error!r}{self._said()}")

    def _said(self) -> str:
        return "" if self._process is None else self._process.said()


_servers: dict[tuple[str | None, str | None], RemoteEngine] = {}


def remote_engine_for(settings: EngineSettings, tokenizer: PreTrainedTokenizerBase) -> RemoteEngine:
    """The engine of the server that the settings name; a server that is started here serves all stages of the run."""
    place = settings.spec.server_base_url, settings.spec.server_python
    if place not in _servers:
        _servers[place] = RemoteEngine(settings.spec)
    _servers[place].open(settings, tokenizer)
    return _servers[place]


class _Process:
    """A server that was started here, and ends with this process."""

    def __init__(self, python: str, token: str, deadline: float) -> None:
        self._log = tempfile.NamedTemporaryFile(prefix="thinkery-vllm-", suffix=".log")  # noqa: SIM115  (kept open)
        command = [python, "-m", "thinkery.rollout.vllm.server", "--port", "0", "--until-stdin-closes"]
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True
            )
        except OSError as error:
            raise UserError(
                f"rollout.server_python: {python} can't be run ({error}): name a Python interpreter"
            ) from error
        self.id = self._process.pid
        atexit.register(self.close)
        assert self._process.stdout is not None
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # it ended at once: what it said comes below
            self._process.stdin.write(f"{token}\n")  # no argument and no variable, which others could see
            self._process.stdin.flush()
        first: queue.SimpleQueue[str] = queue.SimpleQueue()
        output = self._process.stdout
        threading.Thread(target=lambda: first.put(output.readline()), daemon=True).start()
        try:
            self.url = first.get(timeout=max(1.0, deadline - time.monotonic())).strip()
        except queue.Empty:
            self.url = ""
        if not self.url:
            said = self.said()
            self.close()
            raise UserError(
                f"the vLLM server did not start with {python}: its environment needs vLLM and Thinkery{said}"
            )

    def said(self) -> str:
        """The last lines of its log, to be put behind an error."""
        lines = Path(self._log.name).read_text(errors="replace").splitlines() if not self._log.closed else []
        return "".join(f"\n  {line}" for line in lines[-5:])

    def close(self) -> None:
        """Ends it."""
        atexit.unregister(self.close)
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        try:
            self._process.wait(_CLOSE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()


def _await(url: str, token: str, deadline: float) -> None:
    """Waits until a server answers. Raises ``UserError`` at the deadline."""
    while True:
        connection = Connection(url, token)
        connection.within(max(1.0, deadline - time.monotonic()))
        try:
            response = connection.wanted("/")
            answer = json.loads(whole(response))
            if response.status == 200 and answer.get("thinkery") == "vllm":
                return
            if response.status == 401:
                raise UserError(f"rollout.server_base_url: {url} has another token than this run: {HOW_TO_SET}")
            if response.status != 503:  # it has too many connections for the moment
                said = answer.get("error")
                why = f": {said}" if said else ""
                raise UserError(f"rollout.server_base_url: no vLLM server of Thinkery's for this run at {url}{why}")
            raise ConnectionRefusedError(answer.get("error"))
        except (OSError, http.client.HTTPException, ValueError, AttributeError) as error:
            if time.monotonic() > deadline:
                raise UserError(
                    f"rollout.server_base_url: nothing answers at {url} ({error!r}); start a server with `python -m "
                    "thinkery.rollout.vllm.server`, or let the run wait longer with rollout.server_timeout"
                ) from error
            time.sleep(0.2)
        finally:
            connection.close()


def _line(response: http.client.HTTPResponse, url: str) -> Any:
    """The next line of a stream. Raises ``RuntimeError`` if none comes."""
    try:
        line = response.readline(MAX_REPLY_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise RuntimeError(f"the vLLM server at {url} has said nothing for {SILENCE_S:.0f} s: {error!r}") from error
    if not line.endswith(b"\n"):
        raise RuntimeError(f"the vLLM server at {url} ended in the middle of an answer")
    return json.loads(line)
