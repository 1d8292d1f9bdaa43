"""Calls to workers, each with a deadline and errors in plain words; and which policy a worker should load.

Left out: the weights that a learner has made of it since (``weights.py``).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ray
import torch
from ray.exceptions import GetTimeoutError, RayError, RayTaskError
from transformers import GenerationConfig

from thinkery.models.loading import Policy, load_policy
from thinkery.models.template import Template
from thinkery.recipe.base import Dtype


@dataclass(frozen=True)
class Load:
    """A policy to be loaded by a worker. ``number`` tells apart those that a run has opened."""

    number: int
    place: str
    template: Template
    device: str
    dtype: Dtype
    generation: GenerationConfig | None  # as the driver has it: a stage may have added what ends a completion

    def policy(self, *, device: str | None = None) -> Policy:
        """Loads it; ``device`` instead of its own."""
        policy = load_policy(self.place, template=self.template, device=device or self.device, dtype=self.dtype)
        if self.generation is not None:
            policy.model.generation_config = self.generation
        return policy


def narrow(threads: int) -> None:
    """Gives torch so many threads in the calling one and those that it starts."""
    torch.set_num_threads(threads)


class WorkerLost(Exception):  # noqa: N818  (who calls decides whether that is an error)
    """A worker is gone, or as good as gone. The message says which, and how that showed."""


def settled(ref: Any, timeout_s: float, what: str) -> Any:
    """The answer to a call, waited for ``timeout_s`` seconds; ``what`` says in an error whose it is."""
    try:
        return ray.get(ref, timeout=timeout_s)
    except GetTimeoutError:
        raise WorkerLost(f"{what} gave no answer within {timeout_s:g} s") from None
    except RayTaskError as error:
        if isinstance(error.cause, Exception):
            raise error.cause from (None if _is_plain(error.cause) else error)
        raise
    except RayError as error:
        raise WorkerLost(f"{what} is gone ({type(error).__name__})") from None


def all_settled(refs: Sequence[Any], timeout_s: float, names: Sequence[str]) -> list[Any]:
    """The answers to calls that go on together, in their order; the first that fails is raised at once."""
    deadline = time.monotonic() + timeout_s
    place = {ref: i for i, ref in enumerate(refs)}
    answers: list[Any] = [None] * len(refs)
    waiting = list(refs)
    while waiting:
        ready, waiting = ray.wait(waiting, num_returns=1, timeout=max(0.0, deadline - time.monotonic()))
        if not ready:
            missing = ", ".join(names[place[ref]] for ref in waiting)
            raise WorkerLost(f"no answer within {timeout_s:g} s from {missing}")
        index = place[ready[0]]
        answers[index] = settled(ready[0], timeout_s, names[index])
    return answers


def is_ready(ref: Any) -> bool:
    """Whether the answer is there by now, or the news that it never will be."""
    ready, _ = ray.wait([ref], timeout=0)
    return bool(ready)


def _is_plain(error: BaseException) -> bool:
    from thinkery.types import UserError

    return isinstance(error, UserError | WorkerLost)
