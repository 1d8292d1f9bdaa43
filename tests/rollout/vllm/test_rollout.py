"""The rollout on vLLM, colocated: real vLLM against the native engine and the learner, through several updates."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from thinkery.models.loading import Policy, load_policy, save_policy
from thinkery.problems.source import open_source
from thinkery.recipe import ProblemSpec, VLLMSpec
from thinkery.rollout import NativeRollout
from thinkery.rollout.vllm.engine import engine_for
from thinkery.rollout.vllm.rollout import VLLMRollout, check_computation
from thinkery.training.forward import packed_logprobs
from thinkery.training.learner import Learner, LearnerConfig, Sample
from thinkery.training.packing import pack, split_microbatches
from thinkery.types import Completion, Problem, Sampling, UserError

pytestmark = [pytest.mark.slow, pytest.mark.vllm]

SPEC = VLLMSpec(enforce_eager=True, max_model_len=512)
SLOTS = 64
LONG = Problem("long", "Compute " + " + ".join(str(7 * i % 10) for i in range(60)) + ".", "0")  # blocks of cache


@pytest.fixture
def policy() -> Policy:
    return load_policy("thinkery://mini-base", template=None, device="cpu", dtype="float32")


@pytest.fixture
def problems() -> list[Problem]:
    return [*open_source(ProblemSpec(source="mini")).draw(0, 7), LONG]


def by_key(completions: Iterable[Completion]) -> dict[tuple[str, int], Completion]:
    return {(completion.problem_id, completion.index): completion for completion in completions}


def sample(rollout: NativeRollout | VLLMRollout, problems: list[Problem], sampling: Sampling) -> list[Completion]:
    return list(rollout.generate(problems, sampling, seed=3, step=5, stage="zero"))


def learner_difference(policy: Policy, completions: list[Completion], temperature: float = 1.0) -> float:
    """Mean absolute difference between the engine's log-probabilities and the learner's forward."""
    differences = []
    for subset in split_microbatches(completions, range(len(completions)), 16384, 1):
        microbatch = pack(completions, subset, policy.device)
        with torch.no_grad():
            learners_N, _ = packed_logprobs(policy, policy.model, microbatch, temperature)
        engines = [logp for index in microbatch.indices for logp in completions[index].logprobs]
        differences.append((learners_N - torch.tensor(engines)).abs())
    return float(torch.cat(differences).mean())


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(8, max_completion_length=96),
        Sampling(8, temperature=0.7, top_p=0.9, top_k=20, max_completion_length=48),
        Sampling(1, temperature=0, max_completion_length=48),
        Sampling(8, max_completion_length=48, stop_strings=("1", "the", " = ")),
    ],
    ids=["plain", "truncated", "greedy", "stop-strings"],
)
def test_its_completions_are_the_native_engines(policy: Policy, problems: list[Problem], sampling: Sampling) -> None:
    native = by_key(sample(NativeRollout(policy, max_slots=SLOTS), problems, sampling))
    found = by_key(sample(VLLMRollout(policy, spec=SPEC, max_slots=SLOTS), problems, sampling))
    assert found.keys() == native.keys()
    same = [key for key in native if found[key].token_ids == native[key].token_ids]
    assert len(same) >= 0.95 * len(native)  # rounding may tip a draw
    for key in same:
        assert replace(found[key], logprobs=()) == replace(native[key], logprobs=())
        assert found[key].logprobs == pytest.approx(native[key].logprobs, abs=1e-3)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_log_probabilities_are_the_learners_before_truncation(
    policy: Policy, problems: list[Problem], temperature: float
) -> None:
    sampling = Sampling(8, temperature=temperature, top_p=0.8, max_completion_length=96)
    completions = sample(VLLMRollout(policy, spec=SPEC, max_slots=SLOTS), problems, sampling)
    assert learner_difference(policy, completions, temperature) <= 1e-4


def test_after_each_update_it_samples_from_the_new_weights(policy: Policy, problems: list[Problem]) -> None:
    rollout = VLLMRollout(policy, spec=SPEC, max_slots=SLOTS)
    learner = Learner(policy, LearnerConfig(learning_rate=3e-3))
    sampling = Sampling(8, max_completion_length=64)
    for version in range(4):
        completions = sample(rollout, problems, sampling)
        assert policy.version == version
        assert {completion.policy_version for completion in completions} == {version}
        handover = rollout.handover
        assert handover is not None
        assert handover.version == version
        assert handover.compared > 0  # tensors read back, bit for bit the policy's
        assert handover.difference is None or handover.difference < 1e-4  # what it computes with the others
        assert learner_difference(policy, completions) <= 1e-4
        sample(rollout, problems, sampling)
        assert rollout.handover is handover  # nothing new: nothing is handed over
        samples = [Sample(c.prompt_ids, c.token_ids, c.logprobs, 1.0 if c.index % 2 else -1.0) for c in completions]
        learner.update(samples, version)
        assert learner_difference(policy, completions) > 1e-2  # the old weights would be told apart


def test_another_policy_of_the_same_version_and_a_restored_one_are_handed_over(
    policy: Policy, problems: list[Problem]
) -> None:
    sampling = Sampling(4, max_completion_length=32)
    sample(VLLMRollout(policy, spec=SPEC, max_slots=SLOTS), problems, sampling)
    other = load_policy("thinkery://mini-base", template=None, device="cpu", dtype="float32")
    for _ in range(2):  # the second time its weights change under the same version
        with torch.no_grad():
            for parameter in other.model.parameters():
                parameter.mul_(1.05)
        completions = sample(VLLMRollout(other, spec=SPEC, max_slots=SLOTS), problems, sampling)
        assert learner_difference(other, completions) <= 1e-4
        assert learner_difference(policy, completions) > 1e-2


def test_weights_that_arrive_otherwise_are_found_out(policy: Policy, problems: list[Problem]) -> None:
    rollout = VLLMRollout(policy, spec=SPEC, max_slots=SLOTS)
    sample(rollout, problems[:1], Sampling(1, max_completion_length=4))
    engine = engine_for(rollout.settings)
    weights = {name: parameter.detach().clone() for name, parameter in policy.model.named_parameters()}

    held = engine.receive(weights.items(), "right")
    assert held.require(weights.items()) > 0
    weights["model.norm.weight"][3] += 1e-6
    with pytest.raises(RuntimeError, match=r"does not hold the policy's model\.norm\.weight"):
        held.require(weights.items())

    weights = {name: parameter.detach().clone() for name, parameter in policy.model.named_parameters()}
    weights["model.layers.2.mlp.down_proj.weight"] *= 1.5
    engine.receive(weights.items(), "wrong")
    with pytest.raises(RuntimeError, match="does not compute with these weights"):
        check_computation(policy, engine, "wrong", rollout.ends.rule(rollout.ends.asked(Sampling())))


def test_a_handover_that_lacks_a_tensor_leaves_no_engine_behind(policy: Policy, problems: list[Problem]) -> None:
    rollout = VLLMRollout(policy, spec=SPEC, max_slots=SLOTS)
    sample(rollout, problems[:1], Sampling(1, max_completion_length=4))
    engine = engine_for(rollout.settings)
    weights = dict(policy.model.named_parameters())
    del weights["model.layers.1.self_attn.o_proj.weight"]
    with pytest.raises(RuntimeError, match=r"brought no model\.layers\.1\.self_attn\.o_proj\.weight"):
        engine.receive(weights.items(), "half")
    completions = sample(rollout, problems[:1], Sampling(4, max_completion_length=32))
    assert learner_difference(policy, completions) <= 1e-4
    assert engine_for(rollout.settings) is not engine


def test_a_call_that_was_interrupted_is_resumed_as_if_nothing_had_been(policy: Policy, problems: list[Problem]) -> None:
    sampling = Sampling(8, max_completion_length=64)
    rollout = VLLMRollout(policy, spec=SPEC, max_slots=SLOTS)
    whole = by_key(sample(rollout, problems, sampling))
    finished = []
    for completion in rollout.generate(problems, sampling, seed=3, step=5, stage="zero"):
        finished.append(completion)
        rollout.interrupt()
    unfinished = list(rollout.unfinished)
    assert any(partial.token_ids for partial in unfinished)
    policy.version = 1  # the same weights under another name: tokens keep the version that drew the first of them
    finished += rollout.resume(problems, unfinished, sampling, seed=3, stage="zero")
    found = by_key(finished)
    assert found.keys() == whole.keys()
    assert len(finished) == len(found)
    same = sum(found[key].token_ids == whole[key].token_ids for key in whole)
    assert same >= 0.95 * len(whole)
    for partial in unfinished:
        completion = found[partial.problem_id, partial.index]
        assert completion.token_ids[: len(partial.token_ids)] == partial.token_ids
        assert completion.logprobs[: len(partial.token_ids)] == partial.logprobs
        assert completion.policy_version == (0 if partial.token_ids else 1)


def test_stale_completions_are_refused_unless_that_was_declared(policy: Policy, problems: list[Problem]) -> None:
    sampling = Sampling(4, max_completion_length=32)

    def sample_while_it_learns(stream: Iterator[Completion]) -> list[int]:
        versions = []
        for completion in stream:
            versions.append(completion.policy_version)
            policy.version = 1
        return versions

    rollout = VLLMRollout(policy, spec=SPEC, max_slots=SLOTS)
    with pytest.raises(RuntimeError, match="went from version 0 to 1"):
        sample_while_it_learns(rollout.generate(problems, sampling, seed=0, step=0, stage="zero"))
    policy.version = 0
    rollout = VLLMRollout(policy, spec=SPEC, max_slots=SLOTS, max_staleness=1)
    versions = sample_while_it_learns(rollout.generate(problems, sampling, seed=0, step=0, stage="zero"))
    assert versions == [0] * (len(problems) * 4)


def test_whoever_stops_early_leaves_a_clean_engine(policy: Policy, problems: list[Problem]) -> None:
    rollout = VLLMRollout(policy, spec=SPEC, max_slots=SLOTS)
    sampling = Sampling(4, max_completion_length=64)
    stream = rollout.generate(problems, sampling, seed=3, step=5, stage="zero")
    next(stream)
    with pytest.raises(RuntimeError, match="still draws"):
        sample(rollout, problems, sampling)
    stream.close()
    assert len(sample(rollout, problems, sampling)) == 4 * len(problems)


def test_mistakes_are_told_as_by_the_native_engine(policy: Policy, problems: list[Problem]) -> None:
    short = VLLMSpec(enforce_eager=True, max_model_len=40)
    for rollout in (NativeRollout(policy), VLLMRollout(policy, spec=SPEC)):
        with pytest.raises(UserError, match="asked for twice"):
            sample(rollout, [LONG, LONG], Sampling())
        with pytest.raises(UserError, match=r"sampling\.top_p is 0"):
            sample(rollout, problems, Sampling(top_p=0))
        with pytest.raises(UserError, match="a stop string is empty"):
            sample(rollout, problems, Sampling(stop_strings=("",)))
        assert sample(rollout, [], Sampling()) == []
    with pytest.raises(UserError, match="exceed the model's context of 40"):
        sample(VLLMRollout(policy, spec=short), problems, Sampling())
    with pytest.raises(UserError, match="max_slots is 0"):
        VLLMRollout(policy, spec=SPEC, max_slots=0)


def test_vllm_leaves_torchs_threads_alone(policy: Policy, problems: list[Problem]) -> None:
    sample(VLLMRollout(policy, spec=SPEC, max_slots=SLOTS), problems[:1], Sampling(1, max_completion_length=4))
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    assert torch.get_num_threads() == before + 1
    torch.set_num_threads(before)


def test_bfloat16_stays_close_to_the_learner_and_sleeping_is_refused_on_a_cpu(problems: list[Problem]) -> None:
    policy = load_policy("thinkery://mini-base", template=None, device="cpu", dtype="bfloat16")
    spec = SPEC.model_copy(update={"enable_sleep_mode": True})
    with pytest.warns(UserWarning, match="no sleep mode"):
        completions = sample(
            VLLMRollout(policy, spec=spec, max_slots=SLOTS), problems, Sampling(8, max_completion_length=96)
        )
    assert learner_difference(policy, completions) <= 0.02


def test_a_saved_policy_loads_in_plain_vllm(tmp_path: Path, policy: Policy, problems: list[Problem]) -> None:
    save_policy(policy, tmp_path / "model")
    wanted = sample(NativeRollout(policy), problems, Sampling(1, temperature=0, max_completion_length=24))
    prompts = [list(completion.prompt_ids) for completion in wanted]
    script = """
import json, sys
from vllm import LLM, SamplingParams
engine = LLM(sys.argv[1], dtype="float32", enforce_eager=True, max_model_len=512, kv_cache_memory_bytes=1 << 27)
prompts = [{"prompt_token_ids": ids} for ids in json.loads(sys.argv[2])]
answers = engine.generate(prompts, SamplingParams(temperature=0, max_tokens=24), use_tqdm=False)
print(json.dumps([list(answer.outputs[0].token_ids) for answer in answers]))
"""
    command = [sys.executable, "-c", script, str(tmp_path / "model"), json.dumps(prompts)]
    environment = os.environ | {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_LOGGING_LEVEL": "ERROR"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == [list(completion.token_ids) for completion in wanted]
