"""From logits to tokens: temperature, top-k, top-p, and inverse-CDF sampling with given uniform numbers.

Knows nothing of completions or models. Left out: penalties and other processors that would make the sampled
distribution differ from the one that the learner computes.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from thinkery.rollout.kernels import kernels
from thinkery.types import Sampling, UserError

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
