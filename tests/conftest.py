"""What all tests share: the data beside the repository, and quiet libraries."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import threading
from collections.abc import Callable, Iterator
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"

# Tests never reach for the network, and a tokenizer must not fork threads into worker processes.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"


@pytest.fixture
def shared() -> Path:
    """The folder of shared data; its tests are marked ``shared``."""
    return SHARED


class ChatServer:
    """An OpenAI-compatible endpoint on this machine: ``answer(body)`` is the reply's text, or (status, headers, body).

    ``requests`` are the bodies received, ``headers`` those of the last request.
    """

    def __init__(
        self, answer: Callable[[dict[str, Any]], str | tuple[int, dict[str, str], bytes]], port: int = 0
    ) -> None:
        self.requests: list[dict[str, Any]] = []
        self.headers: dict[str, str] = {}
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                server.requests.append({"path": self.path, **body})
                server.headers = dict(self.headers)
                reply = answer(body)
                if isinstance(reply, str):
                    content = json.dumps({"choices": [{"message": {"role": "assistant", "content": reply}}]})
                    reply = 200, {"Content-Type": "application/json"}, content.encode()
                status, headers, content_bytes = reply
                with contextlib.suppress(ConnectionError):  # who asked may have given up
                    self.send_response(status)
                    for name, value in {"Content-Length": str(len(content_bytes)), **headers}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(content_bytes)

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}/v1"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def chat_server() -> Iterator[Callable[..., ChatServer]]:
    """Starts endpoints: ``chat_server(answer)`` -> a ``ChatServer``, at a port of its own or the one that is given."""
    servers: list[ChatServer] = []

    def start(answer: Callable[[dict[str, Any]], str | tuple[int, dict[str, str], bytes]], port: int = 0) -> ChatServer:
        servers.append(ChatServer(answer, port))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Qwen2 of one layer with random weights, the miniature base's tokenizer and the template r1-compact."""
    from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

    from thinkery.models.loading import resolve_model
    from thinkery.models.template import TEMPLATES

    folder = tmp_path_factory.mktemp("tiny-model")
    tokenizer = AutoTokenizer.from_pretrained(resolve_model("thinkery://mini-base"))
    config = Qwen2Config(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        vocab_size=len(tokenizer),
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
    )
    Qwen2ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    TEMPLATES["r1-compact"].save(folder)
    return folder


# They show this environment's packages to the sandbox's user, who must be able to read them.
NEED_REACHABLE_PACKAGES = frozenset(
    {
        "test_every_family_accepts_its_own_answer_in_every_template",
        "test_a_scorer_that_hangs_is_a_timeout",
        "test_without_isolation_a_scorer_that_evaluates_is_refused_as_programs_are",
        "test_an_answer_that_is_code_leaves_no_mark_and_earns_nothing",
        "test_code_that_a_scorer_runs_reaches_nothing_of_the_machine",
        "test_a_program_finds_the_packages_and_can_not_change_them",
        "test_problems_of_reasoning_gym_written_to_a_file_are_made_anew",
        "test_a_row_that_would_run_code_is_a_bad_row_and_runs_none",
        "test_an_answer_and_a_reference_that_are_code_run_in_no_verifier",
    }
)


@cache
def why_packages_are_out_of_reach() -> str | None:
    """Why this environment lies where the sandbox's user can't read it, below /tmp or in a closed folder."""
    from thinkery.sandbox.packages import environment_packages
    from thinkery.types import UserError

    try:
        environment_packages(["reasoning_gym"])
    except UserError as error:
        return str(error)
    return None


def pytest_runtest_setup(item: pytest.Item) -> None:
    if getattr(item, "originalname", None) in NEED_REACHABLE_PACKAGES and (why := why_packages_are_out_of_reach()):
        pytest.skip(why)
    if item.get_closest_marker("shared") and not SHARED.is_dir():
        reason = f"no shared data in {SHARED}"
        if os.environ.get("REQUIRE_SHARED") == "1":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    if item.get_closest_marker("vllm") and importlib.util.find_spec("vllm") is None:
        reason = "no vLLM in this environment: `make test-vllm` runs this in one that has it"
        if os.environ.get("REQUIRE_VLLM") == "1":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
