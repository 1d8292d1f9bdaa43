"""From logits to tokens: counter-based uniform numbers, temperature, top-k, top-p, and inverse-CDF sampling.

The uniform number of a token is a hash of (seed, stage, step, problem, completion, position), so it does not depend on
slots, order or batch, and a resumed run draws what the interrupted one would have drawn (counter-based generators:
Salmon et al. 2011). Left out: where the logits come from.
"""

from __future__ import annotations

import hashlib
import json

import torch
from torch.nn import functional

from thinkery.rollout.native.kernels import kernels
from thinkery.types import Sampling, UserError

_GOLDEN = 0x9E3779B97F4A7C15
_MIX_1, _MIX_2 = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def completion_key(seed: int, stage: str, step: int, problem_id: str, index: int) -> int:
    """The key of one completion, as a signed 64-bit integer (torch has no unsigned arithmetic)."""
    named = json.dumps([seed, stage, step, problem_id, index])  # unambiguous where joined strings would not be
    return int.from_bytes(hashlib.blake2b(named.encode(), digest_size=8).digest(), "big", signed=True)


def uniforms(keys: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """int64 keys and positions, broadcast against one another -> float64 in [0, 1), 53 random bits each.

    splitmix64 (Steele, Lea and Flood, OOPSLA 2014): the key is the generator's state and the position the number of
    steps it has taken. int64 products wrap around, as the unsigned ones of the paper do.
    """
    state = scramble(keys + (positions + 1) * _signed(_GOLDEN))
    return _shift_right(state, 11).double() * 2.0**-53


def scramble(state: torch.Tensor) -> torch.Tensor:
    """splitmix64's mixing of int64 numbers, one to one; 0 stays 0."""
    state = (state ^ _shift_right(state, 30)) * _signed(_MIX_1)
    state = (state ^ _shift_right(state, 27)) * _signed(_MIX_2)
    return state ^ _shift_right(state, 31)


def _signed(constant: int) -> int:
    return constant - (1 << 64) if constant >= 1 << 63 else constant


def _shift_right(values: torch.Tensor, bits: int) -> torch.Tensor:
    """The logical shift: torch's own keeps the sign."""
    return (values >> bits) & ((1 << (64 - bits)) - 1)


_BLOCK = 64  # tokens whose weights are summed as one
_NUCLEUS = 64  # tokens looked at first for top-p; a nucleus is rarely larger


def check(sampling: Sampling) -> None:
    """Raises ``UserError`` naming the first field that makes no sense."""
    allowed = {
        "num_generations": (sampling.num_generations >= 1, "1 or more"),
        "temperature": (sampling.temperature >= 0, "0 (greedy) or more"),
        "top_p": (0 < sampling.top_p <= 1, "above 0 and at most 1 (1 switches it off)"),
        "top_k": (sampling.top_k >= 0, "0 (off) or more"),
        "max_completion_length": (sampling.max_completion_length >= 1, "1 or more"),
    }
    for name, (fine, words) in allowed.items():
        if not fine:
            raise UserError(f"sampling.{name} is {getattr(sampling, name)}: must be {words}")


def sample(logits_SV: torch.Tensor, u_S: torch.Tensor, sampling: Sampling) -> tuple[torch.Tensor, torch.Tensor]:
    """Draws one token a row.

    logits [S, V] over the valid vocabulary, float32 or the compute type, u [S] float64 in [0, 1) -> tokens [S]
    int64 and their log-probabilities [S] float32 at the sampling temperature, before truncation. Temperature 0 takes
    the most probable token and reports its log-probability at temperature 1.
    """
    plain = sampling.temperature > 0 and not sampling.top_k and sampling.top_p == 1
    if plain and logits_SV.device.type == "cpu" and logits_SV.stride(1) == 1:
        compiled = kernels(logits_SV.dtype)
        if compiled is not None:
            return compiled.sample(logits_SV, u_S.contiguous(), sampling.temperature)
    logits_SV = logits_SV.float()
    if sampling.temperature == 0:
        tokens_S = logits_SV.argmax(-1)
        return tokens_S, logits_SV.gather(1, tokens_S[:, None])[:, 0] - logits_SV.logsumexp(-1)
    if sampling.temperature != 1:
        logits_SV = logits_SV / sampling.temperature
    probs_SV = logits_SV.softmax(-1)
    if sampling.top_k or sampling.top_p < 1:
        kept_SK, ids_SK = _truncate(probs_SV, sampling)
        tokens_S = ids_SK.gather(1, _invert(kept_SK, u_S)[:, None])[:, 0]
    else:
        tokens_S = _invert(probs_SV, u_S)
    return tokens_S, probs_SV.gather(1, tokens_S[:, None])[:, 0].log()


def _invert(weights_SK: torch.Tensor, u_S: torch.Tensor) -> torch.Tensor:
    """The first index at which the running sum of unnormalised weights exceeds u times their total.

    Blocks are summed first, and only the one that holds the index is gone through: a running sum can't be vectorised.
    """
    if weights_SK.shape[1] <= _BLOCK:
        cumulative_SK = weights_SK.cumsum(-1)
        return _first_above(cumulative_SK, u_S * cumulative_SK[:, -1])
    weights_SBK = functional.pad(weights_SK, (0, -weights_SK.shape[1] % _BLOCK)).view(len(weights_SK), -1, _BLOCK)
    sums_SB = weights_SBK.sum(-1).cumsum(-1)
    threshold_S = u_S * sums_SB[:, -1]
    block_S = _first_above(sums_SB, threshold_S)
    before_S = functional.pad(sums_SB, (1, 0)).gather(1, block_S[:, None])[:, 0]
    inside_SK = weights_SBK[torch.arange(len(block_S), device=block_S.device), block_S].cumsum(-1)
    return block_S * _BLOCK + _first_above(inside_SK, threshold_S - before_S)


def _first_above(cumulative_SK: torch.Tensor, threshold_S: torch.Tensor) -> torch.Tensor:
    """The first index whose running sum exceeds the threshold; rounding may lift that to the total, but no further."""
    total_S = cumulative_SK[:, -1]
    reachable_S = torch.minimum(threshold_S.to(total_S.dtype), total_S.nextafter(torch.zeros_like(total_S)))
    return torch.searchsorted(cumulative_SK, reachable_S[:, None], right=True)[:, 0]


def _truncate(probs_SV: torch.Tensor, sampling: Sampling) -> tuple[torch.Tensor, torch.Tensor]:
    """The kept probabilities [S, K], most probable first, 0 where cut off, with their token ids [S, K].

    top-k first, then top-p over what it left, renormalised, as transformers orders them. A token stays while the mass
    before it is below top-p, so the most probable one always stays (Holtzman et al. 2020, nucleus sampling).
    """
    vocabulary = probs_SV.shape[1]
    limit = min(sampling.top_k or vocabulary, vocabulary)
    width = min(limit, max(_NUCLEUS, sampling.top_k))
    while True:  # a full sort costs more than the rest of the step, so widen only when some nucleus needs it
        kept_SK, ids_SK = probs_SV.topk(width, dim=-1)
        cumulative_SK = kept_SK.cumsum(-1)
        mass_S1 = cumulative_SK[:, -1:] if sampling.top_k else torch.ones_like(kept_SK[:, :1])
        if width == limit or bool((cumulative_SK[:, -1:] >= sampling.top_p * mass_S1).all()):
            return kept_SK.masked_fill(cumulative_SK - kept_SK >= sampling.top_p * mass_S1, 0.0), ids_SK
        width = min(limit, width * 8)
