"""A reward worker: holds graders, as an actor on Ray. Left out: which completions it is given (``grading.py``)."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from thinkery.cluster.connect import Here, Home, here, move_in, say
from thinkery.models.template import Template
from thinkery.recipe import RewardSpec
from thinkery.recipe.verification import Verification
from thinkery.rewards.calling import Row, call_rewards
from thinkery.rewards.grader import Grader
from thinkery.rewards.interfaces import Reward, RewardContext, Values
from thinkery.rewards.registry import make_reward
from thinkery.types import Completion, Problem, Verdict


@dataclass(frozen=True)
class GraderSpec:
    """A grader, as a worker makes it. ``number`` tells apart those of a run."""

    number: int
    template: Template
    rewards: Mapping[str, RewardSpec]
    max_completion_length: int
    verification: Verification
    reward_errors: Literal["stop", "zero"]
    reward_timeout_s: float

    def grader(self) -> Grader:
        """Makes it."""
        return Grader(
            self.template,
            self.rewards,
            max_completion_length=self.max_completion_length,
            verification=self.verification,
            reward_errors=self.reward_errors,
            reward_timeout_s=self.reward_timeout_s,
        )


@dataclass(frozen=True)
class Graded:
    """What a worker says of one problem's completions, by index."""

    verdicts_G: tuple[Verdict, ...]
    rewards_G: Mapping[str, tuple[float | None, ...]]


class RewardWorker:
    """See the module."""

    def __init__(self, name: str, home: Home) -> None:
        move_in(home, name)
        self._specs: dict[int, GraderSpec] = {}
        self._graders: dict[int, Grader] = {}
        self._rewards: dict[int, dict[str, Reward]] = {}

    def hello(self) -> Here:
        """Where this worker is."""
        return here()

    def open(self, spec: GraderSpec) -> None:
        """Makes a grader."""
        self._specs[spec.number] = spec
        self._graders[spec.number] = spec.grader()

    def submit(self, number: int, completions: Sequence[tuple[Problem, Completion]]) -> None:
        """Begins to grade them."""
        for problem, completion in completions:
            self._graders[number].submit(problem, completion)

    def collect(
        self, number: int, problems: Sequence[Problem], num_generations: int, step: int | None
    ) -> tuple[list[Graded], Mapping[str, int]]:
        """Verdicts and rewards of the problems, in their order, and how often each reward failed."""
        started, grader = time.perf_counter(), self._graders[number]
        groups = grader.collect(problems, num_generations, step=step)
        say(f"graded {len(groups)} groups of {num_generations} in {time.perf_counter() - started:.2f} s")
        return [Graded(group.verdicts_G, group.rewards_G) for group in groups], grader.errors

    def verdicts(self, number: int, problems: Sequence[Problem], num_generations: int) -> list[tuple[Verdict, ...]]:
        """Verdicts alone."""
        return self._graders[number].verdicts(problems, num_generations)

    def score(
        self, spec: GraderSpec, rows: Sequence[tuple[Problem, Completion, Verdict]], step: int | None
    ) -> tuple[dict[str, Values], dict[str, int]]:
        """The values of a grader's rewards for completions with verdicts: what the worker of a reward model does."""
        if spec.number not in self._rewards:
            context = RewardContext(spec.template, spec.max_completion_length)
            self._rewards[spec.number] = {
                name: make_reward(name, context, one.options) for name, one in spec.rewards.items()
            }
        asked = [name for name, one in spec.rewards.items() if step is None or one.from_step <= step]
        rewards = {name: self._rewards[spec.number][name] for name in asked}
        return call_rewards(
            rewards, [Row(*row) for row in rows], on_error=spec.reward_errors, timeout_s=spec.reward_timeout_s
        )

    def close(self, number: int) -> None:
        """Ends a grader."""
        self._rewards.pop(number, None)
        if (grader := self._graders.pop(number, None)) is not None:
            grader.close()
