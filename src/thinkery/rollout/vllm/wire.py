"""What travels between a run and a vLLM server: JSON, and weights as safetensors. Nothing that is received is executed.

Left out: the connection (``vllm_remote.py``, ``vllm_server.py``).
"""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from thinkery.recipe import VLLMSpec
from thinkery.rollout.vllm.engine import Ask, Drawn, EngineSettings, Order
from thinkery.rollout.vllm.fingerprint import Held
from thinkery.types import Sampling

_OF_THE_ENGINE = ("gpu_memory_utilization", "tensor_parallel_size", "max_model_len", "enforce_eager")


def write_settings(settings: EngineSettings) -> dict[str, Any]:
    """Settings as JSON; what only the run's side needs is left out of the recipe's."""
    spec = settings.spec.model_dump(include={"mode", *_OF_THE_ENGINE})
    return {"config": settings.config, "dtype": settings.dtype, "max_slots": settings.max_slots, "spec": spec}


def read_settings(data: Mapping[str, Any]) -> EngineSettings:
    """What ``write_settings`` wrote."""
    return EngineSettings(data["config"], data["dtype"], data["max_slots"], VLLMSpec.model_validate(data["spec"]))


def write_tokenizer(tokenizer: PreTrainedTokenizerBase) -> dict[str, str]:
    """The tokenizer's files by name, in base 64."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        return {path.name: base64.b64encode(path.read_bytes()).decode() for path in Path(folder).iterdir()}


def read_tokenizer(files: Mapping[str, str]) -> PreTrainedTokenizerBase:
    """What ``write_tokenizer`` wrote."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            Path(folder, Path(name).name).write_bytes(base64.b64decode(content))
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder)
        return tokenizer


def write_order(order: Order) -> dict[str, Any]:
    """An order as JSON. Completions of one prompt follow one another, and the prompt is written once."""
    prompts = list(dict.fromkeys(ask.prompt_ids for ask in order.asks))
    number = {prompt_ids: at for at, prompt_ids in enumerate(prompts)}
    return {
        "prompts": prompts,
        "asks": [[number[ask.prompt_ids], ask.key, ask.begun] for ask in order.asks],
        "sampling": asdict(order.sampling),
        "vocabulary": order.vocabulary,
        "stop_token_ids": order.stop_token_ids,
        "stop_strings": order.stop_strings,
    }


def read_order(data: Mapping[str, Any]) -> Order:
    """What ``write_order`` wrote."""
    sampling: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in data["sampling"].items()
    }
    prompts = [tuple(prompt) for prompt in data["prompts"]]
    return Order(
        [Ask(prompts[number], key, tuple(begun)) for number, key, begun in data["asks"]],
        Sampling(**sampling),
        data["vocabulary"],
        tuple(data["stop_token_ids"]),
        tuple(data["stop_strings"]),
    )


def write_drawn(drawn: Drawn) -> list[Any]:
    """A completion's tokens as JSON; a float is written so that it is read as the same number."""
    return [drawn.number, drawn.token_ids, drawn.logprobs, drawn.reason]


def read_drawn(data: list[Any]) -> Drawn:
    """What ``write_drawn`` wrote."""
    number, token_ids, logprobs, reason = data
    return Drawn(number, tuple(token_ids), tuple(logprobs), reason)


def write_held(held: Held) -> dict[str, Any]:
    """What an engine holds as JSON."""
    return {
        "sums": [[*names, dtype, sums] for names, (dtype, sums) in held.sums.items()],
        "unreadable": held.unreadable,
    }


def read_held(data: Mapping[str, Any]) -> Held:
    """What ``write_held`` wrote."""
    return Held({tuple(names): (dtype, tuple(sums)) for *names, dtype, sums in data["sums"]}, tuple(data["unreadable"]))
