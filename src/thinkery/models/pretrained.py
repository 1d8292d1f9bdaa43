"""The one door through which transformers reads a checkpoint: configuration, tokenizer, weights.

What is wrong with a checkpoint is said here in words, as a ``UserError``. Its own code never runs, and nobody is asked
whether it may, unless the session allows it (``remote_code.py``). A checkpoint in torch's own format is read with
``weights_only``, so that no pickle of another person runs either. Left out: which models are fit to be policies
(``loading.py``, ``attention.py``), and whether the weights are whole (``soundness.py``).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import safe_open
from transformers import AutoConfig, AutoTokenizer, GenerationConfig, PreTrainedConfig, PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer
from transformers.utils import logging as transformers_logging

from thinkery.models.attention import ATTENTION
from thinkery.models.remote_code import FLAG, trusts_remote_code
from thinkery.models.soundness import require_sound
from thinkery.types import UserError

_JSON = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "chat_template.json",
)
_INDEX = "*.index.json"
_AGAIN = "fetch or save the checkpoint again"
_LONGEST = 300  # characters of another library's message


def read_config(path: str, ref: str) -> PreTrainedConfig:
    """A checkpoint's configuration; ``ref`` is what an error calls the checkpoint."""
    with in_words(f"the model {ref}", path):
        return cast(PreTrainedConfig, AutoConfig.from_pretrained(path, trust_remote_code=trusts_remote_code()))


def read_tokenizer(path: str, ref: str) -> Tokenizer:
    """A checkpoint's tokenizer."""
    with in_words(f"the tokenizer of {ref}", path):
        tokenizer: Tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=trusts_remote_code())
    if len(tokenizer) <= len(tokenizer.all_special_tokens):  # where there are no files transformers makes an empty one
        raise UserError(f"{ref} has no tokenizer, or one without a vocabulary: add its tokenizer.json")
    return tokenizer


def read_generation(path: str, ref: str) -> GenerationConfig | None:
    """What a checkpoint says of generation; None if it says nothing. A damaged file is not the same as none."""
    if Path(path, "generation_config.json").is_file():
        _require_json(Path(path, "generation_config.json"))
    try:
        generation = GenerationConfig.from_pretrained(path)
    except OSError:
        return None
    except Exception as error:
        raise UserError(f"cannot load the generation_config.json of {ref}: {_said(error)}") from error
    ends = generation.eos_token_id
    if not all(isinstance(end, int) for end in (ends if isinstance(ends, list) else [ends]) if end is not None):
        raise UserError(
            f"{ref}: eos_token_id in its generation_config.json is {ends!r}: write a token's number, or several"
        )
    return generation


def read_weights(
    kind: Any, path: str, config: PreTrainedConfig, ref: str, *, headless: bool = False
) -> PreTrainedModel:
    """A model with all of its weights, in fp32; ``kind`` is one of transformers' automatic classes.

    Raises ``UserError`` unless the files hold the very tensors that the configuration asks for, all of them finite.
    ``headless`` does without the output head, where what is wanted is the rest.
    """
    read_generation(path, ref)  # transformers takes a damaged one for none
    with in_words(f"the model {ref}", path), _silence():
        model, info = kind.from_pretrained(
            path,
            config=config,
            dtype=torch.float32,
            attn_implementation=ATTENTION,
            trust_remote_code=trusts_remote_code(),
            weights_only=True,
            ignore_mismatched_sizes=True,  # they are told and refused below
            output_loading_info=True,
        )
    require_sound(ref, model, info, headless=headless)
    return cast(PreTrainedModel, model)


def make_model(kind: Any, config: PreTrainedConfig, ref: str) -> PreTrainedModel:
    """The model of a configuration with weights that mean nothing, on the device that is torch's at the time."""
    with in_words(f"the model {ref}", ref):
        model = kind.from_config(
            config, dtype=torch.float32, attn_implementation=ATTENTION, trust_remote_code=trusts_remote_code()
        )
    return cast(PreTrainedModel, model)


@contextmanager
def in_words(what: str, path: str) -> Iterator[None]:
    """Says of whatever goes wrong with a checkpoint's files what it is, and which of the files is to blame."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # they raise every kind of error at a file that they can't read
        if "trust_remote_code" in str(error):
            raise UserError(
                f"cannot load {what}: it needs Python code that the checkpoint brings along, which is not run unless "
                f"you say so; look at that code, and if you trust it with everything your account can do give {FLAG}"
            ) from None
        require_whole_files(path)
        if any(name.endswith(".bin") for name in _names(path)) and "eights" in str(error):
            raise UserError(
                f"cannot load {what}: {_said(error)}; files in torch's own format are read as tensors alone "
                "(weights_only) and no code in them is run: save the checkpoint as safetensors"
            ) from error
        raise UserError(f"cannot load {what}: {_said(error)}") from error


def require_whole_files(path: str) -> None:
    """Raises ``UserError`` for a file of a folder that is cut short or damaged, or a shard that is missing.

    Reads the headers of the weights alone. What is on the Hub is transformers' to check.
    """
    folder = Path(path)
    for name in _JSON:
        if (folder / name).is_file():
            _require_json(folder / name)
    for index in sorted(folder.glob(_INDEX)):
        shards = _require_json(index).get("weight_map")
        if not isinstance(shards, dict) or not all(isinstance(shard, str) for shard in shards.values()):
            raise UserError(f"{index} is damaged: it has no weight_map of tensors' names to files; {_AGAIN}")
        for shard in sorted(set(shards.values())):
            if not (folder / shard).is_file():
                raise UserError(f"{index} names {shard}, which is not there; {_AGAIN}")
    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(file, "pt"):
                pass
        except Exception as error:
            raise UserError(f"{file} is cut short or damaged ({_said(error)}); {_AGAIN}") from None


def _require_json(file: Path) -> dict[str, Any]:
    """A file's object."""
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file} is cut short or damaged ({_said(error)}); {_AGAIN}") from None
    if not isinstance(value, dict):
        raise UserError(f"{file} is damaged: it holds no JSON object; {_AGAIN}")
    return value


def _names(path: str) -> list[str]:
    return os.listdir(path) if os.path.isdir(path) else []


@contextmanager
def _silence() -> Iterator[None]:
    """Keeps transformers' own report of missing tensors back: it is an error here, and said in one sentence."""
    before = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(before)


def _said(error: Exception) -> str:
    """What another library says, on one line and not at any length; a missing key says nothing by itself."""
    said = " ".join(str(error).split())[:_LONGEST]
    return f"{type(error).__name__} {said}".strip() if not said or isinstance(error, KeyError) else said
