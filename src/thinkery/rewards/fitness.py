"""What can be said of a problem without any completion: does its verifier exist, and can it read the reference?

Asked of every row before the first step. Left out: whether a reference is accepted (``references.py``), and formulas,
which only the workers of ``math`` can read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from thinkery.rewards.answers.options import Options, read_reference
from thinkery.rewards.f1 import read_accepted
from thinkery.rewards.instruction import rules_of
from thinkery.rewards.programs.tests import UnreadableTestsError, parse_tests
from thinkery.rewards.registry import require_verifier
from thinkery.rewards.words import require_language
from thinkery.types import Problem, UserError


def why_unfit(problem: Problem, *, language: bool = False) -> str | None:
    """Why a problem can't be graded; None if it can, as far as can be told. ``language``: it will be told apart."""
    try:
        require_verifier(problem.verifier)
        _READERS.get(problem.verifier, _nothing)(problem)
        if language:
            require_language(problem.language)
    except UnreadableTestsError as error:
        return f"its tests can't be read: {error}"
    except (UserError, ValueError) as error:
        return str(error).removeprefix(f"problem {problem.id}: ")
    return None


def _nothing(problem: Problem) -> None:
    pass


def _choice(problem: Problem) -> None:
    options = Options.of(problem.columns)
    if read_reference(problem.reference, options) is None:
        raise ValueError(f"the reference {problem.reference[:80]!r} is none of its options")


_READERS: Mapping[str, Callable[[Problem], object]] = {
    "code": lambda problem: parse_tests(problem.reference),
    "choice": _choice,
    "instruction": rules_of,
    "f1": lambda problem: read_accepted(problem.reference),
}
