"""What travels to a vLLM server comes out as it went in; servers that aren't there are told of in time."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from threading import Thread
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load

from thinkery.models.loading import Policy
from thinkery.preflight import check
from thinkery.recipe import Recipe, VLLMSpec
from thinkery.rollout.vllm.connection import TOKEN
from thinkery.rollout.vllm.engine import CompletionRequest, Drawn, DrawRequest, EngineSettings
from thinkery.rollout.vllm.fingerprint import Held
from thinkery.rollout.vllm.remote import RemoteEngine
from thinkery.rollout.vllm.wire import (
    WeightsReader,
    read_draw_request,
    read_drawn,
    read_held,
    read_settings,
    read_tokenizer,
    write_draw_request,
    write_drawn,
    write_held,
    write_settings,
    write_tokenizer,
    write_weights,
)
from thinkery.types import Sampling, UserError


def through_json(data: Any) -> Any:
    return json.loads(json.dumps(data))


def test_everything_comes_out_as_it_went_in(policy: Policy) -> None:
    sampling = Sampling(2, 0.7, 0.9, 5, 30, stop_token_ids=(3,), stop_strings=("\n",))
    draw_request = DrawRequest(
        [CompletionRequest((1, 2), -(2**62)), CompletionRequest((1, 2), 5, (7, 8)), CompletionRequest((4,), 6)],
        sampling,
        100,
        (0, 3),
        ("\n", "</answer>"),
    )
    assert read_draw_request(through_json(write_draw_request(draw_request))) == draw_request
    drawn = Drawn(4, (1, 2), (-0.1, -3.4028234663852886e38), "length")
    assert read_drawn(through_json(write_drawn(drawn))) == drawn
    held = Held({("a", "b"): ("bfloat16", (-(2**63), 4)), ("c",): ("float32", (0,))}, ("d",))
    assert read_held(through_json(write_held(held))) == held
    spec = VLLMSpec(mode="server", server_base_url="http://localhost:1", max_model_len=9, enforce_eager=True)
    settings = read_settings(through_json(write_settings(EngineSettings("{}", "float32", 8, spec))))
    assert settings.spec == VLLMSpec(mode="server", max_model_len=9, enforce_eager=True)
    tokenizer = read_tokenizer(through_json(write_tokenizer(policy.tokenizer)))
    assert tokenizer.get_vocab() == policy.tokenizer.get_vocab()


@pytest.mark.parametrize("most", [1, 30, 64, 1 << 20])
def test_weights_travel_in_bodies_of_bounded_length(most: int) -> None:
    torch.manual_seed(0)
    weights = {"a": torch.randn(7, 5), "b": torch.arange(3), "c": torch.randn(11).bfloat16(), "d": torch.randn(())}
    weights |= {"e": torch.randn(5, 7).T, "f": torch.empty(0, 3), "[1]": torch.randn(2, 2)}
    bodies = list(write_weights(weights.items(), most))
    assert max(sum(part.nbytes for part in load(body).values()) for body in bodies) <= max(most, 8)  # one number
    reader = WeightsReader()
    found = dict(tensor for body in bodies for tensor in reader.read(body))
    reader.end()
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[name], weights[name]) for name in weights)
    assert all(found[name].dtype == weights[name].dtype for name in weights)


def test_weights_that_lack_a_piece_are_refused() -> None:
    first, second, last = write_weights([("a", torch.randn(12))], 16)
    reader = WeightsReader()
    assert reader.read(first) == []
    with pytest.raises(ValueError, match=r"a piece of a at 8 came where another one was due"):
        reader.read(last)
    assert reader.read(second) == []
    with pytest.raises(ValueError, match=r"of a only 8 of 12 numbers came"):
        reader.end()


@pytest.fixture
def token(monkeypatch: pytest.MonkeyPatch) -> str:
    """The user's, in the environment."""
    monkeypatch.setenv(TOKEN, "the-secret-of-this-test")
    return "the-secret-of-this-test"


def test_a_server_that_is_not_there_is_told_of_in_time(token: str) -> None:
    spec = VLLMSpec(mode="server", server_base_url="http://127.0.0.1:9", server_timeout=0.5)
    with pytest.raises(UserError, match=r"nothing answers at http://127\.0\.0\.1:9"):
        RemoteEngine(spec)


def test_a_server_of_another_kind_is_refused(token: str) -> None:
    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *arguments: Any) -> None:
            """Nothing on the screen."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Other) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        spec = VLLMSpec(mode="server", server_base_url=f"http://127.0.0.1:{server.server_port}", server_timeout=5)
        with pytest.raises(UserError, match="no vLLM server of Thinkery's"):
            RemoteEngine(spec)
        server.shutdown()


@pytest.mark.parametrize(("python", "message"), [("/no/such/python", "can't be run"), ("false", "did not start")])
def test_a_server_that_cannot_be_started_is_told_of(python: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        RemoteEngine(VLLMSpec(mode="server", server_python=python, server_timeout=20))


@pytest.mark.skipif(find_spec("vllm") is not None, reason="vLLM is installed here")
def test_a_recipe_that_asks_for_vllm_where_there_is_none_is_refused_before_it_starts() -> None:
    stage = {"name": "zero", "kind": "rl", "from": "base", "problems": {"source": "mini"}, "rewards": {"accuracy": 1}}
    stage |= {"steps": 1, "learning_rate": 1e-4, "rollout": {"backend": "vllm"}}
    recipe = Recipe.model_validate({"name": "r", "base": "thinkery://mini-base", "stages": [stage]})
    with pytest.raises(UserError, match=r"zero\.rollout: vLLM is not installed in this environment"):
        check(recipe)


@pytest.mark.parametrize("value", [None, "short", "with a space in its middle", "geheimnisvoll-äöü"])
def test_a_server_of_the_users_needs_the_users_token(value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TOKEN, raising=False)
    if value is not None:
        monkeypatch.setenv(TOKEN, value)
    spec = VLLMSpec(mode="server", server_base_url="http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"rollout\.server_base_url: a server lets in who knows its token: set"):
        RemoteEngine(spec)
    stage = {"name": "zero", "kind": "rl", "from": "base", "problems": {"source": "mini"}, "rewards": {"accuracy": 1}}
    stage |= {"steps": 1, "learning_rate": 1e-4, "rollout": spec.model_dump()}
    recipe = Recipe.model_validate({"name": "r", "base": "thinkery://mini-base", "stages": [stage]})
    with pytest.raises(UserError, match=r"zero\.rollout: server_base_url: a server lets in who knows its token"):
        check(recipe)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"server_base_url": "http://host:8000"}, "only mode server has one"),
        ({"mode": "server", "enable_sleep_mode": True}, "a server has its own memory"),
        ({"mode": "server", "server_base_url": "http://h:1", "server_python": "python"}, "give one of them"),
        ({"mode": "server", "server_base_url": "h:1"}, "String should match pattern"),
        ({"gpu_memory_utilization": 1.5}, "less than or equal to 1"),
    ],
)
def test_settings_that_contradict_one_another_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        VLLMSpec(**fields)


def test_a_server_gets_more_of_the_device_than_an_engine_beside_a_learner() -> None:
    assert VLLMSpec().memory_share < VLLMSpec(mode="server").memory_share
    assert VLLMSpec(gpu_memory_utilization=0.5).memory_share == 0.5
