"""The supervised learner on tiny real models: its loss and gradient against plain transformers, and its promises."""

from __future__ import annotations

import copy
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, Qwen2Config, Qwen2ForCausalLM

from thinkery.models.attention import ATTENTION
from thinkery.models.loading import Policy
from thinkery.training.sft import Example, SFTConfig, SupervisedLearner
from thinkery.types import UserError

pytestmark = pytest.mark.slow

MakePolicy = Callable[..., Policy]
Tensors = dict[str, torch.Tensor]
VOCAB, END = 37, 1
SHAPE = {
    "vocab_size": 48,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.2,
    "attn_implementation": ATTENTION,
}


def examples_of(count: int = 12) -> list[Example]:
    """Prompts and completions of unequal lengths, some with the same prompt."""
    generator = random.Random(1)
    prompts = [[generator.randrange(VOCAB) for _ in range(2 + i)] for i in range(count - 3)]
    prompts += [prompts[3]] * 3
    return [
        Example(p, [*(generator.randrange(2, VOCAB) for _ in range(generator.randint(1, 30))), END]) for p in prompts
    ]


def settings(**changes: Any) -> SFTConfig:
    return SFTConfig(**({"learning_rate": 1e-3, "max_grad_norm": 1e9, "batch_size": 100} | changes))


def update_and_gradient(learner: SupervisedLearner, step: int = 0) -> tuple[dict[str, float], Tensors]:
    """An update's metrics and the whole gradient that it stepped along."""
    gradient: Tensors = {}

    def keep(name: str) -> Callable[[torch.Tensor], None]:
        return lambda parameter: gradient.update({name: parameter.grad.clone()})

    handles = [p.register_post_accumulate_grad_hook(keep(n)) for n, p in learner.policy.model.named_parameters()]
    metrics = learner.update(step)
    for handle in handles:
        handle.remove()
    return metrics, gradient


def plain(model: PreTrainedModel) -> PreTrainedModel:
    """The same weights in transformers' own model with its own attention, in float64."""
    config = copy.deepcopy(model.config)
    config._attn_implementation = "eager"
    twin = type(model)(config)
    twin.load_state_dict(model.state_dict())
    return twin.double().eval()


def reference(model: PreTrainedModel, examples: list[Example]) -> tuple[float, Tensors]:
    """The mean of -log p over all completion tokens, one example at a time with the whole softmax."""
    total = sum(len(example.token_ids) for example in examples)
    loss = 0.0
    for example in examples:
        ids = torch.tensor([[*example.prompt_ids, *example.token_ids]])
        logp_TV = torch.log_softmax(model(input_ids=ids).logits[0, :-1, :VOCAB], dim=-1)
        logp_T = logp_TV.gather(1, ids[0, 1:, None])[:, 0]
        part = -logp_T[len(example.prompt_ids) - 1 :].sum() / total
        part.backward()
        loss += part.item()
    return loss, {name: p.grad for name, p in model.named_parameters()}


def policy_of(shape: str, make_policy: MakePolicy) -> Policy:
    policy = make_policy()
    torch.manual_seed(0)
    if shape == "llama, untied":
        policy.model = LlamaForCausalLM(LlamaConfig(**SHAPE, tie_word_embeddings=False)).eval()
    if shape == "qwen2, tied":
        policy.model = Qwen2ForCausalLM(Qwen2Config(**SHAPE, tie_word_embeddings=True)).eval()
    return policy


@pytest.mark.parametrize("shape", ["qwen3, tied", "qwen2, tied", "llama, untied"])
@pytest.mark.parametrize("budget", [1, 100, 100_000])
def test_loss_and_gradient_are_those_of_plain_transformers_whatever_the_packing(
    shape: str, budget: int, make_policy: MakePolicy
) -> None:
    policy, examples = policy_of(shape, make_policy), examples_of()
    policy.model.double()
    expected_loss, expected = reference(plain(policy.model), examples)
    learner = SupervisedLearner(policy, examples, settings(microbatch_tokens=budget))
    metrics, gradient = update_and_gradient(learner)
    assert metrics["loss"] == pytest.approx(expected_loss, rel=1e-6)
    assert gradient.keys() == expected.keys()
    for name, value in gradient.items():
        # Norms are taken in float32 even in a float64 model, in both.
        torch.testing.assert_close(value, expected[name], rtol=0, atol=1e-5 * expected[name].abs().max().item())


def test_bfloat16_gives_nearly_the_same_loss(make_policy: MakePolicy) -> None:
    losses = [
        SupervisedLearner(make_policy(compute_dtype=dtype), examples_of(), settings()).update(0)["loss"]
        for dtype in (torch.float32, torch.bfloat16)
    ]
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


def test_what_is_only_in_prompts_is_not_learnt(make_policy: MakePolicy) -> None:
    """With an untied head, a row of it that no completion holds is pushed down only, never up."""
    policy = policy_of("llama, untied", make_policy)
    examples = [Example([30, 31, 32, 33], [5, 6, END])]
    _, gradient = update_and_gradient(SupervisedLearner(policy, examples, settings()))
    before = policy_of("llama, untied", make_policy).model
    ids = torch.tensor([[30, 31, 32, 33, 5, 6]])
    hidden = plain(before).model(input_ids=ids).last_hidden_state[0, 3:].detach()
    weights = torch.softmax(hidden @ before.lm_head.weight.double()[:VOCAB].T, dim=-1) / 3
    expected = weights.T @ hidden
    for row, token in enumerate((5, 6, END)):
        expected[token] -= hidden[row] / 3
    torch.testing.assert_close(gradient["lm_head.weight"][:VOCAB].double(), expected, rtol=1e-4, atol=1e-6)
    assert not gradient["lm_head.weight"][VOCAB:].any()


@pytest.mark.parametrize(("count", "batch_size", "sizes"), [(12, 5, {4}), (7, 3, {2, 3}), (3, 100, {3})])
def test_every_epoch_holds_every_example_once_in_batches_of_nearly_one_size(
    count: int, batch_size: int, sizes: set[int], make_policy: MakePolicy
) -> None:
    learner = SupervisedLearner(make_policy(), examples_of(12)[:count], settings(batch_size=batch_size, epochs=3))
    batches = [learner.batch(step) for step in range(learner.total_updates)]
    seen = Counter(index for batch in batches for index in batch)
    assert seen == Counter(dict.fromkeys(range(count), 3))
    assert {len(batch) for batch in batches} == sizes
    epochs = [[i for batch in batches[e * len(batches) // 3 :][: len(batches) // 3] for i in batch] for e in range(3)]
    assert all(sorted(epoch) == list(range(count)) for epoch in epochs)
    if count > 3:
        assert epochs[0] != epochs[1] != epochs[2]
    assert [learner.batch(step) for step in reversed(range(len(batches)))] == batches[::-1]


def test_the_order_depends_on_the_seed(make_policy: MakePolicy) -> None:
    orders = [SupervisedLearner(make_policy(), examples_of(), settings(seed=s)).batch(0) for s in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]


def test_the_rate_falls_by_a_cosine_to_a_tenth(make_policy: MakePolicy) -> None:
    config = settings(batch_size=1, epochs=8, warmup_steps=3)
    learner = SupervisedLearner(make_policy(), examples_of(), config)
    rates = [learner.update(step)["learning_rate"] for step in range(learner.total_updates)]
    assert rates[:3] == pytest.approx([1e-3 / 3, 2e-3 / 3, 1e-3])
    assert rates[3:] == sorted(rates[3:], reverse=True)
    assert rates[3 + (96 - 3) // 2] == pytest.approx(0.55e-3, rel=0.02)
    assert rates[-1] == pytest.approx(1e-4, rel=0.01)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_saved_and_loaded_it_goes_on_with_the_same_bits(
    optimizer: str, make_policy: MakePolicy, tmp_path: Path
) -> None:
    config = settings(optimizer=optimizer, batch_size=5, epochs=2, weight_decay=0.1, warmup_steps=2)
    whole = SupervisedLearner(make_policy(), examples_of(), config)
    metrics = [whole.update(step) for step in range(whole.total_updates)]
    half = SupervisedLearner(make_policy(), examples_of(), config)
    for step in range(4):
        half.update(step)
    half.save(tmp_path / "learner")
    again = SupervisedLearner(make_policy(), examples_of(), config)
    again.load(tmp_path / "learner")
    assert [again.update(step) for step in range(4, whole.total_updates)] == metrics[4:]
    for (name, one), (_, other) in zip(
        whole.policy.model.named_parameters(), again.policy.model.named_parameters(), strict=True
    ):
        assert torch.equal(one, other), name
    assert again.policy.version == whole.policy.version == whole.total_updates == 6
    assert again.tokens == whole.tokens == 2 * sum(example.length for example in examples_of())


def test_a_loss_that_is_not_finite_stops_before_the_weights_change(make_policy: MakePolicy) -> None:
    policy = make_policy()
    with torch.no_grad():
        policy.model.get_input_embeddings().weight[30] = torch.inf
    before = {name: p.detach().clone() for name, p in policy.model.named_parameters()}
    learner = SupervisedLearner(policy, [Example([2, 3], [4, END]), Example([30, 3], [4, END])], settings())
    with pytest.raises(UserError, match=r"step 0: the loss is nan, first in sample 1\. .* lower learning_rate"):
        learner.update(0)
    assert all(torch.equal(p, before[name]) for name, p in policy.model.named_parameters())
    assert all(p.grad is None for p in policy.model.parameters())


def test_gradients_are_clipped_and_their_norm_is_told(make_policy: MakePolicy) -> None:
    _, gradient = update_and_gradient(SupervisedLearner(make_policy(), examples_of(), settings()))
    norm = torch.cat([value.flatten() for value in gradient.values()]).norm().item()
    metrics = SupervisedLearner(make_policy(), examples_of(), settings(max_grad_norm=0.1)).update(0)
    assert metrics["grad_norm"] == pytest.approx(norm, rel=1e-5)


def test_a_folder_without_a_learner_is_refused(make_policy: MakePolicy, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no supervised learner"):
        SupervisedLearner(make_policy(), examples_of(), settings()).load(tmp_path)
