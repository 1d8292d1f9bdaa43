"""Advantages and losses as pure functions with their equations: GRPO and its relatives, and PPO's.

Left out: the losses of reward models (``preference.py``), what is forwarded (``forward.py``), and what is learnt from
when (``learner.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

Scale = Literal["group", "batch", "none"]

# Below this a spread is the rounding of a weighted sum, not a difference between completions.
_SMALLEST_SPREAD = 1e-6


def group_advantages(totals_PG: Sequence[Sequence[float]], scale: Scale = "group") -> list[tuple[float, ...]]:
    """How much better each completion is than its group.

    ``scale`` divides ``r_i - mean(r)`` by

    - ``"group"``: the group's standard deviation, ``A_i = (r_i - mean(r)) / std(r)`` (DeepSeekMath, arXiv 2402.03300,
      section 4.1.2; DeepSeek-R1, eq. 3);
    - ``"batch"``: the standard deviation of the batch's rewards (Liu et al., "Tricks or Traps?", arXiv 2508.08221);
    - ``"none"``: nothing (Dr. GRPO, Liu et al., arXiv 2503.20783, section 3.2).

    ``totals_PG`` holds one sequence of rewards a problem; groups may differ in size. Standard deviations are those of a
    sample (n - 1), as in TRL and verl. A group without spread, or of one completion, gives zeros. Same shape out as in.
    """
    groups = [torch.as_tensor(totals_G, dtype=torch.float64) for totals_G in totals_PG]
    batch_spread = _spread(torch.cat(groups)) if groups else torch.tensor(0.0)
    advantages_PG: list[tuple[float, ...]] = []
    for totals_G in groups:
        spread = _spread(totals_G)
        if spread <= _SMALLEST_SPREAD:
            advantages_PG.append((0.0,) * len(totals_G))
            continue
        centred_G = totals_G - totals_G.mean()
        divisor = {"group": spread, "batch": batch_spread, "none": torch.ones(())}[scale]
        advantages_PG.append(tuple((centred_G / divisor).tolist()))
    return advantages_PG


def _spread(totals_N: torch.Tensor) -> torch.Tensor:
    """Sample standard deviation; 0 for fewer than two values, where it is not defined."""
    return totals_N.std() if len(totals_N) > 1 else torch.zeros((), dtype=torch.float64)


LossType = Literal["grpo", "dapo", "dr_grpo"]
KLEstimator = Literal["k1", "k2", "k3"]
Correction = Literal["none", "truncate", "mask"]


def importance_ratio(logp_N: Tensor, old_logp_N: Tensor) -> Tensor:
    """``rho_t = pi(o_t) / pi_old(o_t)``, token by token (DeepSeekMath, arXiv 2402.03300, eq. 3)."""
    return torch.exp(logp_N - old_logp_N)


def clipped_surrogate(
    ratio_N: Tensor, advantage_N: Tensor, *, epsilon: float, epsilon_high: float, delta: float | None = None
) -> Tensor:
    """The policy term of the loss, to be minimised: minus PPO's clipped objective.

    ``J_t = min(rho_t A_t, clip(rho_t, 1 - epsilon, 1 + epsilon_high) A_t)`` (Schulman et al., arXiv 1707.06347, eq. 7;
    the two bounds apart: DAPO, arXiv 2503.14476, eq. 10).

    ``delta`` > 1 + epsilon_high bounds what the minimum leaves open, large ratios on negative advantages:
    ``J_t = max(J_t, delta A_t)`` where ``A_t < 0`` (dual clip, Ye et al., arXiv 1912.09729, eq. 5). R1's epsilon of 10
    needs it more than most.
    """
    clipped_N = torch.clamp(ratio_N, 1.0 - epsilon, 1.0 + epsilon_high)
    objective_N = torch.minimum(ratio_N * advantage_N, clipped_N * advantage_N)
    if delta is not None:
        bounded_N = torch.maximum(objective_N, delta * advantage_N)
        objective_N = torch.where(advantage_N < 0, bounded_N, objective_N)
    return -objective_N


def kl_penalty(logp_N: Tensor, ref_logp_N: Tensor, estimator: KLEstimator) -> Tensor:
    """An estimate, token by token, of ``KL(pi || pi_ref)`` from tokens sampled by ``pi``; differentiable in ``logp_N``.

    With ``r = pi_ref / pi`` (Schulman, "Approximating KL divergence", 2020):

    - ``k1 = -log r``: unbiased, of either sign. Put in a loss its gradient is zero on average: good for watching;
    - ``k2 = (log r)^2 / 2``: biased, small variance; its gradient is that of the KL divergence, on policy;
    - ``k3 = r - 1 - log r``: unbiased, never negative: GRPO's (DeepSeekMath, eq. 4; DeepSeek-R1, eq. 2).
    """
    log_ratio_N = ref_logp_N - logp_N
    match estimator:
        case "k1":
            return -log_ratio_N
        case "k2":
            return 0.5 * log_ratio_N.square()
        case "k3":
            return torch.expm1(log_ratio_N) - log_ratio_N


def importance_correction(old_logp_N: Tensor, rollout_logp_N: Tensor, mode: Correction, cap: float) -> Tensor:
    """Weights, without gradient, that correct for a rollout engine whose probabilities differ from the learner's.

    With ``w_t = pi_old(o_t) / pi_rollout(o_t)``, both of the same weights but of different arithmetic:

    - ``"none"``: 1;
    - ``"truncate"``: ``min(w_t, cap)`` (truncated importance sampling: Ionides 2008; Yao et al., "Your efficient RL
      framework secretly brings you off-policy RL training", 2025);
    - ``"mask"``: ``w_t`` where ``1/cap <= w_t <= cap``, else 0: tokens too far off are not learnt from (IcePop, Ling
      Team, arXiv 2510.18855).
    """
    if mode == "none":
        return torch.ones_like(old_logp_N)
    weight_N = torch.exp(old_logp_N - rollout_logp_N).detach()
    if mode == "truncate":
        return weight_N.clamp(max=cap)
    return weight_N * ((weight_N >= 1.0 / cap) & (weight_N <= cap))


def token_weights(
    lengths_S: Tensor, loss_type: LossType, *, num_sequences: int, num_tokens: int, max_completion_length: int
) -> Tensor:
    """What each token counts for in the loss: ``[N]`` for the sequences of ``lengths_S`` (any part of the minibatch).

    ``num_sequences`` and ``num_tokens`` count the whole minibatch, sequences that need no forward included.

    - ``"grpo"``: ``1 / (num_sequences |o_i|)``, the mean over sequences of their means (DeepSeekMath, eq. 3);
    - ``"dapo"``: ``1 / num_tokens``, the mean over tokens (DAPO, eq. 8);
    - ``"dr_grpo"``: ``1 / (num_sequences max_completion_length)``, a constant (Dr. GRPO, arXiv 2503.20783, section 3).
    """
    match loss_type:
        case "grpo":
            weight_S = 1.0 / (num_sequences * lengths_S.to(torch.float32))
        case "dapo":
            weight_S = torch.full(lengths_S.shape, 1.0 / num_tokens, device=lengths_S.device)
        case "dr_grpo":
            constant = 1.0 / (num_sequences * max_completion_length)
            weight_S = torch.full(lengths_S.shape, constant, device=lengths_S.device)
    return weight_S.repeat_interleave(lengths_S)


# Below this a spread is rounding, not a difference between tokens.


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
