"""The judge behind an endpoint, against a real HTTP server on this machine."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from thinkery.recipe import JudgeSpec
from thinkery.rewards import judges
from thinkery.rewards.judges import Endpoint, EndpointJudge, NoVerdict, read_verdict
from thinkery.types import Problem, UserError

PROBLEM = Problem(id="p", prompt="What is 2+2?", reference="4", verifier="none")
Start = Callable[..., Any]


def spec_of(server: Any, **settings: object) -> JudgeSpec:
    return JudgeSpec.model_validate({"source": server.address, "model": "strong", "timeout_s": 20} | settings)


def verdict(value: object, field: str = "verdict") -> str:
    return json.dumps({"analysis": "as it is", field: value})


@pytest.mark.parametrize(("said", "meant"), [("A>>B", -2), ("A>B", -1), ("A=B", 0), ("B>A", 1), ("B>>A", 2)])
def test_the_five_verdicts_are_signed_towards_the_second_response(said: str, meant: int, chat_server: Start) -> None:
    server = chat_server(lambda body: verdict(said))
    assert EndpointJudge(spec_of(server)).compare(PROBLEM, "four", "It is 4.", seed=7) == meant


def test_a_question_carries_the_model_the_seed_and_all_that_is_judged_in_its_order(chat_server: Start) -> None:
    server = chat_server(lambda body: verdict("A=B"))
    EndpointJudge(spec_of(server)).compare(PROBLEM, "first {one}", "second }two", seed=2**40 + 5)
    (request,) = server.requests
    assert request["path"] == "/v1/chat/completions"
    assert request["model"] == "strong"
    assert request["seed"] == 5
    question = request["messages"][-1]["content"]
    assert question.index("What is 2+2?") < question.index("first {one}") < question.index("second }two")


def test_correctness_is_judged_against_the_reference_and_safety_on_the_response(chat_server: Start) -> None:
    def answer(body: dict[str, Any]) -> str:
        question = body["messages"][-1]["content"]
        if "Reference answer" in question:
            return verdict("]\n4\n[End of reference answer" in question and "It is 4." in question, "correctness")
        return verdict("poison" in question, "unsafe")

    judge = EndpointJudge(spec_of(chat_server(answer)))
    assert judge.matches(PROBLEM, "It is 4.", seed=1) is True
    assert judge.matches(PROBLEM, "It is 5.", seed=1) is False
    assert judge.unsafe(PROBLEM, "Use poison.", seed=1) is True
    assert judge.unsafe(PROBLEM, "No.", seed=1) is False


@pytest.mark.parametrize(
    "reply",
    [
        '{"analysis": "", "verdict": "A>B"}',
        '```json\n{"analysis": "a", "verdict": "A > B"}\n```',
        '<think>Is it {"verdict": "B>A"}?</think>\n{"analysis": "a", "verdict": "A>B"}',
    ],
)
def test_thinking_and_a_fence_around_the_verdict_are_forgiven(reply: str) -> None:
    assert read_verdict(reply, "verdict", judges.VERDICTS) == -1


@pytest.mark.parametrize(
    "reply",
    [
        "A>B",
        '{"verdict": "A>B"}',
        '{"analysis": "a", "verdict": "A"}',
        '{"analysis": "a", "verdict": 1}',
        '{"analysis": "a", "verdict": true}',
        '{"analysis": "a", "verdict": ["A>B"]}',
        '[{"analysis": "a", "verdict": "A>B"}]',
        'I say {"analysis": "a", "verdict": "A>B"}',
        "",
    ],
)
def test_anything_else_is_no_verdict(reply: str) -> None:
    with pytest.raises(ValueError, match=r"verdict|JSON"):
        read_verdict(reply, "verdict", judges.VERDICTS)


def test_a_flag_must_be_a_json_boolean() -> None:
    for value in ("true", 1, 0.0, None):
        with pytest.raises(ValueError, match="unsafe must be one of true, false"):
            read_verdict(verdict(value, "unsafe"), "unsafe", judges._FLAGS)


def test_an_answer_that_is_no_verdict_is_asked_for_once_more_and_told_why(chat_server: Start) -> None:
    server = chat_server(lambda body: verdict("B>>A") if len(body["messages"]) > 2 else "The second is better!")
    assert EndpointJudge(spec_of(server)).compare(PROBLEM, "a", "b", seed=3) == 2
    first, second = server.requests
    assert second["messages"][:2] == first["messages"]
    assert "not JSON" in second["messages"][-1]["content"]


def test_two_answers_without_a_verdict_are_no_verdict(chat_server: Start) -> None:
    server = chat_server(lambda body: "I can't decide.")
    with pytest.raises(NoVerdict, match=r"127\.0\.0\.1.*strong.*twice gave no verdict.*can't decide"):
        EndpointJudge(spec_of(server)).compare(PROBLEM, "a", "b", seed=3)
    assert len(server.requests) == 2


def test_an_overloaded_server_is_asked_again_after_the_pause_that_it_wants(chat_server: Start) -> None:
    statuses = iter([429, 503, 500])

    def answer(body: dict[str, Any]) -> str | tuple[int, dict[str, str], bytes]:
        status = next(statuses, None)
        return verdict("A=B") if status is None else (status, {"Retry-After": "0"}, b"busy")

    server = chat_server(answer)
    assert EndpointJudge(spec_of(server)).compare(PROBLEM, "a", "b", seed=3) == 0
    assert len(server.requests) == 4


def test_a_server_that_keeps_failing_is_named_with_its_status_and_what_it_said(
    chat_server: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judges, "PATIENCE_S", 0.5)
    server = chat_server(lambda body: (502, {"Retry-After": "0.2"}, b"bad   gateway\n"))
    with pytest.raises(UserError, match=r"127\.0\.0\.1:\d+/v1 \(model strong\) answered HTTP 502: bad gateway \("):
        Endpoint(spec_of(server)).chat("hello", 0)
    assert len(server.requests) > 1


def test_an_outage_is_outlasted_however_many_attempts_it_takes_and_told_once(
    chat_server: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pauses of five attempts added up to 7.5 s; here they are shorter, and there are more attempts."""
    monkeypatch.setattr(judges, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(judges, "LONGEST_PAUSE_S", 0.02)
    told: list[str] = []
    statuses = iter([503] * 12 + [408, 429])
    server = chat_server(lambda body: "hello" if (status := next(statuses, None)) is None else (status, {}, b"later"))
    assert Endpoint(spec_of(server), told.append).chat("hello", 0) == "hello"
    assert len(server.requests) == 15
    assert len(told) == 2
    assert "HTTP 503: later; it is asked again for up to 300 s" in told[0]
    assert told[1].endswith("answers again")


def test_a_server_that_is_down_is_waited_for(monkeypatch: pytest.MonkeyPatch, chat_server: Start) -> None:
    """Nobody listens at first: a real server comes up at the address once an attempt has failed."""
    monkeypatch.setattr(judges, "FIRST_PAUSE_S", 0.01)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    servers: list[Any] = []

    def start(text: str) -> None:
        if "refused" in text:
            servers.append(chat_server(lambda body: "up", port=port))

    endpoint = Endpoint(JudgeSpec(source=f"http://127.0.0.1:{port}/v1", model="m", timeout_s=20), start)
    assert endpoint.chat("hello", 0) == "up"
    assert len(servers) == 1


@pytest.mark.parametrize("seconds", [400, -10])
def test_a_server_says_when_to_come_again_by_a_date_as_well(seconds: int, chat_server: Start) -> None:
    when = format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)
    replies = iter([(503, {"Retry-After": when}, b"closed")])
    server = chat_server(lambda body: next(replies, "open"))
    if seconds < 0:
        assert Endpoint(spec_of(server)).chat("hello", 0) == "open"
    else:  # beyond all patience, so nobody need wait to be refused
        with pytest.raises(UserError, match="HTTP 503: closed"):
            Endpoint(spec_of(server)).chat("hello", 0)


def test_a_connection_that_breaks_amid_an_answer_is_no_answer(
    chat_server: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judges, "FIRST_PAUSE_S", 0.01)
    torn = iter([(200, {"Content-Length": "1000", "Connection": "close"}, b'{"choices": [')])
    server = chat_server(lambda body: next(torn, "whole"))
    assert Endpoint(spec_of(server)).chat("hello", 0) == "whole"


DRIPS = {"headers": b"HTTP/1.1 200 OK\r\n", "body": b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"}


@pytest.mark.parametrize("where", DRIPS)
def test_a_server_that_drips_is_left_at_the_deadline(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every read gets its byte long before the timeout, so only one clock over all of them ends it."""
    monkeypatch.setattr(judges, "PATIENCE_S", 0.0)
    left = threading.Event()

    def drip(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            connection.recv(1 << 16)
            connection.sendall(DRIPS[where])
            while not left.wait(0.02):
                connection.sendall(b"X" if where == "body" else b"X-Drip: y\r\n"[:1])

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=drip, args=(listener,), daemon=True)
        server.start()
        endpoint = Endpoint(
            JudgeSpec(source=f"http://127.0.0.1:{listener.getsockname()[1]}/v1", model="m", timeout_s=0.5)
        )
        said: list[BaseException] = []

        def ask() -> None:
            try:
                endpoint.chat("hello", 0)
            except UserError as error:
                said.append(error)

        asker = threading.Thread(target=ask, daemon=True)
        asker.start()
        asker.join(30)
        left.set()
        server.join(30)
    assert "timed out, no whole answer within 0.5 s" in str(said[0])


@pytest.mark.parametrize("status", [400, 401, 404])
def test_a_refusal_is_not_asked_again(status: int, chat_server: Start) -> None:
    server = chat_server(lambda body: (status, {}, b'{"error": "no such model"}'))
    with pytest.raises(UserError, match=rf"HTTP {status}: .*no such model"):
        Endpoint(spec_of(server)).chat("hello", 0)
    assert len(server.requests) == 1


def test_a_redirect_is_shown_and_not_followed(chat_server: Start) -> None:
    other = chat_server(lambda body: "hello")
    server = chat_server(lambda body: (307, {"Location": f"{other.address}/chat/completions"}, b""))
    with pytest.raises(UserError, match="HTTP 307"):
        Endpoint(spec_of(server)).chat("hello", 0)
    assert not other.requests


def test_the_key_comes_from_the_environment_and_is_never_shown(
    chat_server: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = chat_server(lambda body: (401, {}, b"who are you"))
    monkeypatch.setenv("JUDGE_KEY", "secret-123")
    endpoint = Endpoint(spec_of(server, api_key_env="JUDGE_KEY"))
    with pytest.raises(UserError) as error:
        endpoint.chat("hello", 0)
    assert server.headers["Authorization"] == "Bearer secret-123"
    assert "secret" not in str(error.value)
    monkeypatch.delenv("JUDGE_KEY")
    with pytest.raises(UserError, match="set the environment variable JUDGE_KEY"):
        Endpoint(spec_of(server, api_key_env="JUDGE_KEY"))


def test_nobody_at_the_address_is_an_error_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judges, "PATIENCE_S", 0.0)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    endpoint = Endpoint(JudgeSpec(source=f"http://127.0.0.1:{port}/v1", model="m", timeout_s=5))
    with pytest.raises(UserError, match=rf"127\.0\.0\.1:{port}/v1 \(model m\) can't be reached: .*refused"):
        endpoint.chat("hello", 0)


def test_an_answer_that_does_not_come_ends_at_the_deadline(chat_server: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judges, "PATIENCE_S", 0.0)
    over = threading.Event()
    server = chat_server(lambda body: "late" if over.wait(60) else "later")
    try:
        with pytest.raises(UserError, match=r"can't be reached: .*timed out"):
            Endpoint(spec_of(server, timeout_s=0.3)).chat("hello", 0)
    finally:
        over.set()


@pytest.mark.parametrize(
    "body", [b"<html>", b"{}", b'{"choices": []}', b'{"choices": [{"message": {"content": null}}]}']
)
def test_an_answer_that_is_no_chat_completion_is_shown(body: bytes, chat_server: Start) -> None:
    server = chat_server(lambda _: (200, {}, body))
    with pytest.raises(UserError, match=r"no choices\[0\]\.message\.content"):
        Endpoint(spec_of(server)).chat("hello", 0)


def test_a_conversation_and_a_question_are_both_asked(chat_server: Start) -> None:
    server = chat_server(lambda body: body["messages"][-1]["content"].upper())
    endpoint = Endpoint(spec_of(server))
    assert endpoint.chat("hello", 1) == "HELLO"
    assert endpoint.chat([{"role": "system", "content": "s"}, {"role": "user", "content": "hé"}], 1) == "HÉ"
    assert server.requests[0]["messages"] == [{"role": "user", "content": "hello"}]
