"""A dense decoder's step on a CPU: one token for every row, in as few operations as it takes.

The model code for training and for prompts stays transformers'. A decoding step computes the same, but a small model's
step through some hundred modules is mostly calls: here matrices that read the same input are one, cast once a call
instead of once a burst, and what lies between two products is one compiled operation (``kernels.cpp``). Rounded is
where autocast rounds: products' inputs and outputs to the compute type; residual stream, norms and softmax are float32.

Left out: families whose layers differ from Llama's in more than biases and norms of queries and keys, other
activations than silu, rotations that depend on more than the position, and accelerators. ``Decoder.of`` gives None
for all of these, and they decode through transformers' modules.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from thinkery.models.loading import Policy
from thinkery.rollout.native.cache import Cache
from thinkery.rollout.native.kernels import MULTIPLE, WIDTHS, Heads, Kernels, kernels

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
ROTATIONS = ("default", "linear", "llama3", "yarn")  # of the position alone
# Rows are padded to a multiple of this: oneDNN prepares a product anew for every number of rows that it meets.
_ROWS = 16
_PACKED_FOR = 256  # rows; for how many hardly matters


class _Matrix:
    """Several linear modules that read the same input, as one; ``rows`` of its first are used.

    In bfloat16 oneDNN has the weights in its own order before the first product. It would put them into it in every
    product, which for a few rows costs as much again.
    """

    def __init__(self, linears: Sequence[Any], dtype: torch.dtype, rows: int | None = None) -> None:
        weights = [linear.weight.detach()[:rows].to(dtype) for linear in linears]
        weight = weights[0] if len(weights) == 1 else torch.cat(weights)
        biases = [linear.bias.detach().to(dtype) for linear in linears if linear.bias is not None]
        self.inputs = weight.shape[1]
        self._bias = torch.cat(biases) if biases else None
        self._packed = dtype is torch.bfloat16 and _has_onednn_bfloat16()
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight, _PACKED_FOR) if self._packed else weight

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        if not self._packed:
            return functional.linear(x, self._weight, self._bias)
        product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, "none", [], "")
        return product


@dataclass(frozen=True, slots=True)
class _Norm:
    weight: torch.Tensor
    epsilon: float

    @classmethod
    def of(cls, module: Any) -> _Norm:
        return cls(module.weight.detach(), module.variance_epsilon)


@dataclass(frozen=True, slots=True)
class _Layer:
    norm: _Norm
    qkv: _Matrix
    heads: Heads
    output: _Matrix
    mlp_norm: _Norm
    gate_up: _Matrix
    down: _Matrix


class Decoder:
    """The weights of a policy as they are now, and a step with them. It is made for a call, and is wrong after it."""

    def __init__(self, policy: Policy, compiled: Kernels, rotation: tuple[torch.Tensor, torch.Tensor]) -> None:
        """``rotation`` is the cosine and the sine of every position, [T, D] each."""
        model: Any = policy.model.get_submodule(policy.model.base_model_prefix)
        self._dtype, self._kernels, self._rotation = policy.compute_dtype, compiled, rotation
        self._embedding = model.embed_tokens.weight.detach()
        self._layers = [_layer(layer, self._dtype) for layer in model.layers]
        self._norm = _Norm.of(model.norm)
        self._head = _Matrix([policy.model.get_output_embeddings()], self._dtype, policy.valid_vocab)
        self._buffers: dict[int, tuple[torch.Tensor, ...]] = {}

    @classmethod
    @torch.no_grad()
    def of(cls, policy: Policy, longest: int) -> Decoder | None:
        """The policy's decoder for texts of ``longest`` tokens at most.

        None if the policy is not of a kind that this is for, or where the compiled operations can't be had.
        """
        compiled = kernels(policy.compute_dtype) if policy.device.type == "cpu" else None
        if compiled is None or not _fits(policy):
            return None
        model: Any = policy.model.get_submodule(policy.model.base_model_prefix)
        cos_1TD, sin_1TD = model.rotary_emb(model.embed_tokens.weight, torch.arange(longest)[None])
        return cls(policy, compiled, (cos_1TD[0].contiguous(), sin_1TD[0].contiguous()))

    def logits(self, ids_S: torch.Tensor, positions_S: torch.Tensor, caches: Sequence[Cache]) -> torch.Tensor:
        """Tokens and their positions in the text, [S] each, the rows of all caches -> logits [S, V].

        The caches' open columns are filled.
        """
        rows = len(ids_S)
        hidden, normed, attended, gated = self._buffers_for(rows)
        torch.index_select(self._embedding, 0, ids_S, out=hidden[:rows])
        add_norm = self._kernels.add_norm
        more = None
        for number, layer in enumerate(self._layers):
            add_norm(rows, hidden, more, layer.norm.weight, layer.norm.epsilon, normed)
            self._attend(number, layer, layer.qkv(normed), positions_S, caches, attended)
            add_norm(rows, hidden, layer.output(attended), layer.mlp_norm.weight, layer.mlp_norm.epsilon, normed)
            self._kernels.gate(rows, layer.gate_up(normed), gated)
            more = layer.down(gated)
        add_norm(rows, hidden, more, self._norm.weight, self._norm.epsilon, normed)
        return self._head(normed)[:rows]

    def _attend(
        self,
        number: int,
        layer: _Layer,
        qkv: torch.Tensor,
        positions_S: torch.Tensor,
        caches: Sequence[Cache],
        out: torch.Tensor,
    ) -> None:
        first = 0
        for cache in caches:
            self._kernels.attend(
                cache.view(),
                layer.heads,
                number,
                qkv[first:],
                positions_S[first:],
                *self._rotation,
                out[first:],
            )
            first += cache.rows

    def _buffers_for(self, rows: int) -> tuple[torch.Tensor, ...]:
        """Residual stream, normed, attended, gated: for so many rows and some to spare, which stay zero."""
        padded = -(-rows // _ROWS) * _ROWS
        if padded not in self._buffers:
            layer = self._layers[0]
            widths = (layer.output.inputs, layer.down.inputs)
            size = self._embedding.shape[1]
            made = [torch.zeros(padded, width, dtype=self._dtype) for width in (size, *widths)]
            self._buffers = {padded: (torch.zeros(padded, size), *made)}
        return self._buffers[padded]


def _layer(layer: Any, dtype: torch.dtype) -> _Layer:
    attention, mlp = layer.self_attn, layer.mlp
    query_norm, key_norm = getattr(attention, "q_norm", None), getattr(attention, "k_norm", None)
    width = attention.head_dim
    heads = Heads(
        query=attention.q_proj.out_features // width,
        key=attention.k_proj.out_features // width,
        width=width,
        query_norm=None if query_norm is None else query_norm.weight.data_ptr(),
        key_norm=None if key_norm is None else key_norm.weight.data_ptr(),
        epsilon=0.0 if query_norm is None else query_norm.variance_epsilon,
        scaling=attention.scaling,
    )
    return _Layer(
        _Norm.of(layer.input_layernorm),
        _Matrix([attention.q_proj, attention.k_proj, attention.v_proj], dtype),
        heads,
        _Matrix([attention.o_proj], dtype),
        _Norm.of(layer.post_attention_layernorm),
        _Matrix([mlp.gate_proj, mlp.up_proj], dtype),
        _Matrix([mlp.down_proj], dtype),
    )


def _fits(policy: Policy) -> bool:
    """Whether a policy's decoder is one that ``Decoder`` computes."""
    config: Any = policy.model.config
    rotation = getattr(config, "rope_parameters", None) or {}
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return (
        config.model_type in FAMILIES
        and config.hidden_act == "silu"
        and rotation.get("rope_type") in ROTATIONS
        and rotation.get("partial_rotary_factor", 1) == 1
        and width in WIDTHS
        and config.hidden_size % MULTIPLE == 0
        and config.intermediate_size % MULTIPLE == 0
        and all(parameter.dtype is torch.float32 for parameter in policy.model.parameters())
    )


def _has_onednn_bfloat16() -> bool:
    return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
