"""PPO's credit assignment: rewards and values -> advantages and returns, token by token.

A completion is an episode of T tokens with one reward R at its end and discount 1. With the value V_t of what stands
before token t, and V_T = 0 after the last,

    delta_t = V_{t+1} - V_t,  delta_{T-1} = R - V_{T-1},
    A_t = sum_{l >= 0} lambda^l delta_{t+l},  return_t = A_t + V_t

(Schulman et al., "High-dimensional continuous control using generalized advantage estimation", arXiv 1506.02438,
eqs. 11 and 16). With lambda = 1, A_t = R - V_t: DeepSeek-R1 finds it near GRPO, and 0.95 much worse, since R reaches
the first of a thousand tokens as 0.95^1000 R.

Pure arithmetic in float64. Left out: where values come from (``critic.py``); the policy's clipped objective, which is
GRPO's (``grpo.py``); a KL term in the reward (DeepSeek-R1 has it in the loss).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

# Below this a spread is rounding, not a difference between tokens.
_SMALLEST_SPREAD = 1e-6


def gae(rewards_S: Sequence[float], values_ST: Sequence[Tensor], lam: float) -> list[Tensor]:
    """The advantages of each sequence's tokens; ``values_ST`` holds one [T] a sequence, of any lengths above 0."""
    if not values_ST:
        return []
    lengths_S = torch.tensor([len(values_T) for values_T in values_ST])
    rows_S, last_S = torch.arange(len(values_ST)), lengths_S - 1
    padded_ST = pad_sequence([values_T.to(torch.float64) for values_T in values_ST], batch_first=True)
    next_ST = torch.cat([padded_ST[:, 1:], torch.zeros(len(values_ST), 1, dtype=torch.float64)], dim=1)
    delta_ST = next_ST - padded_ST
    delta_ST[rows_S, last_S] += torch.as_tensor(rewards_S, dtype=torch.float64)
    carried_S = torch.zeros(len(values_ST), dtype=torch.float64)
    for t in reversed(range(padded_ST.shape[1])):  # padding has deltas of 0 and carries nothing into the sequence
        carried_S = delta_ST[:, t] + lam * carried_S
        delta_ST[:, t] = carried_S
    return [advantage_T[:length] for advantage_T, length in zip(delta_ST, lengths_S.tolist(), strict=True)]


def whitened(advantages_ST: Sequence[Tensor]) -> list[tuple[float, ...]]:
    """Less the mean and divided by the standard deviation, both over all tokens of the batch; zeros without spread."""
    if not advantages_ST:
        return []
    every_N = torch.cat(list(advantages_ST))
    spread = every_N.std() if len(every_N) > 1 else torch.zeros(())
    scale = 1.0 / spread if spread > _SMALLEST_SPREAD else torch.zeros(())
    return [tuple(((advantage_T - every_N.mean()) * scale).tolist()) for advantage_T in advantages_ST]


def value_loss(value_N: Tensor, return_N: Tensor) -> Tensor:
    """``(V_t - return_t)^2 / 2``, token by token. The returns are targets, without gradient."""
    return 0.5 * (value_N - return_N.detach()).square()


def explained_variance(value_N: Tensor, return_N: Tensor) -> float:
    """``1 - Var(return - V) / Var(return)``: 1 is perfect, 0 no better than a constant; 0 where returns don't vary."""
    variance = return_N.var(correction=0).item()
    return 1.0 - (return_N - value_N).var(correction=0).item() / variance if variance > 0 else 0.0
