"""Seconds on a cluster and on a profiled machine, against figures made by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from thinkery.models.flops import Lengths, forward_compute, rollout_compute, update_compute
from thinkery.plan.cost_models import GpuCluster, ProfiledMachine, read_profile
from thinkery.plan.decoders import decoder_named
from thinkery.plan.efficiency import Efficiency
from thinkery.plan.hardware import GPUS, Cluster, gpu_named
from thinkery.types import UserError

pytestmark = pytest.mark.slow

QWEN, DEEPSEEK = decoder_named("Qwen/Qwen2.5-7B"), decoder_named("deepseek-ai/DeepSeek-V3-Base")
MINI, STUDENT = decoder_named("thinkery://mini-base"), decoder_named("thinkery://mini-student-m")
PERFECT = Efficiency(1, 1, 1, 0, 0, 1, ())
H100 = GPUS["h100"]


def test_one_row_decodes_at_the_memorys_speed() -> None:
    # 7.07e9 weights and 1,000 tokens of 28,672 numbers, in bf16, at 3.35 TB/s
    cluster = GpuCluster(Cluster(H100, 1), PERFECT)
    assert cluster.step_seconds(QWEN, 1, 1000) == pytest.approx((2 * QWEN.active + 57_344_000) / 3.35e12)


def test_many_rows_decode_at_the_products_speed() -> None:
    cluster = GpuCluster(Cluster(H100, 1), PERFECT)
    assert cluster.step_seconds(QWEN, 1000, 0) == pytest.approx(2 * QWEN.active * 1000 / 989e12)


def test_rows_of_one_length_decode_that_many_steps() -> None:
    cluster = GpuCluster(Cluster(H100, 2), PERFECT)
    batch = [Lengths(0, (500,) * 4)] * 4  # 16 rows, 8 on each GPU
    expected = 500 * cluster.step_seconds(QWEN, 8, 8 * 250)
    assert cluster.rollout(QWEN, batch, 100) == pytest.approx(expected)
    assert cluster.rollout(QWEN, batch, 4) == pytest.approx(2 * 500 * cluster.step_seconds(QWEN, 4, 4 * 250))


def test_a_copy_takes_the_gpus_that_hold_it_in_half_their_memory() -> None:
    cluster = GpuCluster(Cluster(GPUS["h800"], 512))
    assert cluster.replica(QWEN) == 1
    assert cluster.replica(decoder_named("Qwen/Qwen2.5-32B")) == 2
    assert cluster.replica(decoder_named("meta-llama/Llama-3.3-70B-Instruct")) == 4
    assert cluster.replica(DEEPSEEK) == 128
    assert GpuCluster(Cluster(GPUS["h800"], 64)).replica(DEEPSEEK) == 64


def test_an_update_on_one_gpu_is_its_flops_and_the_optimizers_bytes() -> None:
    cluster = GpuCluster(Cluster(H100, 1), PERFECT)
    batch = [Lengths(10, (50, 60))]
    expected = update_compute(QWEN.learning, batch).flops / 989e12 + 32 * QWEN.parameters / 3.35e12
    assert cluster.update(QWEN, batch, updates=1, microbatch_tokens=1000) == pytest.approx(expected)


def test_an_update_on_many_gpus_waits_for_its_shards() -> None:
    # 64 GPUs, a microbatch each of almost nothing: weights in twice, gradients out once, over 50 GB/s
    cluster = GpuCluster(Cluster(H100, 64), PERFECT)
    found = cluster.update(QWEN, [Lengths(1, (1,))] * 64, updates=1, microbatch_tokens=1000)
    expected = 3 * 2 * QWEN.parameters / 50e9 + 32 * QWEN.parameters / 64 / 3.35e12
    assert found == pytest.approx(expected)


def test_no_number_of_gpus_is_faster_than_a_node_with_the_longest_sequence() -> None:
    batch = [Lengths(0, (300_000,)), *[Lengths(0, (10,))] * 9]
    expected = update_compute(QWEN.learning, [Lengths(0, (300_000,))]).flops / (8 * 989e12)
    for count in (1000, 10_000):
        found = GpuCluster(Cluster(H100, count), PERFECT).update(QWEN, batch, updates=1, microbatch_tokens=400_000)
        assert found == pytest.approx(expected, rel=0.01)


def test_weights_and_state_are_handed_over_at_the_links_speed() -> None:
    cluster = GpuCluster(Cluster(H100, 8), PERFECT)
    weights = 2 * QWEN.parameters / 450e9
    assert cluster.weights_s(QWEN) == pytest.approx(weights)
    assert cluster.hand_over(QWEN) == pytest.approx(weights + 2 * 16 * QWEN.parameters / 8 / 25e9)


def profile() -> dict[str, Any]:
    # Beside the products 4 s in 10 steps of 100 rows, and 0.7 in 5 of 4: steps of 0.13 s and 2.7 ms a row.
    rollout = {"seconds": 5.0, "tokens": 1000.0, "flops": 1e9, "steps": 10.0}
    update = {"seconds": 6.5, "tokens": 1200.0, "flops": 5e9}
    return {
        "dtype": "bfloat16",
        "model": {"layers": MINI.layers, "activations": MINI.learning.activations},
        "narrow": {"seconds": 0.72, "tokens": 20.0, "flops": 2e7, "steps": 5.0},
        "peaks": {"bfloat16_flop_per_s": 1e9, "float32_flop_per_s": 5e8},
        "parts": {"rollout": rollout, "update": update, "other": {"seconds": 0.1}},
    }


STEP_S, ROW_S = 0.14 - 4 * 0.26 / 96, 0.26 / 96  # the line through (100 rows, 0.4 s) and (4 rows, 0.14 s)


def test_a_profiled_machine_takes_what_its_profile_took() -> None:
    machine = ProfiledMachine(profile())
    batch = [Lengths(20, (100, 100))]
    sampled, learnt = rollout_compute(MINI.sampling, batch, 8), update_compute(MINI.learning, batch)
    expected = 100 * STEP_S + 200 * ROW_S + sampled.flops / 1e9 + 200 * 0.1 / 1000
    assert machine.rollout(MINI, batch, 8) == pytest.approx(expected)
    assert machine.update(MINI, batch, updates=1, microbatch_tokens=9) == pytest.approx(
        220 * 1.5 / 1200 + learnt.flops / 1e9
    )
    assert machine.forward(MINI, batch) == pytest.approx(
        220 * 0.5 / 1200 + forward_compute(MINI.learning, batch).flops / 1e9
    )
    assert machine.hand_over(MINI) == 0.0


def test_another_model_takes_time_by_its_layers_and_its_widths() -> None:
    machine = ProfiledMachine(profile())
    batch = [Lengths(20, (100, 100))]
    layers = (STUDENT.layers + 1) / (MINI.layers + 1)  # what is outside the layers counts as one
    widths = STUDENT.learning.activations / MINI.learning.activations
    sampled = rollout_compute(STUDENT.sampling, batch, 8)
    expected = layers * 100 * STEP_S + widths * 200 * ROW_S + sampled.flops / 1e9 + 200 * 0.1 / 1000
    assert machine.rollout(STUDENT, batch, 8) == pytest.approx(expected)
    learnt = update_compute(STUDENT.learning, batch)
    assert machine.update(STUDENT, batch, updates=1, microbatch_tokens=9) == pytest.approx(
        widths * 220 * 1.5 / 1200 + learnt.flops / 1e9
    )


@pytest.mark.parametrize(
    ("narrow", "step_s", "row_s"),
    [
        ({"seconds": 9.02, "tokens": 20.0, "flops": 2e7, "steps": 5.0}, 0.4, 0.0),  # a slow moment: rows can't be free
        ({"seconds": 0.02, "tokens": 20.0, "flops": 2e7, "steps": 5.0}, 0.0, 0.004),
        ({"seconds": 5.0, "tokens": 1000.0, "flops": 1e9, "steps": 10.0}, 0.4, 0.0),  # a step of few problems itself
    ],
)
def test_a_step_and_a_row_take_no_less_than_nothing_and_together_what_was_measured(
    narrow: dict[str, float], step_s: float, row_s: float
) -> None:
    machine = ProfiledMachine(profile() | {"narrow": narrow})
    batch = [Lengths(20, (100, 100))]
    sampled = rollout_compute(MINI.sampling, batch, 8)
    expected = 100 * step_s + 200 * row_s + sampled.flops / 1e9 + 200 * 0.1 / 1000
    assert machine.rollout(MINI, batch, 8) == pytest.approx(expected)


def test_a_measured_forward_takes_the_place_of_a_third_of_an_update() -> None:
    measured = profile()
    measured["parts"]["reference"] = {"seconds": 4.0, "tokens": 1000.0, "flops": 1e9}
    batch = [Lengths(20, (100, 100))]
    flops = forward_compute(MINI.learning, batch).flops
    assert ProfiledMachine(measured).forward(MINI, batch) == pytest.approx(220 * 3.0 / 1000 + flops / 1e9)


def test_what_is_no_profile_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no readable JSON there; thinkery profile --json"):
        read_profile(tmp_path / "gone.json")
    (tmp_path / "sft.json").write_text(json.dumps({**profile(), "parts": {"update": {}}}))
    with pytest.raises(UserError, match="has no rollout and update: write one of a stage of kind rl"):
        read_profile(tmp_path / "sft.json")


def test_an_unknown_gpu_is_named_with_those_that_are_known() -> None:
    assert gpu_named("H800") is GPUS["h800"]
    with pytest.raises(UserError, match=r"--gpu h80: no such GPU; did you mean h800\?"):
        gpu_named("h80")
    with pytest.raises(UserError, match="both must be at least 1"):
        Cluster(H100, 0)
