"""A reward worker: holds graders, as an actor on Ray. Left out: which completions it is given (``grading.py``)."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from thinkery.cluster.connect import Here, Home, here, move_in, say
from thinkery.rewards.calling import GradedRow, call_rewards
from thinkery.rewards.grader import Grader, GraderSpec
from thinkery.rewards.interfaces import Reward, RewardContext, Values
from thinkery.rewards.registry import make_reward
from thinkery.types import Completion, Problem, Verdict


@dataclass(frozen=True)
class Graded:
    """What a worker says of one problem's completions, by index."""

    verdicts_G: tuple[Verdict, ...]
    rewards_G: Mapping[str, tuple[float | None, ...]]


Answer = tuple[list[Graded], Mapping[str, int], Sequence[str]]  # errors by reward, ends of their process


class RewardWorker:
    """See the module."""

    def __init__(self, name: str, home: Home) -> None:
        move_in(home, name)
        self._graders: dict[int, Grader] = {}
        self._rewards: dict[int, dict[str, Reward]] = {}

    def hello(self) -> Here:
        """Where this worker is."""
        return here()

    def open(self, number: int, spec: GraderSpec) -> None:
        """Makes a grader; ``number`` tells apart those of a run."""
        self._graders[number] = Grader(spec)

    def submit(self, number: int, completions: Sequence[tuple[Problem, Completion]]) -> None:
        """Begins to grade them."""
        for problem, completion in completions:
            self._graders[number].submit(problem, completion)

    def collect(self, number: int, problems: Sequence[Problem], num_generations: int, step: int | None) -> Answer:
        """Verdicts and rewards of the problems, in their order; how often each reward failed, and their process."""
        started, grader = time.perf_counter(), self._graders[number]
        groups = grader.collect(problems, num_generations, step=step)
        say(f"graded {len(groups)} groups of {num_generations} in {time.perf_counter() - started:.2f} s")
        return [Graded(group.verdicts_G, group.rewards_G) for group in groups], grader.errors, grader.process_ends

    def verdicts(self, number: int, problems: Sequence[Problem], num_generations: int) -> list[tuple[Verdict, ...]]:
        """Verdicts alone."""
        return self._graders[number].verdicts(problems, num_generations)

    def score(
        self, number: int, spec: GraderSpec, rows: Sequence[tuple[Problem, Completion, Verdict]], step: int | None
    ) -> tuple[dict[str, Values], dict[str, int]]:
        """The values of a grader's rewards for completions with verdicts: what the worker of a reward model does."""
        if number not in self._rewards:
            context = RewardContext(spec.template, spec.max_completion_length)
            self._rewards[number] = {
                name: make_reward(name, context, one.options) for name, one in spec.rewards.items()
            }
        asked = [name for name, one in spec.rewards.items() if step is None or one.from_step <= step]
        rewards = {name: self._rewards[number][name] for name in asked}
        return call_rewards(
            rewards, [GradedRow(*row) for row in rows], on_error=spec.reward_errors, timeout_s=spec.reward_timeout_s
        )

    def close(self, number: int) -> None:
        """Ends a grader."""
        self._rewards.pop(number, None)
        if (grader := self._graders.pop(number, None)) is not None:
            grader.close()
