"""Policy -> completions, streamed as they finish."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thinkery.plugins import resolve
from thinkery.recipe.rollout import NativeRolloutSpec, RolloutSpec
from thinkery.rollout.base import PartialCompletion, ResumableRollout, fresh
from thinkery.rollout.native.engine import NativeRollout

if TYPE_CHECKING:
    from thinkery.models.loading import Policy

__all__ = ["NativeRollout", "PartialCompletion", "ResumableRollout", "fresh", "open_rollout"]


def open_rollout(policy: Policy, max_slots: int, spec: RolloutSpec | None) -> ResumableRollout:
    """The rollout that a recipe names, ``max_slots`` completions at a time; the native engine where it names none."""
    opener = NativeRolloutSpec.opener if spec is None else spec.opener
    rollout: ResumableRollout = resolve(opener)(policy, max_slots, spec)
    return rollout
