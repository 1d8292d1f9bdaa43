"""Calls that are cut short and resumed, against calls that nobody disturbs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from thinkery.models.loading import Policy
from thinkery.rollout import NativeRollout, PartialCompletion, fresh
from thinkery.types import Completion, Problem, Sampling

PROBLEMS = [Problem(f"p{i}", prompt, "") for i, prompt in enumerate(["ab", "cde+f", "g", "hij*k=1", "12"])]
SAMPLING = Sampling(num_generations=6, max_completion_length=70)


def by_key(completions: list[Completion]) -> dict[tuple[str, int], Completion]:
    return {(completion.problem_id, completion.index): completion for completion in completions}


def interrupt_after(rollout: NativeRollout, partials: list[PartialCompletion], first: int) -> list[Completion]:
    """What a call gives that is cut after so many completions."""
    finished = []
    for completion in rollout.resume(PROBLEMS, partials, SAMPLING, seed=1, stage="zero"):
        finished.append(completion)
        if len(finished) == first:
            rollout.interrupt()
    return finished


@pytest.mark.parametrize(("workers", "slots"), [(1, 512), (1, 8), (2, 512)])
def test_a_call_that_was_interrupted_is_resumed_as_if_nothing_had_been(
    policy: Policy, workers: int, slots: int
) -> None:
    whole = by_key(
        list(NativeRollout(policy, max_slots=slots).generate(PROBLEMS, SAMPLING, seed=1, step=3, stage="zero"))
    )
    rollout = NativeRollout(policy, max_slots=slots, workers=workers)
    finished, partials, interruptions = [], fresh(PROBLEMS, SAMPLING.num_generations, 3), 0
    while partials:
        finished += interrupt_after(rollout, partials, 1)
        partials, interruptions = list(rollout.unfinished), interruptions + 1
    assert interruptions > 2 or workers > 1  # more than one run ahead of the caller, as far as they get
    found = by_key(finished)
    assert found.keys() == whole.keys()
    for key, completion in whole.items():
        assert replace(found[key], logprobs=()) == replace(completion, logprobs=())
        assert found[key].logprobs == pytest.approx(completion.logprobs, abs=1e-5)
    assert len(finished) == len(found)


def test_tokens_keep_the_log_probabilities_and_the_version_that_they_were_sampled_under(policy: Policy) -> None:
    rollout = NativeRollout(policy)
    interrupt_after(rollout, fresh(PROBLEMS, SAMPLING.num_generations, 0), 1)
    begun = [partial for partial in rollout.unfinished if partial.token_ids]
    assert begun
    assert all(partial.policy_version == 0 for partial in begun)
    for parameter in policy.model.parameters():
        parameter.data.mul_(0.5)
    policy.version = 1
    finished = by_key(list(rollout.resume(PROBLEMS, rollout.unfinished, SAMPLING, seed=1, stage="zero")))
    for partial in begun:
        completion = finished[partial.problem_id, partial.index]
        length = len(partial.token_ids)
        assert completion.token_ids[:length] == partial.token_ids
        assert completion.logprobs[:length] == partial.logprobs
        assert completion.policy_version == 0
        assert len(completion.logprobs) == len(completion.token_ids) <= SAMPLING.max_completion_length


def test_a_stop_string_that_the_cut_went_through_still_ends_the_completion(policy: Policy) -> None:
    sampling = Sampling(num_generations=40, max_completion_length=40)
    whole = list(NativeRollout(policy).generate(PROBLEMS[:1], sampling, seed=0, step=0, stage="s"))
    example = next(completion for completion in whole if len(completion.text) == 40)
    stop = example.text[20:23]
    stopped = replace(sampling, stop_strings=(stop,))
    end = example.text.index(stop) + len(stop)
    before = PartialCompletion("p0", example.index, 0, example.token_ids[: end - 1], example.logprobs[: end - 1], 0)
    (completion,) = NativeRollout(policy).resume(PROBLEMS[:1], [before], stopped, seed=0, stage="s")
    assert completion.finish_reason == "stop"
    assert completion.text == example.text[: end - len(stop)]
    assert completion.token_ids == example.token_ids[:end]


def test_only_what_is_asked_for_is_sampled(policy: Policy) -> None:
    partials = [PartialCompletion("p1", 4, 0), PartialCompletion("p0", 0, 0)]
    finished = list(NativeRollout(policy).resume(PROBLEMS[:2], partials, SAMPLING, seed=0, stage="s"))
    assert {(completion.problem_id, completion.index) for completion in finished} == {("p1", 4), ("p0", 0)}
