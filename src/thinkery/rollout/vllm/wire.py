"""What travels between a run and a vLLM server: JSON, and weights as safetensors. Nothing that is received is executed.

Weights go in bodies of bounded length; a tensor that is longer than one is cut, and put together on the other side.
Left out: the connection (``remote.py``, ``server.py``).
"""

from __future__ import annotations

import base64
import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from thinkery.recipe import VLLMSpec
from thinkery.rollout.vllm.engine import BUCKET_BYTES, CompletionRequest, Drawn, DrawRequest, EngineSettings, buckets
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
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        return tokenizer


def write_weights(weights: Iterable[tuple[str, torch.Tensor]], most: int = BUCKET_BYTES) -> Iterator[bytes]:
    """The tensors in bodies with at most ``most`` bytes of them each, and little else."""
    for bucket in buckets(_cut(weights, most), most):
        yield save({name: part.cpu().contiguous() for name, part in bucket})


def _cut(weights: Iterable[tuple[str, torch.Tensor]], most: int) -> Iterator[tuple[str, torch.Tensor]]:
    """Tensors and pieces of tensors; a key is JSON, [name] or [name, shape, where the piece begins]."""
    for name, tensor in weights:
        if tensor.nbytes <= most:
            yield json.dumps([name]), tensor
            continue
        flat = tensor.reshape(-1)
        for start in range(0, flat.numel(), max(1, most // tensor.element_size())):
            piece = flat[start : start + max(1, most // tensor.element_size())]
            yield json.dumps([name, list(tensor.shape), start]), piece


class WeightsReader:
    """Puts together what ``write_weights`` wrote, body by body, in its order."""

    def __init__(self) -> None:
        self._name = ""  # of a tensor that has begun
        self._whole = self._flat = torch.empty(0)
        self._filled = 0

    def read(self, body: bytes) -> list[tuple[str, torch.Tensor]]:
        """The tensors that a body brings or completes. Raises ValueError where a piece is missing."""
        parts = [(json.loads(key), part) for key, part in load(body).items()]
        tensors = [(key[0], part) for key, part in parts if len(key) == 1]
        # A body keeps no order; what ends a tensor comes before what begins one.
        for (name, shape, start), part in sorted((one for one in parts if len(one[0]) > 1), key=lambda one: -one[0][2]):
            if self._add(name, shape, start, part):
                tensors.append((name, self._whole))
                self._name, self._whole, self._flat = "", torch.empty(0), torch.empty(0)
        return tensors

    def end(self) -> None:
        """Raises ValueError if a tensor is only there in part."""
        if self._name:
            raise ValueError(f"of {self._name} only {self._filled} of {self._flat.numel()} numbers came")

    def _add(self, name: str, shape: list[int], start: int, part: torch.Tensor) -> bool:
        """Takes a piece; says whether it was the last."""
        if start == 0:
            self.end()
            self._name, self._filled = name, 0
            self._whole = torch.empty(shape, dtype=part.dtype)
            self._flat = self._whole.view(-1)
        if name != self._name or start != self._filled or start + part.numel() > self._flat.numel():
            raise ValueError(f"a piece of {name} at {start} came where another one was due")
        self._flat[start : start + part.numel()] = part
        self._filled += part.numel()
        return self._filled == self._flat.numel()


def write_draw_request(draw_request: DrawRequest) -> dict[str, Any]:
    """An order as JSON. Completions of one prompt follow one another, and the prompt is written once."""
    prompts = list(dict.fromkeys(wanted.prompt_ids for wanted in draw_request.completions))
    number = {prompt_ids: at for at, prompt_ids in enumerate(prompts)}
    return {
        "prompts": prompts,
        "asks": [[number[wanted.prompt_ids], wanted.key, wanted.begun] for wanted in draw_request.completions],
        "sampling": asdict(draw_request.sampling),
        "vocabulary": draw_request.vocabulary,
        "stop_token_ids": draw_request.stop_token_ids,
        "stop_strings": draw_request.stop_strings,
    }


def read_draw_request(data: Mapping[str, Any]) -> DrawRequest:
    """What ``write_draw_request`` wrote."""
    sampling: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in data["sampling"].items()
    }
    prompts = [tuple(prompt) for prompt in data["prompts"]]
    return DrawRequest(
        [CompletionRequest(prompts[number], key, tuple(begun)) for number, key, begun in data["asks"]],
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
