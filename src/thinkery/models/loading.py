"""Checkpoints in and out: a reference becomes a ``Policy``, and a policy becomes a Hugging Face folder.

A policy is one model with its tokenizer, template and version; rollout and learner share it, so there are no weights
to synchronise on one machine. Left out: sharded and quantised loading.
"""

from __future__ import annotations

import contextlib
import copy
import os
import tempfile
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging
from transformers.utils.hub import cached_file

from thinkery.files import require_regular
from thinkery.machine.shared_weights import share
from thinkery.models.attention import check_supported
from thinkery.models.pretrained import (
    in_words,
    make_model,
    read_config,
    read_generation,
    read_tokenizer,
    read_weights,
)
from thinkery.models.template import FILE_NAME, TEMPLATES, Template
from thinkery.types import Dtype, Problem, UserError

transformers_logging.disable_progress_bar()  # the run has a view of its own

SCHEME = "thinkery://"
DTYPES: dict[str, torch.dtype] = {"bfloat16": torch.bfloat16, "float32": torch.float32}


@dataclass
class Policy:
    """A model that is sampled from and learns.

    ``model`` holds fp32 master weights in eval mode (no dropout); forwards run under ``autocast()``. On a CPU they lie
    in memory that other processes can map (``machine.shared_weights``). ``version`` counts the learner's updates: 0 at
    load.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    template: Template
    device: torch.device
    compute_dtype: torch.dtype
    version: int = field(default=0, kw_only=True)

    def __post_init__(self) -> None:
        share(self.model)

    @cached_property
    def eos_token_ids(self) -> tuple[int, ...]:
        """Every token that ends a completion: the generation config's and the tokenizer's. ``UserError`` if none."""
        generation = self.model.generation_config
        configured = generation.eos_token_id if generation is not None else None
        ids = set(configured if isinstance(configured, list) else [configured]) | {self.tokenizer.eos_token_id}
        known = tuple(sorted(i for i in ids if i is not None))
        if not known:
            raise UserError(f"{self.model.name_or_path} has no end-of-sequence token: set eos_token in its tokenizer")
        return known

    @property
    def end_token_id(self) -> int:
        """The token that a demonstration's completion ends with; the rollout stops at it as well.

        It is the template's stop string where that is one token of the tokenizer (``<|im_end|>`` of Qwen's), else the
        tokenizer's own end-of-sequence token. ``UserError`` if there is neither.
        """
        vocabulary = self.tokenizer.get_vocab()
        tokens = [vocabulary[string] for string in self.template.stop_strings if string in vocabulary]
        ends = [token for token in [*tokens, self.tokenizer.eos_token_id] if token is not None]
        if not ends or ends[0] >= self.valid_vocab:
            raise UserError(
                f"{self.model.name_or_path} has no end-of-sequence token that it could learn to end with: set "
                "eos_token in its tokenizer_config.json to a token of its vocabulary"
            )
        return int(ends[0])

    @property
    def valid_vocab(self) -> int:
        """How many of the head's rows stand for tokens; the rest is padding, never to be sampled."""
        return min(len(self.tokenizer), int(self.model.config.get_text_config().vocab_size))

    def encode_prompt(self, problem: Problem) -> tuple[int, ...]:
        """The token ids that a completion of ``problem`` continues. The template carries all special tokens."""
        ids = self.tokenizer(self.template.render(problem.prompt), add_special_tokens=False)["input_ids"]
        return tuple(ids)

    def autocast(self) -> AbstractContextManager[object]:
        """The context that forwards run in: matrix products in ``compute_dtype``, residual stream and norms in fp32."""
        if self.compute_dtype is torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self.compute_dtype)


def place_of(device: str) -> torch.device:
    """A recipe's device; ``auto`` is the GPU if there is one."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(device)


def resolve_model(ref: str) -> str:
    """A model reference as transformers takes it: ``thinkery://name`` (shipped), a folder, or a Hub id as it is.

    Raises ``UserError`` if a shipped model or a folder does not exist.
    """
    if ref.startswith(SCHEME):
        assets = Path(str(resources.files("thinkery"))) / "assets"
        folder = assets / ref.removeprefix(SCHEME)
        if not (folder / "config.json").exists():
            shipped = sorted(SCHEME + path.parent.name for path in assets.glob("*/config.json"))
            raise UserError(f"{ref} is not shipped; shipped models: {', '.join(shipped) or 'none'}")
        return str(folder)
    folder = Path(ref).expanduser()
    require_regular(folder)
    if folder.is_dir():
        if not (folder / "config.json").exists():
            raise UserError(f"{ref} has no config.json: name a folder that holds a Hugging Face checkpoint")
        return str(folder)
    if ref.startswith((".", "/", "~")) or ref.count("/") > 1:  # a Hub id is owner/name
        raise UserError(f"no model at {ref}: name an existing folder, a Hub id (owner/name) or {SCHEME}mini-base")
    return ref


def load_policy(
    ref: str | Path, *, template: Template | None, device: str = "auto", dtype: Dtype = "bfloat16"
) -> Policy:
    """Loads a checkpoint as a policy.

    ``template`` None takes the one saved with the checkpoint. ``dtype`` is the compute type: the weights are fp32
    always. ``device`` "meta" gives the shapes alone, and reads no weights. Raises ``UserError`` if the checkpoint is
    missing or damaged, has other weights than its configuration says, has no template, or attends in an unsupported
    way.
    """
    path = resolve_model(str(ref))
    if dtype not in DTYPES:
        raise UserError(f"dtype {dtype!r}: choose one of {', '.join(DTYPES)}")
    config = read_config(path, str(ref))
    check_supported(config)
    tokenizer = read_tokenizer(path, str(ref))
    if device == "meta":
        model = _shapes(path, config, str(ref))
    else:
        model = read_weights(AutoModelForCausalLM, path, config, str(ref))
    if getattr(model.get_output_embeddings(), "bias", None) is not None:
        raise UserError(f"{ref} has a bias in its output head, which log-probabilities here don't know: choose another")
    place = place_of(device)
    cast(torch.nn.Module, model).to(place).eval()
    return Policy(model, tokenizer, template or saved_template(path), place, DTYPES[dtype])


def _shapes(path: str, config: PreTrainedConfig, ref: str) -> PreTrainedModel:
    """The model without its weights, but with what it says of generation."""
    with torch.device("meta"):
        model = make_model(AutoModelForCausalLM, config, ref)
    generation = read_generation(path, ref)
    if generation is not None:  # else as its configuration says
        model.generation_config = generation
    return model


def save_policy(
    policy: Policy, folder: Path, *, dtype: Dtype = "float32", state: Mapping[str, torch.Tensor] | None = None
) -> None:
    """Writes weights, tokenizer and template to ``folder`` in Hugging Face format, each file atomically.

    ``state`` are the weights where the model itself doesn't have them whole, tied ones under one of their names.
    The folder loads with plain ``AutoModelForCausalLM.from_pretrained`` and in vLLM: nothing in it names our attention.
    Other files in the folder are left alone.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = copy.copy(policy.tokenizer)
    tokenizer.chat_template = policy.template.chat_template
    with tempfile.TemporaryDirectory(dir=folder, prefix=".saving-") as name:
        staging = Path(name)
        policy.model.save_pretrained(staging, state_dict=_cast(state or policy.model.state_dict(), DTYPES[dtype]))
        config = copy.deepcopy(policy.model.config)
        config.dtype = dtype  # save_pretrained wrote the master weights' type
        config.save_pretrained(staging)
        tokenizer.save_pretrained(staging)
        policy.template.save(staging)
        # The configuration moves last: a folder with config.json is a whole checkpoint.
        for path in sorted(staging.iterdir(), key=lambda path: path.name == "config.json"):
            with path.open("rb") as file:
                os.fsync(file.fileno())
            os.replace(path, folder / path.name)


def _cast(state: Mapping[str, torch.Tensor], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """The state dict in ``dtype``; tied tensors stay one tensor, so that they are still written once."""
    by_address: dict[int, torch.Tensor] = {}
    converted: dict[str, torch.Tensor] = {}
    for name, tensor in state.items():
        one = tensor.to(dtype) if tensor.is_floating_point() else tensor
        converted[name] = by_address.setdefault(tensor.data_ptr(), one)
    return converted


def save_weights(model: torch.nn.Module, path: Path) -> None:
    """Writes the parameters as they are, tied ones once: for a checkpoint to resume from, not to be published."""
    save_file(_parameters(model), path)


def restore_weights(model: torch.nn.Module, path: Path) -> None:
    """Copies what ``save_weights`` wrote into a model, in place: optimizer and engine hold on to the same tensors.

    Raises ``UserError`` if the file is another model's, or damaged.
    """
    own = _parameters(model)
    try:
        saved = load_file(path, device=str(next(iter(own.values())).device))
    except SafetensorError as error:
        raise UserError(
            f"{path} is cut short or damaged ({error}); remove its folder, and the stage starts anew"
        ) from None
    if {name: tensor.shape for name, tensor in saved.items()} != {name: tensor.shape for name, tensor in own.items()}:
        raise UserError(f"{path} holds another model's weights: resume with the model the run was started from")
    for name, tensor in saved.items():
        own[name].copy_(tensor)


def _parameters(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


def saved_template(path: str) -> Template:
    """The template stored with a checkpoint, in a folder or on the Hub. Raises ``UserError`` if there is none."""
    with in_words(f"the template of {path}", path):
        found = cached_file(path, FILE_NAME, _raise_exceptions_for_missing_entries=False)
    if found is None:
        raise UserError(f"{path} has no {FILE_NAME}: name a template in the recipe, one of {', '.join(TEMPLATES)}")
    return Template.load(Path(found).parent)
