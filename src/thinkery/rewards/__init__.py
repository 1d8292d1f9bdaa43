"""Completion -> reward: verifiers, reward functions by name, and the grader that streams completions through them.

Names load when first used: worker processes import modules of this package, and must start without torch, which comes
with the template's package.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from thinkery.rewards.code import grade_code
    from thinkery.rewards.grader import Grader, GraderSpec, group_metrics
    from thinkery.rewards.language import language_proportion
    from thinkery.rewards.math import grade_math
    from thinkery.rewards.references import check_references

__all__ = [
    "Grader",
    "GraderSpec",
    "check_references",
    "grade_code",
    "grade_math",
    "group_metrics",
    "language_proportion",
]

_HOMES = {
    "Grader": "grader",
    "GraderSpec": "grader",
    "check_references": "references",
    "grade_code": "code",
    "grade_math": "math",
    "group_metrics": "grader",
    "language_proportion": "language",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
