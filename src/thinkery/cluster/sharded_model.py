"""A policy's model cut up over ranks by torch's FSDP2: every rank keeps a part of each weight.

A decoder layer's weights are gathered when it runs and dropped afterwards; what is outside the layers is gathered
around the whole forward. Gathered layers are in the policy's compute type, as its autocast would have them; what is
outside stays fp32, and with it the residual stream, as in one process. Gradients are summed over the ranks, in the
master weights' type: the loss's weights count the whole minibatch already. Left out: who forwards what
(``sharded_backend.py``), cutting layers up within themselves (tensor parallelism), replicas of replicas (HSDP).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, distributed, nn
from torch.distributed.fsdp import (
    CPUOffloadPolicy,
    FSDPModule,
    MixedPrecisionPolicy,
    OffloadPolicy,
    fully_shard,
    register_fsdp_forward_method,
)
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers import PreTrainedModel

from thinkery.cluster.sharded_head import split_logprobs, split_vocabulary
from thinkery.cluster.sharded_optimizer import Ranks, local
from thinkery.models.attention import hidden_states
from thinkery.models.loading import Policy
from thinkery.training.forward import packed_logprobs
from thinkery.training.packing import Microbatch
from thinkery.types import UserError

_FORWARD = "sharded_logprobs"


@dataclass(frozen=True, kw_only=True)
class Sharding:
    """How a model is cut up.

    ``parallel_head`` cuts embedding and head by the vocabulary's tokens and never gathers them (``sharded_head.py``).
    ``offload`` keeps weights, gradients and the optimizer's state in CPU memory; for GPUs. ``reduce_every_microbatch``
    sums gradients up after every microbatch, not after the last: more traffic, and no rank has a whole gradient.
    """

    parallel_head: bool = False
    offload: bool = False
    reduce_every_microbatch: bool = False


def empty_like(model: PreTrainedModel) -> PreTrainedModel:
    """A model of the same configuration and type in CPU memory that nothing has been written to yet."""
    with torch.device("meta"):
        twin = type(model)(copy.deepcopy(model.config))
    cast(nn.Module, twin).to(next(model.parameters()).dtype).eval()
    return materialized(twin)


def materialized(model: PreTrainedModel) -> PreTrainedModel:
    """A model of the meta device, in CPU memory; no page of it is used before it is written to."""
    cast(nn.Module, model).to_empty(device="cpu")
    model.tie_weights()
    return model


def cut_up(model: PreTrainedModel, policy: Policy, ranks: Ranks, sharding: Sharding) -> None:
    """Cuts ``model`` up in place; its weights are whatever each rank had in its part.

    Raises ``UserError`` if it is not a decoder of layers in a row.
    """
    decoder = model.get_submodule(model.base_model_prefix)
    layers = next((child for child in decoder.children() if isinstance(child, nn.ModuleList)), None)
    if layers is None:
        raise UserError(f"{type(model).__name__} has no list of layers to cut up: train it without a cluster")
    split = split_vocabulary(model, ranks) if sharding.parallel_head else set()
    compute = None if policy.compute_dtype is torch.float32 else policy.compute_dtype
    master = next(model.parameters()).dtype
    plain = MixedPrecisionPolicy(reduce_dtype=master)
    inner = MixedPrecisionPolicy(param_dtype=compute, reduce_dtype=master, cast_forward_inputs=False)
    offload = CPUOffloadPolicy() if sharding.offload else OffloadPolicy()
    for layer in layers:
        fully_shard(layer, mesh=ranks.mesh, mp_policy=inner, offload_policy=offload)
    fully_shard(model, mesh=ranks.mesh, mp_policy=plain, offload_policy=offload, ignored_params=split)
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)  # gloo knows no scaled sum

    def logprobs(microbatch: Microbatch, temperature: float) -> tuple[Tensor, Tensor]:
        if not sharding.parallel_head:
            return packed_logprobs(policy, model, microbatch, temperature)
        with policy.autocast():
            ids_1T, positions_1T = microbatch.input_ids_T[None], microbatch.position_ids_T[None]
            hidden_TD = hidden_states(model, ids_1T, positions_1T, microbatch.layout)[0]
            return split_logprobs(
                hidden_TD.index_select(0, microbatch.predictor_N),
                model.get_output_embeddings().weight,
                microbatch.target_N,
                temperature=temperature,
                valid_vocab=policy.valid_vocab,
                ranks=ranks,
            )

    setattr(model, _FORWARD, logprobs)
    register_fsdp_forward_method(model, _FORWARD)


def forward(model: PreTrainedModel, microbatch: Microbatch, temperature: float) -> tuple[Tensor, Tensor]:
    """Log-probability and entropy of each completion token [N] of this rank's microbatch; collective."""
    return cast(tuple[Tensor, Tensor], getattr(model, _FORWARD)(microbatch, temperature))


def spread(model: PreTrainedModel, weights: Mapping[str, Tensor], buffers: Mapping[str, Tensor], ranks: Ranks) -> None:
    """Fills a model that is cut up with rank 0's ``weights`` and ``buffers``; the others' count for nothing."""
    for name, parameter in model.named_parameters():
        shape, dtype = parameter.shape, parameter.dtype
        whole = torch.empty(shape, dtype=dtype, device=ranks.device)
        if ranks.rank == 0:
            whole.copy_(weights[name])
        distributed.broadcast(whole, 0, group=ranks.group)
        sharded = cast(DTensor, parameter)
        part = distribute_tensor(whole, sharded.device_mesh, sharded.placements, src_data_rank=None)
        local(parameter.detach()).copy_(local(part))
    for name, buffer in model.named_buffers():
        if ranks.rank == 0:
            buffer.copy_(buffers[name])
        distributed.broadcast(buffer, 0, group=ranks.group)


def whole(parameter: Tensor, ranks: Ranks, dtype: torch.dtype) -> Tensor:
    """A parameter in one piece, in ``dtype``, on every rank's device; collective. It travels in ``dtype``."""
    assert isinstance(parameter, DTensor)
    detached: Any = parameter.detach()
    part = detached.to_local().to(ranks.device, dtype)
    spread_out = DTensor.from_local(
        part,
        parameter.device_mesh,
        parameter.placements,
        run_check=False,
        shape=parameter.shape,
        stride=parameter.stride(),
    )
    return spread_out.full_tensor()
