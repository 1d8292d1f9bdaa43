"""How answers are judged: the typed settings of the verifiers, one set for training, sampling and evaluation.

A recipe's ``verification`` section holds them. Left out: the judging itself (``rewards``, ``sandbox``).
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, NonNegativeFloat, PositiveFloat, PositiveInt


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class MathPolicy(_Strict):
    """What makes a mathematical answer the reference.

    ``units``: whether a unit (``cm``, ``dollars``, ``degrees``) must be written. ``optional``: a unit that only one
    side carries is taken for granted, two must be of one dimension and are converted (100 cm is 1 m); ``required``:
    both sides carry the same or none; ``ignored``: units are not compared. Units are those of a list; of a reference
    any word is one.

    ``percent``: what ``50%`` answers. ``either``: 50 and 0.5; ``literal``: 0.5 alone.

    ``order``: of lists without brackets, ``1, 2``, ``any`` or ``same``. Tuples in parentheses always have an order,
    sets in braces never have one.

    ``braces``: of sets, ``optional`` (``1, 2`` answers ``{1, 2}`` and the other way round) or ``required``.

    ``interval_ends``: ``match`` (``[0, 1)`` is not ``(0, 1)``) or ``ignored``.
    """

    units: Literal["optional", "required", "ignored"] = "optional"
    percent: Literal["either", "literal"] = "either"
    order: Literal["any", "same"] = "any"
    braces: Literal["optional", "required"] = "optional"
    interval_ends: Literal["match", "ignored"] = "match"


class CodePolicy(_Strict):
    """What makes a program right, and what it may use.

    ``score``: ``all`` pays for a program that passes every test, ``fraction`` for the share of tests it passes.

    ``time_s``: processor seconds of one test; by the clock, which alone counts for calls, it may take four times as
    long. ``memory_mb``: MiB, of all the program's processes and files together. ``deadline_s``: seconds of one verdict,
    all its tests together.

    ``float_tolerance``: relative to the expected number, and only where that is written as a float.

    ``max_tests``: of more tests, as many are taken evenly from the first to the last.

    ``unsafe_local``: run programs as plain processes of yours where no isolation works. ``fusion_url``: run them on a
    SandboxFusion server instead, for example ``http://localhost:8080``; it can't run unit tests.
    """

    score: Literal["all", "fraction"] = "all"
    time_s: PositiveFloat = 5.0
    memory_mb: PositiveInt = 512
    deadline_s: PositiveFloat = 30.0
    float_tolerance: NonNegativeFloat = 1e-6
    max_tests: PositiveInt = 100
    unsafe_local: bool = False
    fusion_url: str | None = None


class Verification(_Strict):
    """The settings of all verifiers."""

    math: MathPolicy = MathPolicy()
    code: CodePolicy = CodePolicy()
    deadline_s: PositiveFloat = 5.0  # of processor time, of one symbolic verdict
    step_deadline_s: PositiveFloat = 60.0  # how long a step waits for verdicts after its last completion
    workers: PositiveInt = 2  # processes for verdicts that need one
