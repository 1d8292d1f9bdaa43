"""A lane's share of a call: all that it takes to sample, besides the policy. Plain values, for it may travel."""

from __future__ import annotations

from dataclasses import dataclass

from thinkery.rollout.cohort import Prompt
from thinkery.types import Sampling

# What ends a completion: tokens, and strings.
Stops = tuple[tuple[int, ...], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Share:
    """Prompts, and how they are continued.

    ``max_slots`` is how many completions decode at a time, ``counted_by`` the (seed, stage) of the random numbers,
    ``version`` the policy's.
    """

    prompts: tuple[Prompt, ...]
    sampling: Sampling
    ends: Stops
    max_slots: int
    counted_by: tuple[int, str]
    version: int
