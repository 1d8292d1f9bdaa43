"""The verifier of problems that no rule can check: writing, advice, talk. Models read those (``model``).

Left out: everything that judges.
"""

from __future__ import annotations

from thinkery.models.template import Template
from thinkery.recipe.verification import Verification
from thinkery.types import Outcome, Problem, Verdict

NONE = "none"  # its name in ``Problem.verifier``
_UNCHECKED = Verdict(Outcome.UNCHECKED, "no rule can check this problem")


class NoVerifier:
    """Leaves every completion unjudged."""

    def __init__(self, template: Template, verification: Verification) -> None:
        """Takes what every verifier takes, and needs none of it."""

    def begin(self, completion: str, problem: Problem) -> Verdict:
        """Neither right nor wrong."""
        return _UNCHECKED

    def reference_completion(self, problem: Problem) -> None:
        """There is nothing that must be accepted."""

    def close(self) -> None:
        """Nothing was started."""
