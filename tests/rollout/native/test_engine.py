"""The engine against transformers: the same tokens, the same log-probabilities, whatever the batch looks like."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from thinkery.models.attention import CausalLayout, hidden_states
from thinkery.models.loading import Policy, load_policy
from thinkery.models.template import Template
from thinkery.rollout import NativeRollout
from thinkery.rollout.native.cache import BLOCK
from thinkery.types import Completion, Problem, Sampling, UserError

pytestmark = pytest.mark.slow

PROMPTS = ["12+34=", "a", "what is 3*4+5*6", "hello: ", "7*8*9=", "zz top 1", "0", "compute 10+20+30+40", "b b b"]
LONG = BLOCK + 9  # so that completions grow into a second block of the cache


def problems(count: int = len(PROMPTS)) -> list[Problem]:
    return [Problem(f"p{i}", prompt, "") for i, prompt in enumerate(PROMPTS[:count])]


def generate(
    policy: Policy, asked: list[Problem], sampling: Sampling, *, max_slots: int = 512, seed: int = 0, step: int = 0
) -> dict[tuple[str, int], Completion]:
    stream = NativeRollout(policy, max_slots=max_slots).generate(asked, sampling, seed=seed, step=step, stage="test")
    completions = list(stream)
    by_key = {(completion.problem_id, completion.index): completion for completion in completions}
    assert len(by_key) == len(completions) == len(asked) * sampling.num_generations
    return by_key


@pytest.mark.parametrize(
    ("model_type", "tied", "kv_heads"),
    [
        ("qwen3", True, 2),
        ("qwen3", False, 4),
        ("qwen2", True, 1),
        ("qwen2", False, 4),
        ("llama", True, 4),
        ("llama", False, 2),
    ],
)
def test_greedy_equals_transformers(
    make_checkpoint: Callable[..., Path], model_type: str, tied: bool, kv_heads: int
) -> None:
    folder = make_checkpoint(model_type, tied=tied, kv_heads=kv_heads)
    policy = load_policy(folder, template=Template("plain", "{{ messages[0].content }}"), device="cpu", dtype="float32")
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    got = generate(policy, problems(4), Sampling(2, temperature=0, max_completion_length=LONG), max_slots=5)
    for problem in problems(4):
        prompt = torch.tensor([policy.encode_prompt(problem)])
        want = model.generate(
            prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=LONG, do_sample=False,
            suppress_tokens=list(range(policy.valid_vocab, model.config.vocab_size)),
        )[0, prompt.shape[1] :]  # fmt: skip
        for index in range(2):
            completion = got[problem.id, index]
            assert list(completion.token_ids) == want.tolist()
            assert completion.finish_reason == ("stop" if want[-1] == 0 else "length")


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_logprobs_equal_a_plain_forward(policy: Policy, reference: PreTrainedModel, temperature: float) -> None:
    sampling = Sampling(5, temperature=temperature, top_p=0.9, max_completion_length=LONG)
    for completion in generate(policy, problems(), sampling, max_slots=16).values():
        ids = torch.tensor([completion.prompt_ids + completion.token_ids])
        with torch.no_grad():
            logits = reference(ids).logits[0, len(completion.prompt_ids) - 1 : -1, : policy.valid_vocab]
        want = (logits / temperature).log_softmax(-1).gather(1, ids[0, len(completion.prompt_ids) :, None])[:, 0]
        torch.testing.assert_close(torch.tensor(completion.logprobs), want, atol=1e-4, rtol=0)


def test_bfloat16_stays_close_to_the_learners_forward(checkpoint: Path, policy: Policy) -> None:
    policy = load_policy(checkpoint, template=policy.template, device="cpu", dtype="bfloat16")
    differences = []
    for completion in generate(policy, problems(), Sampling(4, max_completion_length=LONG)).values():
        ids = torch.tensor([completion.prompt_ids + completion.token_ids])
        with torch.no_grad(), policy.autocast():
            logits = policy.model.get_output_embeddings()(hidden_states(policy.model, ids, None, CausalLayout()))
        logits = logits[0, len(completion.prompt_ids) - 1 : -1, : policy.valid_vocab].float()
        learner = logits.log_softmax(-1).gather(1, ids[0, len(completion.prompt_ids) :, None])[:, 0]
        differences.append((learner - torch.tensor(completion.logprobs)).abs())
    assert torch.cat(differences).mean() < 0.05


def test_completions_do_not_depend_on_batch_order_or_slots(policy: Policy) -> None:
    sampling = Sampling(3, max_completion_length=24)
    whole = generate(policy, problems(), sampling)
    for other in (
        generate(policy, problems()[::-1], sampling, max_slots=4),
        generate(policy, problems(), sampling, max_slots=2),  # fewer slots than a group has completions
        generate(policy, problems()[4:5], sampling),
    ):
        for key, completion in other.items():
            assert completion.token_ids == whole[key].token_ids


def test_completions_and_their_order_depend_on_nothing_but_the_number_of_lanes(policy: Policy) -> None:
    sampling = Sampling(3, max_completion_length=24)
    whole = generate(policy, problems(), sampling)
    rollout = NativeRollout(policy, max_slots=6, workers=3)
    first, second = (list(rollout.generate(problems(), sampling, seed=0, step=0, stage="test")) for _ in range(2))
    assert first == second
    assert {(c.problem_id, c.index): c.token_ids for c in first} == {key: c.token_ids for key, c in whole.items()}
    assert len(first) == len(whole)


def test_whoever_stops_early_leaves_no_worker_behind(policy: Policy) -> None:
    before, threads = set(threading.enumerate()), torch.get_num_threads()
    asked = Sampling(4, max_completion_length=60)
    stream = NativeRollout(policy, max_slots=8, workers=2).generate(problems(), asked, seed=0, step=0, stage="test")
    next(stream)
    stream.close()
    assert set(threading.enumerate()) <= before  # others may end meanwhile
    assert torch.get_num_threads() == threads


def test_draws_differ_by_seed_step_and_index(policy: Policy) -> None:
    sampling = Sampling(2, max_completion_length=30)
    one = generate(policy, problems(1), sampling)
    texts = [completion.token_ids for completion in one.values()]
    texts += [generate(policy, problems(1), sampling, step=1)["p0", 0].token_ids]
    texts += [generate(policy, problems(1), sampling, seed=1)["p0", 0].token_ids]
    assert len(set(texts)) == 4


def test_padded_vocabulary_is_never_sampled(policy: Policy) -> None:
    head = policy.model.get_output_embeddings()
    with torch.no_grad():  # padding rows that always win, were they looked at
        head.weight[policy.valid_vocab :] = 50 * head.weight[: head.weight.shape[0] - policy.valid_vocab]
    for temperature in (0.0, 1.0):
        for completion in generate(policy, problems(), Sampling(2, temperature, max_completion_length=12)).values():
            assert max(completion.token_ids) < policy.valid_vocab


def test_stop_strings_and_tokens(policy: Policy) -> None:
    free = generate(policy, problems(), Sampling(8, max_completion_length=40))
    text = next(c.text for c in free.values() if len(set(c.text)) > 6 and len(c.text) > 30)
    string, token = text[9:12], free["p0", 0].token_ids[3]
    stopped = generate(policy, problems(), Sampling(8, max_completion_length=40, stop_strings=(string, "never")))
    assert any(string in completion.text for completion in free.values())
    for key, completion in free.items():
        before, found, _ = completion.text.partition(string)
        assert stopped[key].text == before
        if found:  # the tokens keep what was sampled, the text does not
            assert stopped[key].finish_reason == "stop"
            assert policy.tokenizer.decode(list(stopped[key].token_ids)) == before + string
            assert stopped[key].token_ids == completion.token_ids[: len(stopped[key].token_ids)]
        else:
            assert replace(stopped[key], logprobs=completion.logprobs) == completion
            torch.testing.assert_close(stopped[key].logprobs, completion.logprobs, atol=1e-5, rtol=0)
    ended = generate(policy, problems(1), Sampling(8, max_completion_length=40, stop_token_ids=(token,)))["p0", 0]
    assert ended.token_ids == free["p0", 0].token_ids[: free["p0", 0].token_ids.index(token) + 1]
    assert ended.finish_reason == "stop"
    assert ended.text == policy.tokenizer.decode(list(ended.token_ids[:-1]))


def test_the_template_stops_at_the_next_turn(compact: Policy) -> None:
    assert compact.template.stop_strings == ("\nUser:",)
    turn = Template("turn", "{{ messages[0].content }}", stop_strings=("U",))
    compact.template = turn
    completions = generate(compact, problems(), Sampling(16, max_completion_length=60)).values()
    assert any(completion.token_ids[-1] == compact.tokenizer.convert_tokens_to_ids("U") for completion in completions)
    assert not any("U" in completion.text for completion in completions)


def test_the_caller_never_sees_the_engines_state(policy: Policy, checkpoint: Path) -> None:
    policy = load_policy(checkpoint, template=policy.template, device="cpu", dtype="bfloat16")
    asked = Sampling(4, max_completion_length=50)
    for _ in NativeRollout(policy, max_slots=8).generate(problems(), asked, seed=0, step=0, stage="test"):
        assert torch.is_grad_enabled()
        assert not torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize("workers", [1, 2])
def test_an_update_in_between_is_refused(policy: Policy, workers: int) -> None:
    asked, rollout = Sampling(4, max_completion_length=60), NativeRollout(policy, max_slots=8, workers=workers)
    stream = rollout.generate(problems(), asked, seed=0, step=0, stage="test")
    assert next(stream).policy_version == 0
    policy.version += 1
    with pytest.raises(RuntimeError, match="version 0 to 1"):
        list(stream)


@pytest.mark.parametrize(
    ("sampling", "message"),
    [
        (Sampling(max_completion_length=251), "p0: a prompt of 6 tokens .* context of 256"),
        (Sampling(temperature=-1.0), "temperature"),
        (Sampling(top_p=0.0), "top_p"),
        (Sampling(stop_strings=("",)), "stop string is empty"),
    ],
)
def test_what_makes_no_sense_is_refused(policy: Policy, sampling: Sampling, message: str) -> None:
    with pytest.raises(UserError, match=message):
        generate(policy, problems(1), sampling)


def test_one_problem_twice_is_refused(policy: Policy) -> None:
    with pytest.raises(UserError, match="p0 is asked for twice"):
        generate(policy, problems(1) * 2, Sampling(max_completion_length=4))


def test_nothing_to_do(policy: Policy) -> None:
    assert generate(policy, [], Sampling(4)) == {}
