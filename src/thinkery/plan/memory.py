"""What a GPU must hold, part by part, while learning and while sampling; and the largest batch that fits beside it.

Learning: fp32 weights, their gradients, AdamW's two moments and the frozen reference, each sharded over all GPUs; the
weights of two layers gathered to compute with; what a microbatch's forward keeps for its backward. Sampling: a
replica's share of the weights, and the cache. The two don't meet: what one doesn't need is out of the way meanwhile
(DeepSeek-R1's models leave GPU memory after each module). A mixture's layers and experts are spread over as many GPUs
as share a copy, nothing is gathered, and a microbatch's activations are spread with them. Left out: buffers of
libraries, fragmentation (``USABLE`` leaves a tenth for them), gradient checkpointing, which the learner has not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from thinkery.models.flops import Lengths
from thinkery.plan.cost_models import GpuCluster
from thinkery.plan.decoders import DecoderCosts

USABLE = 0.9  # of a GPU's memory
_FP32 = 4


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes a GPU by part, and what still fits: tokens of a microbatch, rows that decode at a time on a replica.

    Where not even one fits, the number is 0.
    """

    learning: dict[str, float]
    sampling: dict[str, float]
    largest_microbatch: int
    largest_slots: int
    limit: float

    @property
    def fits(self) -> bool:
        """Whether what was asked for goes in."""
        return max(sum(self.learning.values()), sum(self.sampling.values())) <= self.limit


def activation_bytes(model: DecoderCosts) -> float:
    """What a forward keeps of a token for the backward: every matrix's inputs and outputs in the type that it computes
    in, and each layer's two norms' inputs in fp32. Logits are made again, chunk by chunk."""
    shape = model.learning
    return shape.element * shape.edges + 2 * _FP32 * shape.hidden * model.layers


def memory_of(
    model: DecoderCosts,
    machine: GpuCluster,
    batch: Sequence[Lengths],
    *,
    microbatch_tokens: int,
    slots: int,
    reference: bool,
) -> MemoryEstimate:
    """A GPU's memory in a stage whose rollout is ``batch`` (empty: nothing is sampled)."""
    count, replica = machine.cluster.count, machine.replica(model)
    limit = USABLE * machine.cluster.gpu.memory
    shard = model.parameters / count
    gathered = 2 * model.learning.element * model.parameters / model.layers if count > 1 and not model.routed else 0.0
    learning = {
        "weights": _FP32 * shard + gathered,
        "optimizer": 2 * _FP32 * shard,
        "gradients": _FP32 * shard,
        "reference": _FP32 * shard if reference else 0.0,
    }
    each = activation_bytes(model) / (replica if model.routed else 1)
    room = limit - sum(learning.values())
    learning["activations"] = each * microbatch_tokens
    sampling, row = {"weights": model.served_bytes * model.held(replica), "cache": 0.0}, 0.0
    if batch:
        lengths = [length for one in batch for length in one.completions]
        cached = model.sampling.element * model.sampling.cached / replica
        row = cached * (fmean(lengths) + fmean(one.prompt for one in batch) / max(1, len(batch[0].completions)))
        rows = min(slots, len(lengths) * replica / count)
        sampling["cache"] = row * rows
    space = limit - sampling["weights"]
    return MemoryEstimate(
        learning,
        sampling,
        largest_microbatch=max(0, int(room / each)),
        largest_slots=max(0, int(space / row)) if row else 0,
        limit=limit,
    )
