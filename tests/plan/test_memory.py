"""What a GPU must hold, against plain sums and against what torch keeps for a backward."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from thinkery.models.attention import ATTENTION, CausalLayout, hidden_states
from thinkery.models.flops import Lengths
from thinkery.plan.cost_models import GpuCluster
from thinkery.plan.decoders import decoder_from_config, decoder_named
from thinkery.plan.hardware import GPUS, Cluster
from thinkery.plan.memory import USABLE, activation_bytes, memory_of

QWEN = decoder_named("Qwen/Qwen2.5-7B")


def test_a_learner_holds_sixteen_bytes_a_parameter_and_four_of_a_reference() -> None:
    cluster = GpuCluster(Cluster(GPUS["h100"], 8))
    memory = memory_of(QWEN, cluster, [], microbatch_tokens=1000, slots=0, reference=True)
    shard = QWEN.parameters / 8
    assert memory.learning["optimizer"] == 8 * shard
    assert memory.learning["gradients"] == memory.learning["reference"] == 4 * shard
    assert memory.learning["weights"] == pytest.approx(4 * shard + 2 * 2 * QWEN.parameters / 28)
    assert memory.learning["activations"] == 1000 * activation_bytes(QWEN)


def test_the_largest_batches_fill_the_memory() -> None:
    cluster = GpuCluster(Cluster(GPUS["h100"], 8))
    batch = [Lengths(100, (900, 1100))] * 64
    first = memory_of(QWEN, cluster, batch, microbatch_tokens=1, slots=1, reference=True)
    for extra, fits in ((0, True), (2, False)):
        again = memory_of(
            QWEN, cluster, batch, microbatch_tokens=first.largest_microbatch + extra, slots=1, reference=True
        )
        assert again.fits is fits
    # a row: 1,000 tokens and half a prompt, 28,672 numbers each, in bf16
    room = USABLE * 80e9 - 2 * QWEN.parameters
    assert first.largest_slots == int(room / (2 * 28_672 * 1050))


def test_a_model_too_large_for_its_gpu_fits_no_batch() -> None:
    memory = memory_of(QWEN, GpuCluster(Cluster(GPUS["a100"], 1)), [], microbatch_tokens=1000, slots=0, reference=True)
    assert not memory.fits
    assert memory.largest_microbatch == 0


def test_what_a_forward_keeps_is_near_what_torch_keeps() -> None:
    config = {
        "model_type": "qwen3",
        "vocab_size": 512,
        "hidden_size": 256,
        "intermediate_size": 768,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 64,
    }
    fields = {name: value for name, value in config.items() if name != "model_type"}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("qwen3", **fields), attn_implementation=ATTENTION)
    parameters = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    tokens = 256
    ids, positions = torch.randint(512, (8, tokens // 8)), torch.arange(tokens // 8).expand(8, -1)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), torch.autocast("cpu", torch.bfloat16):
        hidden_states(model, ids, positions, CausalLayout()).sum()
    weights = 2 * sum(layer.weight.numel() for layer in model.model.modules() if isinstance(layer, torch.nn.Linear))
    found = (sum(kept.values()) - weights) / tokens  # autocast keeps a bf16 copy of every weight
    assert activation_bytes(decoder_from_config(config, "small")) == pytest.approx(found, rel=0.5)
