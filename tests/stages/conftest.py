"""A chat endpoint to ask: a real server on this machine that speaks the OpenAI chat API."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


@dataclass
class ChatServer:
    """``reply`` maps the last message to the answer; ``asked`` are the last messages of all requests."""

    address: str = ""
    reply: Callable[[str], str] = lambda question: question
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def endpoint() -> Iterator[ChatServer]:
    """A chat endpoint on a free port."""
    chat = ChatServer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            assert self.path == "/v1/chat/completions"
            question = request["messages"][-1]["content"]
            chat.asked.append(question)
            message = {"role": "assistant", "content": chat.reply(question)}
            body = json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: Any) -> None:
            """Nothing on the screen."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        chat.address = f"http://127.0.0.1:{server.server_port}/v1"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield chat
        server.shutdown()
        thread.join()
