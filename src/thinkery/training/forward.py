"""What learners have in common around their losses: log-probabilities, checked gradients, metrics, state on disk.

Log-probabilities and entropies come without an array of [tokens, vocabulary]: the head runs in chunks that the backward
computes again. Left out: the losses (``losses.py``, ``sft.py``).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from thinkery.models.attention import hidden_states
from thinkery.models.loading import Policy, restore_weights, save_weights
from thinkery.training.optimizer import Optimizers
from thinkery.training.packing import Microbatch
from thinkery.types import UserError

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


WEIGHTS, OPTIMIZER = "model.safetensors", "optimizer.pt"


def counter_based_generator(*key: object) -> torch.Generator:
    """Random numbers that depend on the key alone, for example (seed, step, "minibatches")."""
    digest = hashlib.blake2b("/".join(map(str, key)).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest) >> 1)


def packed_logprobs(
    policy: Policy, model: PreTrainedModel, microbatch: Microbatch, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Log-probability and entropy of each completion token [N] under ``model``, in the policy's compute type.

    Only what predicts a completion token reaches the head. ``model`` is the policy's own or one of its shape.
    """
    with policy.autocast():
        hidden_1TD = hidden_states(
            model, microbatch.input_ids_T[None], microbatch.position_ids_T[None], microbatch.layout
        )
        hidden_ND = hidden_1TD[0].index_select(0, microbatch.predictor_N)
        head_VD = model.get_output_embeddings().weight[: policy.valid_vocab]
        return token_logprobs(hidden_ND, head_VD, microbatch.target_N, temperature=temperature)


def backward(loss_N: Tensor, microbatch: Microbatch, step: int, advice: str) -> float:
    """Accumulates the gradient of a microbatch's summed loss and returns that sum.

    Raises ``UserError`` with ``advice``, naming step and sample, if it is not finite; only then, since ranks that share
    the model wait for one another in the backward.
    """
    loss = loss_N.sum()
    value = loss.item()
    loss.backward()
    if not math.isfinite(value):
        sequence_N = torch.arange(len(microbatch.indices)).repeat_interleave(microbatch.lengths_S.cpu())
        bad = sequence_N[~torch.isfinite(loss_N.detach().cpu())].tolist()
        where = f"first in sample {microbatch.indices[bad[0]]}" if bad else "in the sum over tokens"
        raise UserError(f"step {step}: the loss is {value}, {where}. {advice}")
    return value


def clip_gradient(model: nn.Module, max_grad_norm: float, step: int, advice: str) -> float:
    """Clips the gradient to ``max_grad_norm`` and returns its norm before that.

    Raises ``UserError`` with ``advice``, naming step and parameter, if it is not finite.
    """
    norm = nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], max_grad_norm).item()
    if not math.isfinite(norm):
        bad = [n for n, p in model.named_parameters() if p.grad is not None and not torch.isfinite(p.grad).all()]
        raise not_finite_gradient(norm, bad, step, advice)
    return norm


def not_finite_gradient(norm: float, bad: Sequence[str], step: int, advice: str) -> UserError:
    """The error of a gradient norm that is not finite; ``bad`` names the parameters whose gradient isn't."""
    where = f"first in {bad[0]}" if bad else "in the sum over parameters"
    return UserError(f"step {step}: the gradient norm is {norm}, {where}. {advice}")


def save_state(folder: Path, model: nn.Module, optimizer: Optimizers) -> None:
    """Writes weights and optimizer into ``folder``."""
    save_weights(model, folder / WEIGHTS)
    torch.save(optimizer.state_dict(), folder / OPTIMIZER)


def load_state(folder: Path, model: nn.Module, optimizer: Optimizers) -> None:
    """Restores what ``save_state`` wrote, in place. ``UserError`` if it is another model's."""
    restore_weights(model, folder / WEIGHTS)
    state = torch.load(folder / OPTIMIZER, map_location=next(model.parameters()).device, weights_only=True)
    optimizer.load_state_dict(state)


@dataclass(frozen=True, slots=True)
class TokenSums:
    """The tokens of a microbatch in a few numbers, which may come from another process."""

    tokens: int
    largest_ratio: float
    sums: dict[str, float]


def token_sums(
    ratio_N: Tensor,
    advantage_N: Tensor,
    entropy_N: Tensor,
    mismatch_N: Tensor,
    kl_N: Tensor | None,
    *,
    epsilon: float,
    epsilon_high: float,
) -> TokenSums:
    """Sums up a microbatch, waiting once for the device.

    ``mismatch_N`` is ``log pi_old - log pi_rollout``, both of the same weights; ``kl_N`` are the KL estimates;
    ``epsilon`` and ``epsilon_high`` are the bounds whose clipping is counted.
    """
    values = {
        "entropy": entropy_N,
        # Clipping acts on the side that the advantage pushes towards, the other side is left open.
        "clip_ratio/low": (ratio_N < 1.0 - epsilon) & (advantage_N < 0),
        "clip_ratio/high": (ratio_N > 1.0 + epsilon_high) & (advantage_N > 0),
        # k3 of KL(rollout || learner): tokens were sampled by the rollout engine (Schulman 2020).
        "mismatch_kl": torch.expm1(mismatch_N) - mismatch_N,
        "mismatch_abs": mismatch_N.abs(),
    }
    if kl_N is not None:
        values["kl"] = kl_N
    totals = [value_N.sum(dtype=torch.float64) for value_N in values.values()]
    *sums, largest = torch.stack([*totals, ratio_N.max().to(torch.float64)]).tolist()
    return TokenSums(len(ratio_N), largest, dict(zip(values, sums, strict=True)))


@dataclass
class Tally:
    """Running sums of one RL step."""

    _tokens: int = 0
    _largest_ratio: float = 0.0
    _sums: dict[str, float] = field(default_factory=dict)
    _failures: list[float] = field(default_factory=list)
    _grad_norms: list[float] = field(default_factory=list)

    def add_tokens(self, seen: TokenSums) -> None:
        """The tokens of a microbatch."""
        self._tokens += seen.tokens
        self._largest_ratio = max(self._largest_ratio, seen.largest_ratio)
        for name, total in seen.sums.items():
            self._sums[name] = self._sums.get(name, 0.0) + total

    def add_update(self, loss: float, grad_norm: float) -> None:
        """An optimizer step. ``grad_norm`` is the norm before clipping."""
        self._failures.append(loss)
        self._grad_norms.append(grad_norm)

    def metrics(self) -> dict[str, float]:
        """Means over tokens and over updates; only ``tokens_trained`` of a step that trained nothing."""
        metrics = {"tokens_trained": float(self._tokens)}
        if self._failures:
            metrics["loss"] = sum(self._failures) / len(self._failures)
            metrics["grad_norm"] = sum(self._grad_norms) / len(self._grad_norms)
            metrics["ratio/max"] = self._largest_ratio
            metrics |= {name: total / self._tokens for name, total in self._sums.items()}
        return metrics
