"""Log-probabilities and entropies of given tokens, without an array of [tokens, vocabulary].

With a vocabulary of 150,000 the logits of one long microbatch are gigabytes and dominate the memory of training. Here
they exist a chunk of tokens at a time, in the forward and, recomputed, in the backward. Left out: the forward that
gives the hidden states; heads with a bias or a cap on their logits.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

# Logits that exist at one time: 4 MiB of fp32, to stay in the cache, but of no fewer tokens than products need.
_CHUNK_ELEMENTS, _LEAST_CHUNK = 1024 * 1024, 256


def chunk_length(vocab: int) -> int:
    """How many tokens' logits exist at one time: about 4 MiB of them."""
    return max(_LEAST_CHUNK, _CHUNK_ELEMENTS // vocab)


def token_logprobs(
    hidden_ND: Tensor, head_VD: Tensor, target_N: Tensor, *, temperature: float = 1.0, chunk: int | None = None
) -> tuple[Tensor, Tensor]:
    """``log softmax(head @ hidden / temperature)[target]`` and the entropy (nats) of that distribution, per token.

    ``head_VD`` is the output embedding without the rows that pad the vocabulary. ``chunk`` is how many tokens' logits
    exist at one time; by default about 4 MiB of them. Returns ``(logp_N, entropy_N)``, in fp32 or better;
    ``logp_N`` is differentiable in hidden states and head, ``entropy_N`` is not (it is for watching).

    Under autocast the products are taken in its type, like any linear layer's, everything after them in fp32.
    """
    chunk = chunk or chunk_length(head_VD.shape[0])
    device = hidden_ND.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden_ND.dtype
    with torch.autocast(device, enabled=False):
        outputs = _TokenLogprobs.apply(hidden_ND, head_VD, target_N, temperature, chunk, dtype)  # type: ignore[no-untyped-call]
    return cast(tuple[Tensor, Tensor], outputs)


class _TokenLogprobs(torch.autograd.Function):
    """The backward recomputes each chunk's logits: d logp_t / d logits = (onehot(target_t) - softmax) / temperature."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: Tensor,
        head_VD: Tensor,
        target_N: Tensor,
        temperature: float,
        chunk: int,
        dtype: torch.dtype,
    ) -> tuple[Tensor, Tensor]:
        head = head_VD.to(dtype)
        logps, entropies = [], []
        for hidden, target in zip(hidden_ND.split(chunk), target_N.split(chunk), strict=True):
            logits = logits_of(hidden.to(dtype), head, temperature)
            chosen = logits.gather(1, target[:, None])[:, 0]
            peak = logits.amax(dim=1, keepdim=True)
            logits -= peak
            exps = logits.exp()
            total = exps.sum(dim=1)
            log_total = total.log()
            logps.append(chosen - peak[:, 0] - log_total)
            entropies.append(log_total - exps.mul_(logits).sum(dim=1) / total)
        logp_N, entropy_N = torch.cat(logps), torch.cat(entropies)
        ctx.save_for_backward(hidden_ND, head_VD, target_N)
        ctx.temperature, ctx.chunk, ctx.dtype = temperature, chunk, dtype
        ctx.mark_non_differentiable(entropy_N)
        return logp_N, entropy_N

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None, None, None]:
        hidden_ND, head_VD, target_N = ctx.saved_tensors
        dtype, chunk = ctx.dtype, ctx.chunk
        head = head_VD.to(dtype)
        grad_head_VD = torch.zeros_like(head_VD)
        grad_hiddens = []
        chunks = zip(hidden_ND.split(chunk), target_N.split(chunk), grads[0].split(chunk), strict=True)
        for hidden, target, grad in chunks:
            hidden = hidden.to(dtype)
            scaled = grad[:, None] / ctx.temperature
            grad_logits = torch.softmax(logits_of(hidden, head, ctx.temperature), dim=1).mul_(-scaled)
            grad_logits.scatter_add_(1, target[:, None], scaled)
            grad_logits = grad_logits.to(dtype)
            grad_hiddens.append((grad_logits @ head).to(hidden_ND.dtype))
            grad_head_VD += grad_logits.T @ hidden
        return torch.cat(grad_hiddens), grad_head_VD, None, None, None, None


def logits_of(hidden: Tensor, head: Tensor, temperature: float) -> Tensor:
    """A chunk's logits, in fp32 or better, at the temperature."""
    logits = hidden @ head.T
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return logits / temperature if temperature != 1.0 else logits
