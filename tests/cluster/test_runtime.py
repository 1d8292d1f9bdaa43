"""Workers on a real Ray, against the same work in one process; and the same work while workers die."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from thinkery.cluster.runtime import ClusterPolicy, ClusterRuntime
from thinkery.cluster.worker_pool import Worker
from thinkery.machine.clock import Clock
from thinkery.models.loading import Policy, load_policy
from thinkery.problems.source import open_source
from thinkery.recipe import ProblemSpec, RewardSpec
from thinkery.recipe.verification import Verification
from thinkery.rewards.grader import Grader, GraderSpec
from thinkery.rollout import NativeRollout, fresh
from thinkery.training.learner import Learner, LearnerConfig, Sample
from thinkery.training.sft import Example, SFTConfig, SupervisedLearner
from thinkery.types import Completion, LearnerLost, Problem, Sampling, UserError

pytestmark = pytest.mark.slow

PROBLEMS = open_source(ProblemSpec(source="mini", split="train", levels=[1])).fixed(8)
SAMPLING = Sampling(num_generations=4, max_completion_length=96)
CONFIG = LearnerConfig(learning_rate=1e-3, beta=0.02, num_minibatches=2, total_steps=4, max_completion_length=96)


def handle(runtime: ClusterRuntime, model: Path) -> ClusterPolicy:
    return runtime.policy(str(model), template=None, device="cpu", dtype="float32")


def local(model: Path | str) -> Policy:
    return load_policy(model, template=None, device="cpu", dtype="float32")


def in_order(completions: Iterable[Completion]) -> list[Completion]:
    return sorted(completions, key=lambda completion: (completion.problem_id, completion.index))


def sample(policy: Policy, problems: list[Problem] = PROBLEMS) -> list[Completion]:
    """What two workers of one process sample."""
    rollout = NativeRollout(policy, workers=2)
    return in_order(rollout.generate(problems, SAMPLING, seed=5, step=2, stage="zero"))


def samples_of(completions: list[Completion]) -> list[Sample]:
    return [
        Sample(one.prompt_ids, one.token_ids, one.logprobs, (1.0, -0.5, 0.25, 0.0)[one.index % 4])
        for one in completions
    ]


def some_worker(runtime: ClusterRuntime, kind: str) -> Worker:
    return runtime._pools[kind].ready()[-1]


def kill(worker: Worker, how: int = signal.SIGKILL) -> None:
    os.kill(worker.pid, how)


def test_rollout_workers_sample_what_as_many_workers_do_bit_for_bit(runtime: ClusterRuntime, tiny_model: Path) -> None:
    rollout = runtime.rollout(handle(runtime, tiny_model), max_slots=512)
    found = rollout.generate(PROBLEMS, SAMPLING, seed=5, step=2, stage="zero")
    assert in_order(found) == sample(local(tiny_model))


def test_a_mistake_in_the_sampling_comes_out_as_the_users_mistake_that_it_is(
    runtime: ClusterRuntime, tiny_model: Path
) -> None:
    rollout = runtime.rollout(handle(runtime, tiny_model), max_slots=512)
    with pytest.raises(UserError, match="temperature is -1"):
        list(rollout.generate(PROBLEMS, replace(SAMPLING, temperature=-1.0), seed=0, step=0, stage="s"))


def test_a_call_that_was_interrupted_is_resumed_where_it_was(runtime: ClusterRuntime, tiny_model: Path) -> None:
    rollout = runtime.rollout(handle(runtime, tiny_model), max_slots=512)
    finished, partials = [], fresh(PROBLEMS, SAMPLING.num_generations, 2)
    flow = rollout.resume(PROBLEMS, partials, SAMPLING, seed=5, stage="zero")
    rollout.interrupt()
    finished += flow
    unfinished = list(rollout.unfinished)
    assert len(finished) + len(unfinished) == len(partials)
    finished += rollout.resume(PROBLEMS, unfinished, SAMPLING, seed=5, stage="zero")
    assert [one.token_ids for one in in_order(finished)] == [one.token_ids for one in sample(local(tiny_model))]


def test_two_ranks_learn_what_one_process_learns_and_workers_sample_from_it(
    runtime: ClusterRuntime, tiny_model: Path, tmp_path: Path
) -> None:
    policy, alone = handle(runtime, tiny_model), local(tiny_model)
    learner, one = runtime.learner(policy, CONFIG, Clock()), Learner(alone, CONFIG)
    rollout = runtime.rollout(policy, max_slots=512)
    for step in range(3):
        completions = in_order(rollout.generate(PROBLEMS, SAMPLING, seed=5, step=step, stage="zero"))
        assert {completion.policy_version for completion in completions} == {step}
        told, expected = learner.update(samples_of(completions), step), one.update(samples_of(completions), step)
        assert {name: told[name] for name in expected} == pytest.approx(expected, rel=1e-5, abs=1e-7)
    learner.export(tmp_path / "model")
    whole = AutoModelForCausalLM.from_pretrained(tmp_path / "model").state_dict()
    weights = torch.cat([tensor.flatten() for tensor in alone.model.state_dict().values()])
    found = torch.cat([whole[name].flatten() for name in alone.model.state_dict()])
    assert (found - weights).norm() <= 1e-5 * weights.norm()
    found_now = in_order(rollout.generate(PROBLEMS, SAMPLING, seed=5, step=2, stage="zero"))
    expected_now = sample(local(tmp_path / "model"))
    assert found_now == [replace(completion, policy_version=3) for completion in expected_now]


def test_a_saved_learner_goes_on_as_one_process_and_the_other_way_round(
    runtime: ClusterRuntime, tiny_model: Path, tmp_path: Path
) -> None:
    samples = samples_of(sample(local(tiny_model)))
    policy = handle(runtime, tiny_model)
    learner = runtime.learner(policy, CONFIG, Clock())
    learner.update(samples, 0)
    learner.save(tmp_path / "ranks")
    after = learner.update(samples, 1)
    alone = Learner(local(tiny_model), CONFIG)
    alone.load(tmp_path / "ranks")
    assert alone.policy.version == 1
    expected = alone.update(samples, 1)
    assert {name: after[name] for name in expected} == pytest.approx(expected, rel=1e-4, abs=1e-6)
    learner.load(tmp_path / "ranks")
    assert policy.version == 1
    assert learner.update(samples, 1)["loss"] == pytest.approx(after["loss"], rel=1e-6)


def test_two_ranks_fit_demonstrations_as_one_process_does(
    runtime: ClusterRuntime, tiny_model: Path, tmp_path: Path
) -> None:
    examples = [Example(one.prompt_ids, one.token_ids) for one in sample(local(tiny_model))]
    config = SFTConfig(learning_rate=1e-3, batch_size=8)
    policy = handle(runtime, tiny_model)
    found, expected = (
        runtime.supervised(policy, examples, config),
        SupervisedLearner(local(tiny_model), examples, config),
    )
    assert found.total_updates == expected.total_updates
    for step in range(2):
        assert found.batch(step) == expected.batch(step)
        one, other = found.update(step), expected.update(step)
        assert {name: one[name] for name in other} == pytest.approx(other, rel=1e-5)
    assert found.tokens == expected.tokens


def test_reward_workers_grade_as_one_process_does_also_when_one_dies(runtime: ClusterRuntime, tiny_model: Path) -> None:
    policy = local(tiny_model)
    rewards = {"accuracy": RewardSpec(), "format": RewardSpec(weight=0.5), "language": RewardSpec(from_step=3)}
    common = {
        "max_completion_length": 96,
        "verification": Verification(),
        "reward_errors": "stop",
        "reward_timeout_s": 60.0,
    }
    by_id = {problem.id: problem for problem in PROBLEMS}
    completions = sample(policy)
    with (
        Grader(GraderSpec(policy.template, rewards, **common)) as expected,
        runtime.grader(GraderSpec(policy.template, rewards, **common)) as found,
    ):
        for step, dies in ((0, False), (3, True)):
            for completion in completions:
                expected.submit(by_id[completion.problem_id], completion)
                found.submit(by_id[completion.problem_id], completion)
            if dies:
                kill(some_worker(runtime, "reward"))
            assert found.collect(PROBLEMS, 4, step=step) == expected.collect(PROBLEMS, 4, step=step)
        for completion in completions:
            expected.submit(by_id[completion.problem_id], completion)
            found.submit(by_id[completion.problem_id], completion)
        assert found.verdicts(PROBLEMS, 4) == expected.verdicts(PROBLEMS, 4)
        with pytest.raises(ValueError, match="never submitted"):
            found.collect(PROBLEMS, 4)


def test_what_a_dead_rollout_worker_had_not_delivered_is_sampled_again_and_nothing_else(
    runtime: ClusterRuntime, tiny_model: Path, notes: list[str]
) -> None:
    rollout = runtime.rollout(handle(runtime, tiny_model), max_slots=512)
    flow = rollout.generate(PROBLEMS, SAMPLING, seed=5, step=2, stage="zero")
    kill(some_worker(runtime, "rollout"))
    found = in_order(flow)
    expected = sample(local(tiny_model))
    assert [one.token_ids for one in found] == [one.token_ids for one in expected]
    assert any(line.startswith("rollout-1: rollout-1 is gone") for line in notes)
    assert runtime._failures.counts["rollout"] == 1


def test_a_worker_that_hangs_is_replaced_like_a_dead_one(
    runtime: ClusterRuntime, tiny_model: Path, notes: list[str]
) -> None:
    rollout = runtime.rollout(handle(runtime, tiny_model), max_slots=512)
    list(rollout.generate(PROBLEMS[:2], SAMPLING, seed=5, step=0, stage="zero"))
    rollout._timeout_s, rollout._poll_s = 3.0, 0.5
    worker = some_worker(runtime, "rollout")
    kill(worker, signal.SIGSTOP)
    found = in_order(rollout.generate(PROBLEMS, SAMPLING, seed=5, step=2, stage="zero"))
    assert [one.token_ids for one in found] == [one.token_ids for one in sample(local(tiny_model))]
    assert any(line.startswith(f"{worker.name}: no answer for 4 s") for line in notes)


def test_a_learner_that_dies_is_said_to_be_lost_and_a_new_one_goes_on_from_the_checkpoint(
    runtime: ClusterRuntime, tiny_model: Path, tmp_path: Path
) -> None:
    samples = samples_of(sample(local(tiny_model)))
    learner = runtime.learner(handle(runtime, tiny_model), CONFIG, Clock())
    learner.update(samples, 0)
    learner.save(tmp_path / "learner")
    expected = learner.update(samples, 1)
    kill(some_worker(runtime, "learner"))
    with pytest.raises(LearnerLost):
        learner.update(samples, 2)
    again = runtime.learner(handle(runtime, tiny_model), CONFIG, Clock())
    again.load(tmp_path / "learner")
    assert again.update(samples, 1)["loss"] == pytest.approx(expected["loss"], rel=1e-5)


def test_every_worker_writes_its_log_into_the_run_folder(runtime: ClusterRuntime) -> None:
    logs = {path.name: path.read_text() for path in (runtime._home.run / "workers").iterdir()}
    names = {f"{kind}-{number}.log" for kind in ("learner", "rollout", "reward") for number in range(2)}
    assert set(logs) == names
    assert "completions" in logs["rollout-0.log"]
    assert "graded" in logs["reward-0.log"]
    assert "update 0 in" in logs["learner-0.log"]
