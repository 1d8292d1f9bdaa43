"""Problems in flight, sampled by the native engine: interrupted, resumed, saved and restored."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from thinkery.models.loading import Policy, load_policy
from thinkery.problems.source import FileSource
from thinkery.rollout import NativeRollout
from thinkery.stages.sampling import InFlight
from thinkery.types import Ahead, Completion, Problem, Sampling

pytestmark = pytest.mark.slow

G = 3
PROBLEMS = [Problem(f"p{i}", f"What is {i} + {i}?", str(2 * i)) for i in range(12)]


@pytest.fixture(scope="module")
def policy(tiny_model: Path) -> Policy:
    return load_policy(tiny_model, template=None, device="cpu", dtype="float32")


def in_flight(policy: Policy, problems: list[Problem] = PROBLEMS, **ahead: float) -> InFlight:
    return InFlight(
        NativeRollout(policy),
        policy,
        FileSource("mine", problems),
        Sampling(num_generations=G, max_completion_length=40),
        Ahead(**ahead),
        seed=0,
        stage="zero",
    )


def step(one: InFlight, number: int, needed: int, wanted: int) -> tuple[list[Problem], list[Completion]]:
    one.fill(number, needed, wanted)
    finished = list(one.completions(needed))
    return one.take(needed), finished


def test_a_step_of_one_process_is_sampled_to_its_end(policy: Policy) -> None:
    one = in_flight(policy)
    problems, finished = step(one, 0, 4, 4)
    assert problems == FileSource("mine", PROBLEMS).draw(0, 4)
    expected = NativeRollout(policy).generate(problems, one._sampling, seed=0, step=0, stage="zero")
    assert finished == list(expected)
    assert len(one) == 0
    assert one.drawn == 4


def test_what_is_not_finished_in_a_step_is_finished_in_the_next_and_nothing_is_lost_or_doubled(policy: Policy) -> None:
    one = in_flight(policy, oversample=2.0)
    learnt: list[str] = []
    seen: Counter[tuple[str, int]] = Counter()
    interrupted = 0
    for number in range(4):
        problems, finished = step(one, number, 2, 4)
        learnt += [problem.id for problem in problems]
        seen.update((completion.problem_id, completion.index) for completion in finished)
        interrupted += one._is_interrupted
    assert interrupted
    assert len(set(learnt)) == len(learnt) == 8
    assert set(seen.values()) == {1}
    assert all(seen[name, index] for name in learnt for index in range(G))
    assert one.drawn == len(learnt) + len(one)


def test_a_restored_stage_goes_on_with_what_was_under_way(policy: Policy, tmp_path: Path) -> None:
    whole, halved = in_flight(policy, oversample=2.0), in_flight(policy, oversample=2.0)
    for one in (whole, halved):
        step(one, 0, 2, 4)
    assert len(halved) == 2
    halved.save(tmp_path / "sampler")
    resumed = in_flight(policy, oversample=2.0)
    before = resumed.load(tmp_path / "sampler")
    assert before == [completion for one in whole._open.values() for completion in one.completions]
    assert step(resumed, 1, 2, 4) == step(whole, 1, 2, 4)
    assert resumed.drawn == whole.drawn


def test_a_problem_that_is_drawn_again_waits_until_it_is_no_longer_under_way(policy: Policy) -> None:
    one = in_flight(policy, PROBLEMS[:3], oversample=2.0)
    learnt = [problem.id for number in range(6) for problem in step(one, number, 2, 4)[0]]
    assert len(learnt) == 12
    assert max(Counter(learnt).values()) - min(Counter(learnt).values()) <= 2


def test_unsettled_problems_are_not_written(policy: Policy, tmp_path: Path) -> None:
    one = in_flight(policy, async_steps=1)
    one.fill(0, 2, 2)
    one.begin()
    with pytest.raises(AssertionError, match="settle"):
        one.save(tmp_path / "sampler")
    assert len(list(one.settle())) == 2 * G
    one.save(tmp_path / "sampler")
    again = in_flight(policy)
    again.load(tmp_path / "sampler")
    assert step(again, 0, 2, 2)[0] == FileSource("mine", PROBLEMS).draw(0, 2)
