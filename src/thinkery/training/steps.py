"""What learners have in common around their losses: packed log-probabilities, checked gradients, state on disk.

Left out: the losses (``learner.py``, ``sft.py``), and which random choices there are to count.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from thinkery.models.attention import hidden_states
from thinkery.models.loading import Policy, restore_weights, save_weights
from thinkery.training.logprobs import token_logprobs
from thinkery.training.optimizer import Optimizers
from thinkery.training.packing import Microbatch
from thinkery.types import UserError

WEIGHTS, OPTIMIZER = "model.safetensors", "optimizer.pt"


def counted_generator(*key: object) -> torch.Generator:
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
