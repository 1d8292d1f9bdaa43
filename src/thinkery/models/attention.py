"""The attention function of every policy, registered with transformers under the name "thinkery".

The model code stays transformers'. Which keys a query may see, and where they are kept, is decided by a *layout* that
the caller hands to ``hidden_states``: ``CausalLayout`` here, for training and prefill; the rollout engine brings its
own for decoding. Left out, and refused at load by name: sliding windows, chunked attention, attention sinks, soft
capping and any layer that is not full attention. Dropout is never applied: a policy's log-probabilities are compared
across forwards.
"""

from __future__ import annotations

from typing import Any, Protocol, cast

import torch
from torch.nn import functional
from transformers import AttentionInterface, PreTrainedConfig, PreTrainedModel

from thinkery.types import UserError

ATTENTION = "thinkery"
SHORT_ROW = 512  # tokens


class Layout(Protocol):
    """Where the keys are and which of them a query sees, for all layers of one forward."""

    def attend(
        self, layer_idx: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float
    ) -> torch.Tensor:
        """query [B, Hq, T, D], key and value [B, Hkv, T, D], rotated already -> output [B, T, Hq, D]."""
        ...


class CausalLayout:
    """Rows that start at column 0 and are padded on the right, each attending to its own past.

    A row's tokens never see the padding behind them, so only the causal mask is needed; what the padding's own outputs
    are is nobody's business.
    """

    def __init__(self) -> None:
        self._mask_TT: torch.Tensor | None = None  # made once a forward, by its first layer

    def attend(
        self, layer_idx: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float
    ) -> torch.Tensor:
        """query [B, Hq, T, D], key and value [B, Hkv, T, D] -> output [B, T, Hq, D], differentiable."""
        if query.device.type == "cpu" and query.shape[2] <= SHORT_ROW:
            return self._attend_short(query, key, value, scaling)
        grouped = query.shape[1] != key.shape[1]  # grouped queries share their keys: no copies per query head
        output = functional.scaled_dot_product_attention(
            query, key, value, is_causal=True, scale=scaling, enable_gqa=grouped
        )
        return output.transpose(1, 2)

    def _attend_short(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float
    ) -> torch.Tensor:
        """Batched products with the query heads of one key head folded into the query length.

        On short rows torch's CPU flash kernel spends its time on bookkeeping: at 64 rows of 96 tokens its backward
        takes four times as long as this one's (docs/log.md).
        """
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else query.dtype
        B, Hq, T, D = query.shape
        Hkv = key.shape[1]
        folded = (query * scaling).to(dtype).reshape(B * Hkv, Hq // Hkv * T, D)
        keys, values = (x.to(dtype).reshape(B * Hkv, T, D) for x in (key, value))
        with torch.autocast("cpu", enabled=False):
            scores = torch.baddbmm(self._mask(T, Hq // Hkv, dtype), folded, keys.transpose(1, 2))
            output = torch.bmm(torch.softmax(scores, dim=-1), values)
        return output.view(B, Hq, T, D).transpose(1, 2)

    def _mask(self, T: int, repeats: int, dtype: torch.dtype) -> torch.Tensor:
        """0 where a query may look and -inf where it may not: [1, repeats * T, T]."""
        if self._mask_TT is None or self._mask_TT.shape != (1, repeats * T, T) or self._mask_TT.dtype != dtype:
            future_TT = torch.ones(T, T, dtype=torch.bool).triu(1)
            mask_TT = torch.zeros(T, T, dtype=dtype).masked_fill_(future_TT, float("-inf"))
            self._mask_TT = mask_TT.repeat(1, repeats, 1)
        return self._mask_TT


def hidden_states(
    model: PreTrainedModel, input_ids_BT: torch.Tensor, position_ids_BT: torch.Tensor | None, layout: Layout
) -> torch.Tensor:
    """The decoder's last hidden states [B, T, D], after its final norm and before the head.

    ``position_ids_BT`` None counts from 0 in every row. Keeps no cache of its own: that is the layout's affair.
    """
    decoder = model.get_submodule(model.base_model_prefix)
    output = decoder(input_ids=input_ids_BT, position_ids=position_ids_BT, use_cache=False, layout=layout)
    return cast(torch.Tensor, output.last_hidden_state)


def check_supported(config: PreTrainedConfig) -> None:
    """Raises ``UserError``, naming the feature, if the model attends in a way that layouts don't know."""
    name = f"model type {config.model_type!r}"
    instead = "use a dense decoder with full attention (Qwen2, Qwen3, Llama, ...)"
    if config.is_encoder_decoder:
        raise UserError(f"{name} is an encoder-decoder: {instead}")
    layer_types = set(getattr(config, "layer_types", None) or ["full_attention"])
    if other := sorted(layer_types - {"full_attention"}):
        raise UserError(f"{name} has layers of type {', '.join(other)}: {instead}")
    # Configurations without layer types say it by a number alone; Qwen2 also carries a switch beside it.
    window = getattr(config, "sliding_window", None)
    if window is not None and getattr(config, "use_sliding_window", True) and not getattr(config, "layer_types", None):
        raise UserError(f"{name} has sliding-window attention (sliding_window={window}): {instead}")
    for field, plain in (
        ("attn_logit_softcapping", None),
        ("final_logit_softcapping", None),
        ("logits_scaling", 1.0),
        ("logit_scale", 1.0),
    ):
        if getattr(config, field, plain) not in (None, plain):
            raise UserError(f"{name} caps or rescales its logits ({field}): {instead}")


def _attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    layout: Layout | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """transformers' attention interface: [B, H, T, D] -> ([B, T, Hq, D], no weights).

    Without a layout (``model(...)`` or ``model.generate(...)`` called directly) it would have to guess what the
    padding and the cache are, so it refuses.
    """
    if layout is None:
        raise RuntimeError("a policy's model is run through thinkery.models.attention.hidden_states, with a layout")
    if attention_mask is not None or kwargs.get("sliding_window") is not None or kwargs.get("s_aux") is not None:
        raise UserError(f"{type(module).__name__} asks for a mask, a sliding window or sinks, which layouts don't know")
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    return layout.attend(cast(int, module.layer_idx), query, key, value, scaling), None


# No entry in the mask interface under this name: transformers then builds no mask at all.
AttentionInterface.register(ATTENTION, _attention)
