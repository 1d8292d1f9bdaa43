"""The run's side of a vLLM server: an engine that is reached over HTTP, and the process of it where we start one.

Weights go over in buckets, in the type that vLLM computes in; completions come back as they finish. Every wait has a
deadline: a server that works says so twice a second. Left out: servers that other programs speak to
(``vllm_server.py`` has a protocol of its own, since vLLM's knows neither counted draws nor weights in a body).
"""

from __future__ import annotations

import atexit
import http.client
import json
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch
from safetensors.torch import save
from transformers import PreTrainedTokenizerBase

from thinkery.recipe import VLLMSpec
from thinkery.rollout.base import StopRule
from thinkery.rollout.vllm.engine import Drawn, EngineSettings, Order, buckets
from thinkery.rollout.vllm.fingerprint import Held
from thinkery.rollout.vllm.wire import read_drawn, read_held, write_order, write_settings, write_tokenizer
from thinkery.types import UserError

HANDOVER_S = 300.0  # until a bucket must have been taken
SILENCE_S = 60.0  # until a server that draws must have said something
_CLOSE_S = 10.0  # until a server that was asked to end is killed


class RemoteEngine:
    """An ``Engine`` (``vllm_engine.py``) in another process."""

    def __init__(self, spec: VLLMSpec) -> None:
        """Connects to the server, or starts one. Raises ``UserError`` if there is none in time."""
        self.label: str | None = None
        self.steps = 0
        self._timeout = spec.server_timeout
        self._opened: tuple[EngineSettings, dict[str, str]] | None = None
        self._dtype = torch.float32
        deadline = time.monotonic() + spec.server_timeout
        self._process = None if spec.server_base_url else _Process(spec.server_python or sys.executable, deadline)
        self.url = spec.server_base_url or (self._process.url if self._process else "")
        _await(self.url, deadline)

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
        connection = _connect(self.url, HANDOVER_S)
        try:
            self._send(connection, "/begin", json.dumps({"label": label}).encode())
            for bucket in buckets((name, tensor.to(self._dtype)) for name, tensor in weights):
                self._send(connection, "/take", save({name: tensor.cpu().contiguous() for name, tensor in bucket}))
            held = read_held(self._send(connection, "/end", b"{}"))
        except RuntimeError:
            self._opened = None  # the server has given its engine up
            raise
        finally:
            connection.close()
        self.label = label
        return held

    def draw(self, order: Order, label: str, stop: StopRule, cut: threading.Event) -> Generator[Drawn]:
        """See ``Engine``. The server looks for the stop strings itself."""
        connection = _connect(self.url, SILENCE_S)
        try:
            body = json.dumps(write_order(order) | {"label": label}).encode()
            response = self._request(connection, "/draw", body)
            told = False
            while True:
                line = _line(response, self.url)
                if cut.is_set() and not told:
                    told = True
                    self._post("/cut", {}, SILENCE_S)
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
        connection = _connect(self.url, timeout)
        try:
            self._send(connection, path, json.dumps(data).encode())
        finally:
            connection.close()

    def _send(self, connection: http.client.HTTPConnection, path: str, body: bytes) -> dict[str, Any]:
        return dict(json.loads(self._request(connection, path, body).read()))

    def _request(self, connection: http.client.HTTPConnection, path: str, body: bytes) -> http.client.HTTPResponse:
        """Raises ``UserError`` for a mistake of the user's, ``RuntimeError`` for all else that goes wrong."""
        try:
            connection.request("POST", path, body)
            response = connection.getresponse()
            if response.status == 200:
                return response
            error = json.loads(response.read()).get("error", "")
        except (OSError, http.client.HTTPException, ValueError) as lost:
            raise RuntimeError(f"the vLLM server at {self.url} did not answer {path}: {lost!r}{self._said()}") from lost
        if response.status == 400:
            raise UserError(error)
        raise RuntimeError(f"the vLLM server at {self.url}: {error}{self._said()}")

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

    def __init__(self, python: str, deadline: float) -> None:
        self._log = tempfile.NamedTemporaryFile(prefix="thinkery-vllm-", suffix=".log")  # noqa: SIM115  (kept open)
        command = [python, "-m", "thinkery.rollout.vllm.server", "--port", "0", "--until-stdin-closes"]
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True
            )
        except OSError as error:
            raise UserError(
                f"vllm.server_python: {python} can't be run ({error}): name a Python interpreter"
            ) from error
        self.id = self._process.pid
        atexit.register(self.close)
        assert self._process.stdout is not None
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
            self._process.stdin.close()
        try:
            self._process.wait(_CLOSE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()


def _connect(url: str, timeout: float) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    return http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=timeout)


def _await(url: str, deadline: float) -> None:
    """Waits until a server answers. Raises ``UserError`` at the deadline."""
    while True:
        connection = _connect(url, max(1.0, deadline - time.monotonic()))
        try:
            connection.request("GET", "/")
            if json.loads(connection.getresponse().read()).get("thinkery") == "vllm":
                return
            raise UserError(f"vllm.server_base_url: no vLLM server of Thinkery's listens at {url}")
        except (OSError, http.client.HTTPException, ValueError, AttributeError) as error:
            if time.monotonic() > deadline:
                raise UserError(
                    f"vllm.server_base_url: nothing answers at {url} ({error!r}); start a server with `python -m "
                    "thinkery.rollout.vllm.server`, or let the run wait longer with vllm.server_timeout"
                ) from error
            time.sleep(0.2)
        finally:
            connection.close()


def _line(response: http.client.HTTPResponse, url: str) -> Any:
    """The next line of a stream. Raises ``RuntimeError`` if none comes."""
    try:
        line = response.readline()
    except (OSError, http.client.HTTPException) as error:
        raise RuntimeError(f"the vLLM server at {url} has said nothing for {SILENCE_S:.0f} s: {error!r}") from error
    if not line:
        raise RuntimeError(f"the vLLM server at {url} ended in the middle of an answer")
    return json.loads(line)
