"""A model's sizes from its configuration alone: dense decoders, and mixtures of experts with a compressed cache.

The counts are ``models.flops``'s. A mixture costs the FLOPs of the experts that a token uses, and the bytes of all that
a batch touches; so its ``Shape`` holds what one token works with, and ``DecoderCosts`` what there is besides.
Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434) multiplies two ways: expanded in a forward, and absorbed
into the compressed cache while decoding, hence two shapes. Left out: multi-token prediction heads, sliding windows,
adapters.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from thinkery.files import require_regular
from thinkery.models.flops import Shape
from thinkery.plan.known_models import CONFIGS
from thinkery.types import UserError

_DENSE = ("llama", "mistral", "qwen2", "qwen3")
_ELEMENT = 2  # bytes of a number that it computes with: bf16


@dataclass(frozen=True)
class DecoderCosts:
    """A model's costs. ``routed`` are the weights of all experts that tokens are routed to, over all layers."""

    name: str
    layers: int
    learning: Shape  # a forward, an update
    sampling: Shape  # decoding
    routed: int = 0
    experts: int = 1  # a layer
    experts_per_token: int = 1
    served_bytes: int = 2  # of a weight while sampling: 1 where the checkpoint itself is in fp8

    @property
    def parameters(self) -> int:
        """All of them, tied ones once."""
        return self.learning.parameters

    @property
    def active(self) -> int:
        """Those that one token works with: matrices and the head."""
        return self.learning.matrices + self.learning.head

    @property
    def common(self) -> int:
        """Weights of matrices and head that every token works with."""
        return self.active - self.routed * self.experts_per_token // self.experts

    def held(self, replica: int) -> float:
        """Parameters on each GPU of those that share a copy: a mixture's experts are spread, the rest is repeated."""
        if self.routed:
            return self.parameters - self.routed + self.routed / replica
        return self.parameters / replica

    def routed_by(self, tokens: float) -> float:
        """Routed weights that so many tokens of a batch touch together, if the router spreads them evenly."""
        missed: float = (1 - self.experts_per_token / self.experts) ** tokens
        return self.routed * (1 - missed)


def decoder_named(reference: str, config: Path | None = None) -> DecoderCosts:
    """The sizes of a model: from ``config`` (config.json or its folder) if given, from the reference's own folder, or
    from the committed table. Raises ``UserError`` where none of them has it; nothing is downloaded."""
    if config is not None:
        return decoder_from_config(_read(config, f"--config {config}"), reference)
    if reference in CONFIGS:
        return decoder_from_config(CONFIGS[reference], reference)
    of_the_hub = reference.count("/") < 2 and not reference.startswith(("thinkery://", ".", "/", "~"))
    if of_the_hub and not Path(reference).is_dir():
        raise UserError(
            f"the sizes of {reference} are not known here, and nothing is downloaded: give its config.json with "
            f"--config, or take one of {', '.join(CONFIGS)}"
        )
    from thinkery.models.loading import resolve_model  # with torch, which takes seconds

    return decoder_from_config(_read(Path(resolve_model(reference)), reference), reference)


def decoder_from_config(config: Mapping[str, Any], name: str) -> DecoderCosts:
    """A decoder from the fields of its Hugging Face config. Raises ``UserError`` for architectures unknown here."""
    kind = config.get("model_type")
    try:
        if kind in _DENSE:
            return _assembled(config, name, _grouped_attention(config), moe_layers=0)
        if kind == "qwen3_moe":
            moe = {"n_routed_experts": config["num_experts"], "n_shared_experts": 0, **config}
            return _assembled(moe, name, _grouped_attention(config), moe_layers=config["num_hidden_layers"])
        if kind == "deepseek_v3":
            moe_layers = config["num_hidden_layers"] - config["first_k_dense_replace"]
            return _assembled(config, name, _latent_attention(config), moe_layers=moe_layers)
    except KeyError as missing:
        raise UserError(f"{name}: its config.json has no {missing.args[0]}, which a {kind} model has") from None
    known = ", ".join([*_DENSE, "qwen3_moe", "deepseek_v3"])
    raise UserError(f"{name}: can't plan for model_type {kind!r}; known: {known}")


@dataclass(frozen=True)
class _Attention:
    """One layer's: its matrices as (inputs, outputs), what it computes with for a pair, and what it caches a token."""

    matrices: list[tuple[int, int]]
    extra: int  # parameters that are in no matrix: biases, norms of heads
    pair: int  # query heads times the mean width of a key and a value
    pair_decoding: int
    cached: int


def _grouped_attention(config: Mapping[str, Any]) -> _Attention:
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    key_heads = config.get("num_key_value_heads") or heads
    width = config.get("head_dim") or hidden // heads
    queries, keys = heads * width, key_heads * width
    kind = config["model_type"]
    biased = queries + 2 * keys if kind == "qwen2" else 0
    biased += queries + 2 * keys + hidden if kind != "qwen2" and config.get("attention_bias") else 0
    normed = 2 * width if kind in ("qwen3", "qwen3_moe") else 0
    matrices = [(hidden, queries), (hidden, keys), (hidden, keys), (queries, hidden)]
    return _Attention(matrices, biased + normed, queries, queries, 2 * keys)


def _latent_attention(config: Mapping[str, Any]) -> _Attention:
    """DeepSeek-V3's (arXiv 2412.19437, section 2.1.1)."""
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    latent, rotated = config["kv_lora_rank"], config["qk_rope_head_dim"]
    key, value = config["qk_nope_head_dim"] + rotated, config["v_head_dim"]
    query_rank = config["q_lora_rank"]
    matrices = [
        (hidden, query_rank),
        (query_rank, heads * key),
        (hidden, latent + rotated),
        (latent, heads * (key - rotated + value)),
        (heads * value, hidden),
    ]
    absorbed = heads * (latent + rotated + latent) // 2
    return _Attention(matrices, query_rank + latent, heads * (key + value) // 2, absorbed, latent + rotated)


def _assembled(config: Mapping[str, Any], name: str, attention: _Attention, *, moe_layers: int) -> DecoderCosts:
    """Attention, gated feed-forward layers or experts, norms, embeddings and the head."""
    hidden, layers, vocabulary = config["hidden_size"], config["num_hidden_layers"], config["vocab_size"]
    dense_layers = layers - moe_layers
    experts = config["n_routed_experts"] if moe_layers else 1
    chosen = config["num_experts_per_tok"] if moe_layers else 1
    shared = config["n_shared_experts"] if moe_layers else 0
    matrices = attention.matrices * layers + _gated(hidden, config["intermediate_size"]) * dense_layers
    expert: list[tuple[int, int]] = []
    if moe_layers:
        expert = _gated(hidden, config["moe_intermediate_size"])
        matrices += ([(hidden, experts)] + expert * (shared + chosen)) * moe_layers
    routed = _weights(expert) * experts * moe_layers
    others = layers * (attention.extra + 2 * hidden) + hidden
    embeddings = vocabulary * hidden * (1 if config.get("tie_word_embeddings") else 2)
    active = _weights(matrices)
    learning = Shape(
        matrices=active,
        edges=sum(map(sum, matrices)),
        head=vocabulary * hidden,
        hidden=hidden,
        attention=layers * attention.pair,
        cached=layers * attention.cached,
        parameters=active + routed * (experts - chosen) // experts + others + embeddings,
        element=_ELEMENT,
    )
    return DecoderCosts(
        name=name,
        layers=layers,
        learning=learning,
        sampling=replace(learning, attention=layers * attention.pair_decoding),
        routed=routed,
        experts=experts,
        experts_per_token=chosen,
        served_bytes=1 if config.get("quantization_config", {}).get("quant_method") == "fp8" else _ELEMENT,
    )


def _gated(hidden: int, inner: int) -> list[tuple[int, int]]:
    return [(hidden, inner), (hidden, inner), (inner, hidden)]


def _weights(matrices: list[tuple[int, int]]) -> int:
    return sum(inputs * outputs for inputs, outputs in matrices)


def _read(path: Path, what: str) -> Mapping[str, Any]:
    file = path / "config.json" if path.is_dir() else path
    require_regular(file)
    try:
        read = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise UserError(f"{what}: no readable config.json there") from None
    if not isinstance(read, dict):
        raise UserError(f"{what}: {file.name} is no configuration of a model")
    return read
