"""Run programs on a SandboxFusion server instead of on this machine, over its HTTP interface (``POST /run_code``).

``SandboxFusion`` offers the same ``run`` and ``submit`` as ``Sandbox``. A request that fails for the network's or
the server's sake (no connection, 5xx, nonsense, an error of its sandbox) is sent again, ever more slowly, until
``patience_s`` beyond the program's own limits is used up: running a program twice harms nobody.

Left out, since the interface has no place for it: conversations, CPU time, and limits on processes, files and disk,
which the server sets for itself; and bytes that are not UTF-8, which become U+FFFD. The server cuts output at 1 MiB
without a word; output of that length counts as too much. HTTP proxies of the environment are not used.

Reference: Cheng et al. 2024, "FullStack Bench" (arXiv:2412.00535), and the server's API documentation.
"""

from __future__ import annotations

import http.client
import json
import math
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from types import TracebackType
from typing import Any, NamedTuple
from urllib.parse import SplitResult, urlsplit

from thinkery.connections import Timed
from thinkery.sandbox.types import Limits, Program, RunResult, Status
from thinkery.types import UserError

DEFAULT_LIMITS = Limits()
COMPILE_S = 30.0
SERVER_OUTPUT_BYTES = 1 << 20
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 2.0
_OVERHEAD_BYTES = 1 << 16  # of an answer, beside the output in it
_LATE = "no answer in time"
_ESCAPED = 6  # bytes of JSON that one byte of output can become: \u0000


class _Answer(NamedTuple):
    """What one request came to: a result, or why there is none and another attempt may help."""

    result: RunResult | None = None
    problem: str = ""
    reached: bool = True  # the server took the connection


class SandboxFusion:
    """A SandboxFusion server at ``url``, such as ``http://localhost:8080``.

    ``workers`` requests are in progress at once. ``patience_s`` is how long one run may take beyond its own limits
    before it counts as lost, or, if there was never a connection, as a mistake in the URL (UserError).
    """

    def __init__(self, url: str, workers: int = 8, patience_s: float = 30.0) -> None:
        self.url = url
        self._parts = _checked(url)
        self._patience_s = patience_s
        self._tls = ssl.create_default_context() if self._parts.scheme == "https" else None
        self._closed = threading.Event()
        self._exchanges: set[Timed] = set()
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="sandboxfusion")

    def run(self, program: Program, stdin: str | bytes = "", limits: Limits = DEFAULT_LIMITS) -> RunResult:
        """Run a program to its end and return what became of it.

        ``wall_s`` is the server's figure; ``cpu_s`` is 0, as it tells none. Raises UserError where no server is
        reached, or none that speaks this interface.
        """
        body = json.dumps(_request(program, stdin, limits)).encode()
        allowance = limits.wall_s + (COMPILE_S if program.language == "cpp" else 0.0) + self._patience_s
        deadline = time.monotonic() + allowance
        attempts, reached, pause = 0, False, _FIRST_PAUSE_S
        while True:
            answer = self._post(body, limits, deadline)
            if answer.result is not None:
                return answer.result
            attempts += 1
            reached |= answer.reached
            if time.monotonic() + pause >= deadline or self._closed.wait(pause):
                break
            pause = min(2 * pause, _LONGEST_PAUSE_S)
            if not reached and time.monotonic() >= deadline - allowance + self._patience_s:
                break  # a program that never started needs none of the time for running
        message = f"{answer.problem} ({attempts} attempts in {allowance:.0f} s at most)"
        if not reached:
            raise UserError(
                f"cannot reach SandboxFusion at {self.url}: {message}; is the server running, and is the address right?"
            )
        return RunResult(Status.LOST, None, "", "", 0.0, 0.0, f"SandboxFusion at {self.url}: {message}")

    def submit(self, program: Program, stdin: str | bytes = "", limits: Limits = DEFAULT_LIMITS) -> Future[RunResult]:
        """``run`` in the background."""
        return self._pool.submit(self.run, program, stdin, limits)

    def close(self) -> None:
        """Drop what has not started, and end the requests in progress."""
        self._closed.set()
        with self._lock:
            exchanges = list(self._exchanges)
        for timed in exchanges:
            timed.hang_up()
        self._pool.shutdown(cancel_futures=True)

    def __enter__(self) -> SandboxFusion:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _in_flight(self, timed: Timed) -> Iterator[None]:
        """Has ``close`` end an exchange."""
        with self._lock:
            self._exchanges.add(timed)
        if self._closed.is_set():
            timed.hang_up()
        try:
            yield
        finally:
            with self._lock:
                self._exchanges.discard(timed)

    def _connection(self, timed: Timed) -> http.client.HTTPConnection:
        assert self._parts.hostname is not None
        if self._tls is None:
            return timed.plain(self._parts.hostname, self._parts.port)
        return timed.encrypted(self._parts.hostname, self._parts.port, context=self._tls)

    def _post(self, body: bytes, limits: Limits, deadline: float) -> _Answer:
        with Timed(max(deadline - time.monotonic(), 0.0)) as timed, self._in_flight(timed):
            connection = self._connection(timed)
            try:
                connection.connect()
            except OSError as error:
                return _Answer(problem=f"no connection: {error}", reached=False)
            try:
                path = self._parts.path.rstrip("/") + "/run_code"
                connection.request("POST", path, body, {"Content-Type": "application/json"})
                response = connection.getresponse()
                most = _ESCAPED * 2 * max(limits.output_bytes, SERVER_OUTPUT_BYTES) + _OVERHEAD_BYTES
                content = response.read(most + 1)
            except (OSError, http.client.HTTPException) as error:
                return _Answer(problem=_LATE if timed.late else f"{type(error).__name__}: {error}")
            finally:
                connection.close()
        if timed.late:  # and so perhaps not whole
            return _Answer(problem=_LATE)
        if response.status >= 500 or response.status == 429:
            return _Answer(problem=f"HTTP {response.status} {response.reason}")
        if response.status != 200:
            raise UserError(
                f"{self.url} answered POST {path} with HTTP {response.status} {response.reason}: "
                f"{_shortened(content)}; give the address of a SandboxFusion server"
            )
        if len(content) > most:
            return _Answer(problem=f"an answer of over {most} bytes")
        if response.length:  # how much of the announced length did not come
            return _Answer(problem="an answer that broke off")
        return _read(content, limits)


def _checked(url: str) -> SplitResult:
    parts = urlsplit(url)
    try:
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.query or parts.fragment or parts.username:
        raise UserError(f"not the address of a SandboxFusion server: {url!r}; write it as http://localhost:8080")
    return parts


def _request(program: Program, stdin: str | bytes, limits: Limits) -> dict[str, Any]:
    text = stdin.decode("utf-8", "replace") if isinstance(stdin, bytes) else stdin
    return {
        "code": _readable(program.source),
        "language": program.language,
        "stdin": _readable(text),
        "compile_timeout": COMPILE_S,
        "run_timeout": limits.wall_s,
        "memory_limit_MB": math.ceil(limits.memory_bytes / (1 << 20)),
    }


def _read(content: bytes, limits: Limits) -> _Answer:
    """An answer's meaning. Nonsense is not trusted: every field is looked at before it is used."""
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError):
        return _Answer(problem=f"not JSON: {_shortened(content)}")
    if not isinstance(answer, dict) or answer.get("status") not in ("Success", "Failed", "SandboxError"):
        return _Answer(problem=f"not an answer of SandboxFusion: {_shortened(content)}")
    if answer["status"] == "SandboxError":
        return _Answer(problem=f"an error of its sandbox: {str(answer.get('message'))[:200]}")
    try:
        compiled, ran = _Stage.of(answer.get("compile_result")), _Stage.of(answer.get("run_result"))
    except ValueError as error:
        return _Answer(problem=str(error))
    if compiled is not None and not compiled.fine:
        reason = "the compiler took too long" if compiled.late else ""
        return _Answer(_result(Status.COMPILE_ERROR, compiled, limits, reason))
    if ran is None:
        return _Answer(problem="an answer without a run")
    if ran.late:
        return _Answer(_result(Status.TIMEOUT, ran, limits))
    most = min(limits.output_bytes + 1, SERVER_OUTPUT_BYTES)
    if any(len(text.encode()) >= most for text in (ran.stdout, ran.stderr)):
        return _Answer(_result(Status.OUTPUT, ran, limits))
    return _Answer(_result(Status.OK if ran.fine else Status.ERROR, ran, limits))


class _Stage(NamedTuple):
    """One command the server ran: the compiler or the program."""

    late: bool
    exit_code: int | None
    stdout: str
    stderr: str
    wall_s: float

    @property
    def fine(self) -> bool:
        return not self.late and self.exit_code == 0

    @classmethod
    def of(cls, value: object) -> _Stage | None:
        """Read ``CommandRunResult``; None stays None. Raises ValueError for anything else."""
        if value is None:
            return None
        if not isinstance(value, dict) or value.get("status") not in ("Finished", "TimeLimitExceeded"):
            raise ValueError(f"not the result of a command: {str(value)[:200]}")
        late = value["status"] == "TimeLimitExceeded"
        code, seconds = value.get("return_code"), value.get("execution_time")
        if not (isinstance(code, int) or (late and code is None)):
            raise ValueError("a finished command without a return code")
        texts = [_readable(text) for text in (value.get("stdout"), value.get("stderr")) if isinstance(text, str | None)]
        if len(texts) != 2:
            raise ValueError("output that is no text")
        wall_s = float(seconds) if isinstance(seconds, int | float) and math.isfinite(seconds) else 0.0
        return cls(late, code, texts[0], texts[1], wall_s)


def _readable(text: str | None) -> str:
    """Lone surrogates, which Python's text and JSON can carry but UTF-8 cannot, become U+FFFD."""
    return (text or "").encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _result(status: Status, stage: _Stage, limits: Limits, reason: str = "") -> RunResult:
    stdout, stderr = (_cut(text, limits.output_bytes) for text in (stage.stdout, stage.stderr))
    exit_code = stage.exit_code if status in (Status.OK, Status.ERROR, Status.COMPILE_ERROR) else None
    return RunResult(status, exit_code, stdout, stderr, stage.wall_s, 0.0, reason)


def _cut(text: str, most: int) -> str:
    return text.encode()[:most].decode(errors="ignore")


def _shortened(content: bytes) -> str:
    text = content[:200].decode(errors="replace")
    return repr(text + ("…" if len(content) > 200 else ""))
