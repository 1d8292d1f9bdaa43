"""How answers are judged: the typed settings of the verifiers, one set for training, sampling and evaluation.

A recipe's ``verification`` section holds them. Left out: the judging itself (``rewards``, ``sandbox``).
"""

from __future__ import annotations

from typing import Literal

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from thinkery.recipe.base import Strict


class MathPolicy(Strict):
    """What makes a mathematical answer the reference.

    Units are those of a list, of a reference any word; two of one dimension are converted (100 cm is 1 m). Tuples in
    parentheses always have an order, sets in braces never have one.
    """

    units: Literal["optional", "required", "ignored"] = "optional"
    """A unit on one side alone is taken for granted (optional) or wrong (required), or units are not compared."""
    percent: Literal["either", "literal"] = "either"
    """`50%` answers 50 and 0.5 (either), or 0.5 alone (literal)."""
    order: Literal["any", "same"] = "any"
    """Lists without brackets, such as `1, 2`, may be in any order or must be in the same."""
    braces: Literal["optional", "required"] = "optional"
    """`1, 2` answers the set `{1, 2}` (optional), or the braces must be written (required)."""
    interval_ends: Literal["match", "ignored"] = "match"
    """`[0, 1)` is not `(0, 1)` (match), or the ends' kind is ignored."""


class CodePolicy(Strict):
    """What makes a program right, and what it may use."""

    score: Literal["all", "fraction"] = "all"
    """A program is paid for passing every test, or for the fraction of the tests that it passes."""
    time_s: PositiveFloat = 5.0
    """Processor seconds of one test; by the clock, which alone counts for calls, four times as many."""
    memory_mb: PositiveInt = 512
    """MiB of all the program's processes and files together."""
    deadline_s: PositiveFloat = 30.0
    """Seconds of one verdict, all its tests together."""
    float_tolerance: NonNegativeFloat = 1e-6
    """The relative distance at which floats are equal, where the expected number is written as one."""
    max_tests: PositiveInt = 100
    """Tests that are run at most, taken evenly from the first to the last."""
    unsafe_local: bool = False
    """Programs run as plain processes of yours where no isolation works; only `--unsafe-local` can allow it."""
    fusion_url: str | None = None
    """A SandboxFusion server that runs the programs, but no unit tests, such as `http://localhost:8080`."""


class Verification(Strict):
    """The settings of all verifiers."""

    math: MathPolicy = MathPolicy()
    """What makes a mathematical answer the reference."""
    code: CodePolicy = CodePolicy()
    """What makes a program right, and what it may use."""
    deadline_s: PositiveFloat = 5.0
    """Seconds of processor time of one symbolic verdict."""
    step_deadline_s: PositiveFloat = 60.0
    """Seconds that a step waits for verdicts after its last completion."""
    workers: PositiveInt = 2
    """Processes for verdicts that need one."""
