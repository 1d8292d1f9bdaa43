"""The published efficiencies, derived again from what their sources state."""

from __future__ import annotations

import pytest

from thinkery.models.flops import Lengths, forward_compute, update_compute
from thinkery.plan.cost_models import GpuCluster
from thinkery.plan.decoders import decoder_named
from thinkery.plan.efficiency import MIXTURE, Efficiency
from thinkery.plan.hardware import GPUS, Cluster

DEEPSEEK, H800 = decoder_named("deepseek-ai/DeepSeek-V3-Base"), GPUS["h800"]
SEQUENCE = [Lengths(0, (4096,))]


def test_training_is_what_a_trillion_tokens_in_180_thousand_gpu_hours_is() -> None:
    flops = update_compute(DEEPSEEK.learning, SEQUENCE).flops / 4096 * 1e12
    assert flops / (180e3 * 3600) / H800.flop_per_s == pytest.approx(MIXTURE.training, abs=0.005)


def test_a_forward_is_what_a_node_prefills_without_a_cache() -> None:
    flops = forward_compute(DEEPSEEK.learning, SEQUENCE, head=False).flops / 4096
    tokens_per_s = 73.7e3 * (1 - 0.563) / 8
    assert flops * tokens_per_s / H800.flop_per_s == pytest.approx(MIXTURE.forward, abs=0.005)


def test_decoding_solves_the_two_measured_points() -> None:
    cached = 4096 + 2048 / 2  # tokens of a sequence, half-way
    bare = Efficiency(1, 1, 1, 0, 0, 1, ())
    alone, many = (roofline(bare, sequences, cached) for sequences in (144, 13200))
    share = (many - alone) / (1 / 20 - 1 / 42)
    assert share == pytest.approx(MIXTURE.decoding, abs=0.005)
    assert (1 / 42 - alone / share) / DEEPSEEK.layers == pytest.approx(MIXTURE.layer_across_s, abs=2e-6)


def roofline(efficiency: Efficiency, sequences: int, cached: float) -> float:
    """A step on the 144 GPUs of the measurement."""

    class Unit(GpuCluster):
        def replica(self, model: object) -> int:
            return 144

    return Unit(Cluster(H800, 144), efficiency).step_seconds(DEEPSEEK, sequences, sequences * cached)


def test_at_many_sequences_a_node_decodes_what_deepseek_serves() -> None:
    # 14.8k tokens/s a node at 20 to 22 a sequence, 4,989 cached tokens each (Inference System Overview): not among the
    # figures that decoding was derived from
    sequences = round(14.8e3 / 21 * 18)
    cluster = GpuCluster(Cluster(H800, 144))
    assert cluster.replica(DEEPSEEK) == 128
    rows = round(sequences * 128 / 144)
    assert 18 < 1 / cluster.step_seconds(DEEPSEEK, rows, rows * 4989) < 24
