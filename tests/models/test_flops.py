"""FLOPs and bytes against torch's own counter on transformers' models, and against plain loops."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from thinkery.models.flops import Lengths, Shape, forward_compute, rollout_compute, shape_of, update_compute

VOCAB = 96
# torch also counts the products that make the rotation's angles, which are left out here: below 0.5 % at this size.
NEAR = 0.005


def make(model_type: str, *, tied: bool = True) -> tuple[PreTrainedModel, Shape]:
    """A tiny decoder with transformers' own attention, by matrix products; and its shape, computing in fp32."""
    config = AutoConfig.for_model(
        model_type,
        vocab_size=VOCAB,
        hidden_size=64,
        intermediate_size=112,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        tie_word_embeddings=tied,
    )
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    return model, shape_of(model, VOCAB, torch.float32)


def masked(shape: Shape, tokens: int) -> int:
    """FLOPs that a product over the whole square spends on pairs that nobody sees."""
    return 4 * shape.attention * (tokens**2 - tokens * (tokens + 1) // 2)


@pytest.mark.parametrize(("model_type", "tied"), [("qwen3", True), ("qwen2", True), ("llama", False)])
def test_a_forward_and_an_update_cost_what_torch_counts(model_type: str, tied: bool) -> None:
    model, shape = make(model_type, tied=tied)
    tokens = 40
    ids = torch.randint(VOCAB, (1, tokens))
    with FlopCounterMode(display=False) as forward:
        logits = model(ids, use_cache=False).logits
    with FlopCounterMode(display=False) as backward:
        logits.sum().backward()
    batch = [Lengths(0, (tokens,))]  # every token's logits were asked for
    ours, wasted = forward_compute(shape, batch).flops, masked(shape, tokens)
    assert ours + wasted == pytest.approx(forward.get_total_flops(), rel=NEAR)
    both = forward.get_total_flops() + backward.get_total_flops()
    assert update_compute(shape, batch).flops + 3 * wasted == pytest.approx(both, rel=NEAR)


def test_sampling_costs_what_torch_counts_token_by_token() -> None:
    model, shape = make("qwen3")
    prompt, length = 12, 9
    with torch.no_grad(), FlopCounterMode(display=False) as counted:
        output = model(torch.randint(VOCAB, (1, prompt)), use_cache=True, logits_to_keep=1)
        for _ in range(length - 1):
            output = model(torch.randint(VOCAB, (1, 1)), past_key_values=output.past_key_values, logits_to_keep=1)
    ours = rollout_compute(shape, [Lengths(prompt, (length,))], slots=8)
    assert ours.flops + masked(shape, prompt) == pytest.approx(counted.get_total_flops(), rel=NEAR)
    assert ours.tokens == length
    cached = sum(layer.keys.nbytes + layer.values.nbytes for layer in output.past_key_values.layers)
    assert cached == shape.element * shape.cached * (prompt + length - 1)


def test_a_shape_is_what_the_model_holds() -> None:
    model, shape = make("qwen3")
    assert shape.parameters == model.num_parameters()
    layers = [weight for name, weight in model.named_parameters() if weight.ndim == 2 and "embed" not in name]
    assert shape.matrices == sum(weight.numel() for weight in layers)
    assert shape.edges == sum(sum(weight.shape) for weight in layers)
    assert shape.head == model.get_output_embeddings().weight.numel()
    assert shape.activations == shape.edges + shape.hidden + VOCAB


def test_completions_that_share_a_prompt_pay_for_it_once() -> None:
    _, shape = make("qwen3")
    prompt, lengths = 20, (3, 7, 5)
    together = forward_compute(shape, [Lengths(prompt, lengths)])
    apart = [forward_compute(shape, [Lengths(prompt, (length,))]) for length in lengths]
    alone = forward_compute(shape, [Lengths(prompt, ())])
    assert together.tokens == prompt + sum(lengths)
    assert together.flops == sum(work.flops for work in apart) - 2 * alone.flops


def test_a_token_sees_itself_and_what_comes_before_it() -> None:
    _, shape = make("qwen3")
    prompt, lengths = 6, (4, 2)
    # A mask of the prompt and both completions, in which the second doesn't see the first.
    owner = torch.tensor([0] * prompt + [1] * lengths[0] + [2] * lengths[1])
    total = len(owner)
    seen = (owner[None] == owner[:, None]) | (owner[None] == 0)
    pairs = int((seen & torch.ones(total, total, dtype=torch.bool).tril()).sum())
    work = forward_compute(shape, [Lengths(prompt, lengths)])
    assert work.flops == 2 * (shape.matrices * total + shape.head * sum(lengths)) + 4 * shape.attention * pairs


def decoded_bytes(shape: Shape, batch: list[Lengths]) -> int:
    """Step by step: all weights, and what is cached of the completions that still run, their prompt once."""
    weights, token = shape.matrices + shape.head, shape.cached
    moved = weights + token * sum(one.prompt for one in batch)  # the prompts are forwarded and written
    for step in range(1, max(max(one.completions) for one in batch)):
        moved += weights
        for one in batch:
            running = [length for length in one.completions if length > step]
            moved += token * len(running)  # the token that is fed is written
            moved += token * (one.prompt if running else 0)
            moved += token * step * len(running)
    return moved * shape.element


def test_decoding_reads_weights_and_cache_at_every_step() -> None:
    _, shape = make("qwen3")
    batch = [Lengths(11, (5, 9, 1)), Lengths(4, (2, 2, 6))]
    assert rollout_compute(shape, batch, slots=6).bytes == decoded_bytes(shape, batch)


def test_fewer_slots_need_more_steps_and_so_more_reads_of_the_weights() -> None:
    _, shape = make("qwen3")
    batch = [Lengths(11, (9,) * 8)]
    wide, narrow = (rollout_compute(shape, batch, slots) for slots in (8, 2))
    steps = (8 * 8) // 2 - 8
    assert (wide.steps, narrow.steps) == (9, 9 + steps)
    assert narrow.bytes - wide.bytes == steps * shape.element * (shape.matrices + shape.head)
    assert narrow.flops == wide.flops


def test_bytes_follow_the_size_of_an_element_and_an_updates_optimizer_does_not() -> None:
    model, _ = make("qwen3")
    single, half = (shape_of(model, VOCAB, dtype) for dtype in (torch.float32, torch.bfloat16))
    batch = [Lengths(7, (5, 6))]
    assert forward_compute(single, batch).bytes == 2 * forward_compute(half, batch).bytes
    weights = sum(p.numel() for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name)
    weights += model.get_output_embeddings().weight.numel()
    moments_gradients_weights = 2 * (4 + 4) + 2 * 4 + 2 * 4  # each read and written once, in fp32
    again = update_compute(half, batch, updates=2).bytes - update_compute(half, batch, updates=1).bytes
    assert again == 2 * 2 * weights + moments_gradients_weights * model.num_parameters()


def test_the_work_of_parts_adds_up_and_nothing_costs_nothing() -> None:
    _, shape = make("qwen3")
    first, second = [Lengths(7, (5, 6))], [Lengths(3, (4,))]
    together = forward_compute(shape, first + second)
    both = forward_compute(shape, first) + forward_compute(shape, second)
    assert (both.tokens, both.flops) == (together.tokens, together.flops)
    assert both.steps == 0
    sampled = rollout_compute(shape, first, slots=4)
    assert (sampled + sampled).steps == 2 * sampled.steps == 12
    assert forward_compute(shape, []).flops == update_compute(shape, []).flops == 0
    assert rollout_compute(shape, [], slots=4).flops == 0
