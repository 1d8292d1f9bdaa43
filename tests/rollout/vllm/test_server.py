"""The rollout on a vLLM server: a process that the run starts, with weights that travel."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
import torch

from thinkery.models.loading import Policy, load_policy
from thinkery.problems.source import open_source
from thinkery.recipe import ProblemSpec, VLLMSpec
from thinkery.rollout import NativeRollout
from thinkery.rollout.vllm.connection import TOKEN
from thinkery.rollout.vllm.remote import RemoteEngine, remote_engine_for
from thinkery.rollout.vllm.rollout import VLLMRollout
from thinkery.types import Completion, Problem, Sampling

pytestmark = [pytest.mark.slow, pytest.mark.vllm]

STARTED = VLLMSpec(mode="server", enforce_eager=True, max_model_len=512)
SAMPLING = Sampling(6, max_completion_length=64)


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy("thinkery://mini-base", template=None, device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def problems() -> list[Problem]:
    return open_source(ProblemSpec(source="mini")).draw(0, 8)


@pytest.fixture(scope="module")
def server(policy: Policy) -> Iterator[RemoteEngine]:
    """One that was started by a rollout, as a run would."""
    rollout = VLLMRollout(policy, spec=STARTED, max_slots=48)
    engine = remote_engine_for(rollout.settings, policy.tokenizer)
    yield engine
    engine.close()


def tokens(completions: list[Completion]) -> dict[tuple[str, int], tuple[int, ...]]:
    return {(completion.problem_id, completion.index): completion.token_ids for completion in completions}


def sample(rollout: NativeRollout | VLLMRollout, problems: list[Problem], *, step: int = 0) -> list[Completion]:
    return list(rollout.generate(problems, SAMPLING, seed=3, step=step, stage="zero"))


def share_of_equal(found: list[Completion], wanted: list[Completion]) -> float:
    ours, theirs = tokens(found), tokens(wanted)
    assert ours.keys() == theirs.keys()
    return sum(ours[key] == theirs[key] for key in ours) / len(ours)


def test_new_weights_reach_it_before_it_samples(server: RemoteEngine, policy: Policy, problems: list[Problem]) -> None:
    rollout = VLLMRollout(policy, spec=STARTED, max_slots=48)
    torch.manual_seed(0)
    for version in range(policy.version, policy.version + 3):
        policy.version = version
        completions = sample(rollout, problems, step=version)
        assert share_of_equal(completions, sample(NativeRollout(policy), problems, step=version)) >= 0.95
        assert {completion.policy_version for completion in completions} == {version}
        assert rollout.handover is not None
        assert rollout.handover.version == version
        assert rollout.handover.compared > 0
        with torch.no_grad():
            for parameter in policy.model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.05 * parameter.std())
    policy.version += 1


def test_a_call_that_was_interrupted_is_resumed(server: RemoteEngine, policy: Policy, problems: list[Problem]) -> None:
    rollout = VLLMRollout(policy, spec=STARTED, max_slots=48)
    whole = sample(rollout, problems)
    finished = []
    for completion in rollout.generate(problems, SAMPLING, seed=3, step=0, stage="zero"):
        finished.append(completion)
        rollout.interrupt()
    finished += rollout.resume(problems, rollout.unfinished, SAMPLING, seed=3, stage="zero")
    assert share_of_equal(finished, whole) >= 0.95
    assert rollout.bursts > 0


def test_another_run_that_takes_the_server_over_is_noticed(
    server: RemoteEngine, policy: Policy, problems: list[Problem], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TOKEN, server._token)  # another run gets it from whoever has started the server
    ours = VLLMRollout(policy, spec=STARTED, max_slots=48)
    sample(ours, problems)
    theirs = VLLMSpec(mode="server", server_base_url=server.url, enforce_eager=True, max_model_len=512)
    other = load_policy("thinkery://mini-base", template=None, device="cpu", dtype="float32")
    assert len(sample(VLLMRollout(other, spec=theirs, max_slots=48), problems)) == 48
    with pytest.raises(RuntimeError, match="another run uses it"):
        sample(ours, problems)
    server.label = None  # a new run would hand its weights over first
    assert share_of_equal(sample(ours, problems), sample(NativeRollout(policy), problems)) >= 0.95


def test_a_server_that_dies_is_told_of(server: RemoteEngine, policy: Policy, problems: list[Problem]) -> None:
    rollout = VLLMRollout(policy, spec=STARTED, max_slots=48)
    stream = rollout.generate(problems, SAMPLING, seed=3, step=0, stage="zero")
    next(stream)
    assert server.process_id is not None
    os.kill(server.process_id, signal.SIGKILL)
    with pytest.raises(RuntimeError, match="vLLM server at"):
        list(stream)
