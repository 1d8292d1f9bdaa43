"""Completion -> reward: verifiers, reward functions by name, and the grader that streams completions through them.

Names load when first used: worker processes import modules of this room, and must start without torch, which comes
with the template's room.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from thinkery.rewards.grader import Grader, group_metrics
    from thinkery.rewards.math import grade_math

__all__ = ["Grader", "grade_math", "group_metrics"]

_HOMES = {"Grader": "grader", "group_metrics": "grader", "grade_math": "math"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
