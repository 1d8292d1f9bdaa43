"""What a part of a step takes: on a cluster of GPUs from first principles, on one's own machine from its profile.

Both count the work with ``models.flops``. Left out: what a stage consists of (``steps.py``), memory (``memory.py``).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from thinkery.files import require_regular
from thinkery.models.flops import Compute, Lengths, forward_compute, rollout_compute, update_compute
from thinkery.plan.decoders import DecoderCosts
from thinkery.plan.decoding import decode_seconds
from thinkery.plan.efficiency import DENSE, MIXTURE, Efficiency
from thinkery.plan.hardware import PCIE_BYTES_PER_S, Cluster
from thinkery.types import UserError

# GPUs over which a mixture too large for a node is spread while decoding: DeepSeek's units have 144 (Inference System
# Overview), and 128 divide a cluster.
_EXPERT_GROUP = 128
# What a decoding step does outside its layers (embeddings, head, drawing a token, rows that end), in layers: 97 calls
# of torch's operators beside 131 a layer.
_OUTSIDE = 1
_TRAINING_BYTES = 16  # a parameter: fp32 weights and gradients, AdamW's two moments


class CostModel(Protocol):
    """A machine that samples, forwards and learns. All seconds are of the whole machine."""

    def rollout(self, model: DecoderCosts, batch: Sequence[Lengths], slots: int) -> float:
        """Sampling a batch, ``slots`` completions at a time on each replica."""
        ...

    def forward(self, model: DecoderCosts, batch: Sequence[Lengths]) -> float:
        """A forward without gradient: a reference's, a reward model's."""
        ...

    def update(self, model: DecoderCosts, batch: Sequence[Lengths], *, updates: int, microbatch_tokens: int) -> float:
        """Learning from a batch in so many updates."""
        ...

    def hand_over(self, model: DecoderCosts) -> float:
        """Between learning and sampling: the weights' way to the rollout, and memory cleared for the other part."""
        ...


@dataclass(frozen=True)
class GpuCluster:
    """A cluster whose GPUs all sample, then all learn: DeepSeek-R1's way.

    ``efficiency`` None takes the published figures of dense models, or those of mixtures.
    """

    cluster: Cluster
    efficiency: Efficiency | None = None

    def efficiency_of(self, model: DecoderCosts) -> Efficiency:
        """The shares of the peaks that are assumed for a model."""
        return self.efficiency or (MIXTURE if model.routed else DENSE)

    def replica(self, model: DecoderCosts) -> int:
        """GPUs that share a copy of the weights: as few as hold it in half their memory; large mixtures take more."""
        fit = model.parameters * model.served_bytes / (0.5 * self.cluster.gpu.memory)
        wanted: int = 2 ** max(0, math.ceil(math.log2(fit)))
        if model.routed and wanted > self.cluster.per_node:
            wanted = max(wanted, _EXPERT_GROUP)
        return min(wanted, self.cluster.count)

    def step_seconds(self, model: DecoderCosts, rows: int, cached: float) -> float:
        """One decoding step of a replica with so many rows and cached tokens."""
        gpu, known, size = self.cluster.gpu, self.efficiency_of(model), self.replica(model)
        common = model.common if model.routed else model.common / size  # experts are spread, attention is repeated
        weights = model.served_bytes * (common + model.routed_by(rows) / size)
        read = weights + model.sampling.element * model.sampling.cached * cached / size
        flops = (2 * model.active * rows + 4 * model.sampling.attention * cached) / size
        across = size > self.cluster.per_node
        fixed = model.layers * (known.layer_across_s if across else known.layer_s)
        return fixed + max(read / gpu.bytes_per_s, flops / gpu.flop_per_s) / known.decoding

    def rollout(self, model: DecoderCosts, batch: Sequence[Lengths], slots: int) -> float:
        """See ``CostModel``. Every replica has its share of the long completions; the first has the longest of all."""
        replicas = max(1, self.cluster.count // self.replica(model))
        lengths = sorted((length for one in batch for length in one.completions), reverse=True)
        prompt = round(sum(one.prompt for one in batch) / len(batch))
        prefill = self.forward(model, [Lengths(one.prompt, ()) for one in batch])
        return prefill + decode_seconds(
            lengths[::replicas], prompt, slots, lambda rows, cached: self.step_seconds(model, rows, cached)
        )

    def forward(self, model: DecoderCosts, batch: Sequence[Lengths]) -> float:
        """See ``CostModel``."""
        flops = forward_compute(model.learning, batch).flops
        return flops / (self.cluster.count * self.cluster.gpu.flop_per_s * self.efficiency_of(model).forward)

    def update(self, model: DecoderCosts, batch: Sequence[Lengths], *, updates: int, microbatch_tokens: int) -> float:
        """See ``CostModel``. Shards are gathered and gradients summed beside the products, so the slower one counts.

        A sequence is cut over the GPUs of a node or of a copy and no more, so the longest one bounds an update however
        many GPUs there are.
        """
        cluster, known = self.cluster, self.efficiency_of(model)
        rate = cluster.gpu.flop_per_s * known.training
        work = update_compute(model.learning, batch, updates=updates)
        longest = max((Lengths(one.prompt, (max(one.completions),)) for one in batch), key=lambda one: one.completions)
        together = min(cluster.count, max(cluster.per_node, self.replica(model)))
        alone = updates * update_compute(model.learning, [longest]).flops / (rate * together)
        optimizer = updates * 2 * _TRAINING_BYTES * model.parameters / cluster.count / cluster.gpu.bytes_per_s
        return (
            max(
                work.flops / (cluster.count * rate),
                alone,
                self._gathering(model, work.tokens, updates, microbatch_tokens),
            )
            + optimizer
        )

    def _gathering(self, model: DecoderCosts, tokens: int, updates: int, microbatch_tokens: int) -> float:
        """Seconds in which every GPU receives all weights twice a microbatch and gives its gradients away.

        Of dense models sharded over all GPUs (FSDP). A mixture's published efficiency has its transfers in it.
        """
        if model.routed or self.cluster.count == 1:
            return 0.0
        rounds = updates * math.ceil(tokens / updates / (self.cluster.count * microbatch_tokens))
        moved = 3 * rounds * model.learning.element * model.parameters
        return moved / (self.cluster.wire_bytes_per_s * self.efficiency_of(model).network)

    def hand_over(self, model: DecoderCosts) -> float:
        """See ``CostModel``: the weights, and the learner's state to the host and back."""
        state = _TRAINING_BYTES * model.parameters / self.cluster.count
        return self.weights_s(model) + 2 * state / PCIE_BYTES_PER_S

    def weights_s(self, model: DecoderCosts) -> float:
        """Seconds in which every GPU receives its share of a replica's weights."""
        held = model.served_bytes * model.held(self.replica(model))
        return held / (self.cluster.wire_bytes_per_s * self.efficiency_of(model).network)


@dataclass(frozen=True)
class Pace:
    """Seconds of a part: so many a layer of a step, so many for a number that goes in or out of a matrix, and FLOPs at
    a rate."""

    layer_s: float
    number_s: float
    flop_per_s: float

    def of(self, model: DecoderCosts, work: Compute) -> float:
        """Seconds for so much work with a model."""
        numbers = work.tokens * model.learning.activations
        calls = work.steps * (model.layers + _OUTSIDE)
        return calls * self.layer_s + numbers * self.number_s + work.flops / self.flop_per_s


class ProfiledMachine:
    """One's own machine, from what ``thinkery profile --json`` wrote of one stage with one model.

    Products are taken to run at the measured peak. What a part took beyond them goes with the numbers that its tokens
    send through the matrices, for norms, activation functions and casts pass over those; and while decoding also with
    the layers of each step, whose calls take their time however few the rows are. The profile has two rollouts, one
    with many rows a step and one with few, which tell the two apart. A forward is a third of an update, where the
    profile has none.
    """

    def __init__(self, profile: Mapping[str, Any]) -> None:
        try:
            self._peak: float = float(profile["peaks"][f"{profile['dtype']}_flop_per_s"])
            self._layers, self._activations = (int(profile["model"][name]) for name in ("layers", "activations"))
            parts = profile["parts"]
            self._rollout = self._decoding(parts["rollout"], profile["narrow"])
            self._update = self._pace(parts["update"])
            third = Pace(0.0, self._update.number_s / 3, self._peak)
            reference = parts.get("reference") or {}
            self._forward = self._pace(reference) if reference.get("tokens") else third
            completions = float(parts["rollout"]["tokens"])
            grading = (parts.get("grading") or {"seconds": 0.0})["seconds"]
            self.around_s_a_token: float = (grading + parts["other"]["seconds"]) / completions
        except (KeyError, TypeError, ZeroDivisionError):
            raise UserError(
                "that profile has no rollout and update: write one of a stage of kind rl with thinkery profile --json"
            ) from None

    def rollout(self, model: DecoderCosts, batch: Sequence[Lengths], slots: int) -> float:
        """See ``CostModel``."""
        work = rollout_compute(model.sampling, batch, slots)
        return self._rollout.of(model, work) + work.tokens * self.around_s_a_token

    def forward(self, model: DecoderCosts, batch: Sequence[Lengths]) -> float:
        """See ``CostModel``."""
        return self._forward.of(model, forward_compute(model.learning, batch))

    def update(self, model: DecoderCosts, batch: Sequence[Lengths], *, updates: int, microbatch_tokens: int) -> float:
        """See ``CostModel``."""
        return self._update.of(model, update_compute(model.learning, batch, updates=updates))

    def hand_over(self, model: DecoderCosts) -> float:
        """Nothing: rollout and learner share their tensors."""
        return 0.0

    def _pace(self, part: Mapping[str, float]) -> Pace:
        beyond, rate = self._beyond(part)
        return Pace(0.0, beyond / (part["tokens"] * self._activations), rate)

    def _decoding(self, wide: Mapping[str, float], narrow: Mapping[str, float]) -> Pace:
        """A line through two points, rows a step and seconds a step beside the products; the wide one is met."""
        (many, many_s), rate = self._step_of(wide)
        (few, few_s), _ = self._step_of(narrow)
        row_s = (many_s - few_s) / (many - few) if many > few else 0.0
        row_s = min(max(row_s, 0.0), many_s / many)
        return Pace((many_s - row_s * many) / (self._layers + _OUTSIDE), row_s / self._activations, rate)

    def _step_of(self, part: Mapping[str, float]) -> tuple[tuple[float, float], float]:
        beyond, rate = self._beyond(part)
        return (part["tokens"] / part["steps"], beyond / part["steps"]), rate

    def _beyond(self, part: Mapping[str, float]) -> tuple[float, float]:
        """The seconds of a part that its products don't take, and the rate that those run at."""
        rate = max(self._peak, part["flops"] / part["seconds"])  # peaks are measured too, and not always at their best
        return part["seconds"] - part["flops"] / rate, rate


def read_profile(path: Path) -> ProfiledMachine:
    """The machine of a file that ``thinkery profile --json`` wrote. Raises ``UserError`` if it is none."""
    require_regular(path)
    try:
        profile = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise UserError(f"--profile {path}: no readable JSON there; thinkery profile --json {path} writes it") from None
    return ProfiledMachine(profile)
