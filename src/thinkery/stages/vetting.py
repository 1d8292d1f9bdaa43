"""What a stage knows of its problems before it samples: can they be graded, and is there room for an answer?

Handed to the source, which reads and vets every row before it hands one out. Left out: what a row says (``problems``),
and whether references are accepted (``parts.py``).
"""

from __future__ import annotations

from collections.abc import Collection

from thinkery.models.checking import Window
from thinkery.models.loading import Policy
from thinkery.problems.source import Vet
from thinkery.recipe import RolloutSpec
from thinkery.rewards.fitness import why_unfit
from thinkery.types import Problem


def vet_for(
    policy: Policy, max_completion_length: int, *, rewards: Collection[str] = (), rollout: RolloutSpec | None = None
) -> Vet:
    """Why a problem is none for this policy: its verifier, its reference, its language where a reward reads it, its
    length with the template.
    """
    context = getattr(policy.model.config, "max_position_embeddings", None)
    if rollout is not None and rollout.context is not None:
        context = rollout.context
    window = Window(policy.tokenizer, policy.template, context)

    def vet(problem: Problem) -> str | None:
        reason = why_unfit(problem, language="language" in rewards)
        return reason or window.why_too_long(problem.prompt, max_completion_length)

    return vet
