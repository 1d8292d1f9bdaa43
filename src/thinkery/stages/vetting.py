"""What a stage knows of its problems before it samples: can they be graded, and is there room for an answer?

Handed to the source, which reads and vets every row before it hands one out. Left out: what a row says (``problems``),
and whether references are accepted (``references.py``).
"""

from __future__ import annotations

from collections.abc import Collection

from thinkery.models.loading import Policy
from thinkery.problems.source import Vet
from thinkery.recipe import VLLMSpec
from thinkery.rewards.fitness import why_unfit
from thinkery.types import Problem


def vet_for(
    policy: Policy,
    max_completion_length: int,
    *,
    rewards: Collection[str] = (),
    vllm: VLLMSpec | None = None,
    graded: bool = True,
) -> Vet:
    """Why a problem is none for this policy: its verifier, its reference, its language where the reward reads it, its
    length with the template. ``graded``: a verifier judges it.
    """
    context = getattr(policy.model.config, "max_position_embeddings", None)
    if vllm is not None and vllm.max_model_len is not None:
        context = vllm.max_model_len

    def vet(problem: Problem) -> str | None:
        reason = why_unfit(problem, language="language" in rewards) if graded else None
        return reason or _why_too_long(policy, problem, max_completion_length, context)

    return vet


def _why_too_long(policy: Policy, problem: Problem, max_completion_length: int, context: int | None) -> str | None:
    if context is None:
        return None
    rendered = policy.template.render(problem.prompt)
    if len(rendered.encode()) + max_completion_length <= context:  # no tokenizer here makes more tokens than bytes
        return None
    length = len(policy.encode_prompt(problem))
    if length + max_completion_length <= context:
        return None
    return (
        f"its prompt of {length:,} tokens and max_completion_length {max_completion_length:,} exceed the model's "
        f"context of {context:,}"
    )
