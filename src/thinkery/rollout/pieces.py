"""Beginnings of completions: what an interrupted call had sampled, for a later one to go on from.

A piece names its completion by (problem, index, step): with them its random numbers go on where they stopped, whoever
continues it. Its tokens keep the log-probabilities under which they were sampled, under whatever weights the rest is.
Left out: where pieces are kept between two calls (the stages know).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from thinkery.types import Completion, Problem, Sampling


@dataclass(frozen=True, slots=True)
class Piece:
    """The beginning of a completion; without tokens it is one that has not begun.

    ``step`` is the one whose random numbers it draws. ``policy_version`` sampled its first token; None before that.
    """

    problem_id: str
    index: int
    step: int
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    policy_version: int | None = None


class Resumable(Protocol):
    """A rollout whose calls can be cut short and continued. ``left`` is what the last call did not finish."""

    @property
    def left(self) -> Sequence[Piece]:
        """The unfinished completions of the last call, once its iterator is exhausted."""
        ...

    def go_on(
        self, problems: Sequence[Problem], pieces: Sequence[Piece], sampling: Sampling, *, seed: int, stage: str
    ) -> Iterator[Completion]:
        """Finishes the pieces, whose problems are ``problems``, and yields them as they finish."""
        ...

    def cut(self) -> None:
        """Ends the call under way soon, from any thread: its iterator runs out, and ``left`` is what is missing."""
        ...


def fresh(problems: Iterable[Problem], num_generations: int, step: int) -> list[Piece]:
    """The completions of a step's problems, none of them begun."""
    return [Piece(problem.id, index, step) for problem in problems for index in range(num_generations)]
