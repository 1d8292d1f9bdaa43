"""Rewards and verifiers by name.

A reward is a callable with TRL's signature, ``f(prompts, completions, completion_ids, **columns)``, one value per
completion, None where it does not apply. Columns are lists, one item per completion: ``reference``, ``verdict``,
``problem_id``, ``domain``, ``level``, ``language``, and the problem's own. A verifier turns a completion and a
reference into a Verdict; ``Problem.verifier`` names it. Left out: rewards from a user's file, rewards that are models.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from thinkery.models.template import Template
from thinkery.rewards.format import format_reward
from thinkery.rewards.math import PendingVerdict, submit_math
from thinkery.rewards.worker import WorkerPool
from thinkery.types import Message, Outcome, UserError, Verdict

Prompt = str | Sequence[Message]
ModelText = str | Sequence[Message]  # TRL gives messages where the prompt was messages


class Reward(Protocol):
    """TRL's reward function."""

    def __call__(
        self,
        prompts: Sequence[Prompt],
        completions: Sequence[ModelText],
        completion_ids: Sequence[Sequence[int]],
        **columns: Sequence[Any],
    ) -> list[float | None]:
        """One value per completion; None where the reward does not apply."""
        ...


class Verifier(Protocol):
    """Begins to grade one completion; never waits."""

    def __call__(
        self, completion: str, reference: str, pool: WorkerPool, *, prefilled_think: bool
    ) -> Verdict | PendingVerdict:
        """The verdict at once, or its promise."""
        ...


def accuracy_reward(
    prompts: Sequence[Prompt],
    completions: Sequence[ModelText],
    completion_ids: Sequence[Sequence[int]],
    **columns: Sequence[Any],
) -> list[float | None]:
    """R_acc of DeepSeek-R1: 1 for a correct final answer, else 0; None where the reference itself is unreadable."""
    return [None if v.outcome is Outcome.GOLD_UNPARSEABLE else float(v.correct) for v in columns["verdict"]]


# What a template decides (where the thinking ends) a reward must not guess: rewards are made for a template.
REWARDS: Mapping[str, Callable[[Template], Reward]] = {
    "accuracy": lambda template: accuracy_reward,
    "format": format_reward,
}
VERIFIERS: Mapping[str, Verifier] = {"math": submit_math}


def make_reward(name: str, template: Template) -> Reward:
    """The reward of that name. Raises ``UserError`` with the names that exist."""
    require_rewards("rewards", [name])
    return REWARDS[name](template)


def require_rewards(field: str, names: Iterable[str]) -> None:
    """Raises ``UserError`` with the rewards that exist if ``field`` names another."""
    for name in names:
        if name not in REWARDS:
            raise UserError(f"{field}: there is no reward {name!r}; known are {', '.join(sorted(REWARDS))}")


def find_verifier(name: str, problem_id: str) -> Verifier:
    """The verifier of that name. Raises ``UserError`` with the names that exist."""
    if name not in VERIFIERS:
        known = ", ".join(sorted(VERIFIERS))
        raise UserError(f"problem {problem_id}: there is no verifier {name!r}; known are {known}")
    return VERIFIERS[name]
