"""GRPO's loss, term by term: pure functions on flat arrays of completion tokens.

Every array is ``[N]``, the completion tokens of any number of sequences one after another, and every function is
elementwise (or knows the sequence of a token by ``sequence_N``). The loss is a plain weighted sum over tokens,

    L = sum_t weight_t * (correction_t * surrogate_t + beta * kl_t),

with weights from ``token_weights`` that are computed over the whole minibatch before it is cut. So loss and gradient of
a minibatch are the sums of those of its microbatches, however it is cut.

Left out: advantages (``advantages.py``), where log-probabilities come from (``logprobs.py``), what a minibatch is
(``learner.py``).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

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
