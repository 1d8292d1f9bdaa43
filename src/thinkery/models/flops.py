"""What a dense decoder's work costs, from first principles: FLOPs and bytes of a forward, an update and a rollout.

Counted is what the mathematics needs, whatever the implementation does: padding, recomputation, copies and rows that
decode on after their end are not in it, so a share of the machine's peak can't be had by wasting work. A prompt that
several completions share is counted once. With, for one pass over some tokens,

    N  tokens that pass the decoder          W  weights of its matrices; E  the sum of their inputs and outputs
    H  tokens that pass the head             V  vocabulary; D  hidden size; e  bytes of a number that it computes with
    S  pairs of a query and a key it sees    L  layers; A = L * query heads * head size
    P  parameters                            K = 2 * L * key heads * head size, the cached numbers of a token

a forward costs ``2 (W N + V D H) + 4 A S`` FLOPs (a multiplication and an addition are two) and a backward twice that.
A forward moves ``e (W + V D) + e (E N + D H)`` bytes: every product reads its operands and writes its result once, and
the logits stay in the cache. A backward forms two products for each, so an update moves ``2 e (W + V D) +
3 e (E N + D H)``, and 32 bytes a parameter: gradients written and read, weights and AdamW's two moments read and
written, in fp32. Decoding reads all weights, the cached prompts (once for all completions that share one) and the
cached completions at every step, ``e (W + V D) + e K`` times the cached tokens: what is meant by its memory bound.

Left out: norms, rotations, softmax and activation functions (about 1 % of the FLOPs at usual widths), look-ups of
embeddings, activations while decoding, mixtures of experts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # counting alone must not cost the seconds that torch takes
    import torch
    from transformers import PreTrainedModel

    from thinkery.models.loading import Policy

_OPTIMIZER_BYTES = 32  # a parameter: see above


@dataclass(frozen=True)
class Compute:
    """Tokens that a part of a step has dealt with, what they cost in FLOPs, and the bytes that had to move.

    ``steps`` are forwards that can't but follow one another: a rollout's prefill and its decoding steps.
    """

    tokens: int = 0
    flops: int = 0
    bytes: int = 0
    steps: int = 0

    def __add__(self, other: Compute) -> Compute:
        return Compute(
            self.tokens + other.tokens,
            self.flops + other.flops,
            self.bytes + other.bytes,
            self.steps + other.steps,
        )


@dataclass(frozen=True)
class Lengths:
    """A prompt and the completions that share it, in tokens."""

    prompt: int
    completions: tuple[int, ...]


@dataclass(frozen=True)
class Shape:
    """The sizes of a decoder that its costs depend on; the letters are the formulas'."""

    matrices: int  # W
    edges: int  # E
    head: int  # V D
    hidden: int  # D
    attention: int  # A
    cached: int  # K
    parameters: int  # P, the head and the embeddings among them, tied ones once
    element: int  # e

    @property
    def activations(self) -> int:
        """Numbers that go in and out of the matrices and the head for a token."""
        return self.edges + self.hidden + self.head // self.hidden


def shape_of(model: PreTrainedModel, vocabulary: int, dtype: torch.dtype) -> Shape:
    """The shape of a dense decoder that computes in ``dtype``; ``vocabulary`` are the head's rows that are used."""
    from torch import nn

    config = model.config.get_text_config()
    decoder = model.get_submodule(model.base_model_prefix)
    matrices = [module for module in decoder.modules() if isinstance(module, nn.Linear)]
    hidden, heads, layers = config.hidden_size, config.num_attention_heads, config.num_hidden_layers
    width = getattr(config, "head_dim", None) or hidden // heads
    key_heads = getattr(config, "num_key_value_heads", None) or heads
    return Shape(
        matrices=sum(matrix.weight.numel() for matrix in matrices),
        edges=sum(matrix.in_features + matrix.out_features for matrix in matrices),
        head=vocabulary * hidden,
        hidden=hidden,
        attention=layers * heads * width,
        cached=2 * layers * key_heads * width,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        element=dtype.itemsize,
    )


def policy_shape(policy: Policy) -> Shape:
    """The shape of a policy."""
    return shape_of(policy.model, policy.valid_vocab, policy.compute_dtype)


def forward_compute(shape: Shape, batch: Sequence[Lengths], *, head: bool = True) -> Compute:
    """One forward over prompts and completions; the head (if it is asked) sees what predicts a completion's tokens."""
    tokens, predicted = _tokens(batch), _completion_tokens(batch) if head else 0
    weights = shape.matrices + (shape.head if head else 0)
    moved = weights + shape.edges * tokens + shape.hidden * predicted
    return Compute(tokens, _flops(shape, tokens, predicted, _pairs(batch)), shape.element * moved)


def update_compute(shape: Shape, batch: Sequence[Lengths], *, updates: int = 1, head: bool = True) -> Compute:
    """Forward and backward over a batch, cut into so many ``updates``, each with a step of the optimizer."""
    forward = forward_compute(shape, batch, head=head)
    weights = shape.element * (shape.matrices + (shape.head if head else 0))
    activations = forward.bytes - weights
    each = 2 * weights + _OPTIMIZER_BYTES * shape.parameters
    return Compute(forward.tokens, 3 * forward.flops, 3 * activations + updates * each)


def rollout_compute(shape: Shape, batch: Sequence[Lengths], slots: int) -> Compute:
    """Sampling the completions, at most ``slots`` at a time; the tokens are those sampled.

    Every prompt is forwarded once and gives a first token; every further token costs the forward of the one before it.
    No engine can take fewer steps than the longest completion has tokens, nor than fill the slots with all of them.
    """
    fed = [Lengths(one.prompt, tuple(length - 1 for length in one.completions)) for one in batch]
    decoded = _completion_tokens(fed)
    flops = _flops(shape, _tokens(fed), len(batch) + decoded, _pairs(fed))
    longest = [max(one.completions, default=0) for one in fed]
    steps = 1 + max(max(longest, default=0), math.ceil(decoded / slots))
    prompts_read = sum(one.prompt * steps_of_it for one, steps_of_it in zip(fed, longest, strict=True))
    own_read = sum(length * (length + 1) // 2 for one in fed for length in one.completions)
    cached = _tokens(fed) + prompts_read + own_read  # written once, then read
    moved = shape.element * (steps * (shape.matrices + shape.head) + shape.cached * cached)
    return Compute(_completion_tokens(batch), flops, moved, steps)


def _flops(shape: Shape, tokens: int, predicted: int, pairs: int) -> int:
    return 2 * (shape.matrices * tokens + shape.head * predicted) + 4 * shape.attention * pairs


def _tokens(batch: Sequence[Lengths]) -> int:
    """N: every prompt once."""
    return sum(one.prompt for one in batch) + _completion_tokens(batch)


def _completion_tokens(batch: Sequence[Lengths]) -> int:
    return sum(sum(one.completions) for one in batch)


def _pairs(batch: Sequence[Lengths]) -> int:
    """S: a prompt's token sees itself and those before it, a completion's also the whole prompt."""
    return sum(
        one.prompt * (one.prompt + 1) // 2
        + sum(length * one.prompt + length * (length + 1) // 2 for length in one.completions)
        for one in batch
    )
