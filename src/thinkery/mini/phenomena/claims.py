"""What a phenomenon claims, tested: a claim holds or not, says which test it took and, where it fails, why.

A phenomenon holds if all its claims do. Every claim is tested at 95 %; where one of two claims is enough, each is
tested at 97.5 % (Bonferroni). Left out: the claims themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from thinkery.evaluation.intervals import Estimate, tenths, trend_test
from thinkery.evaluation.samples import Floats
from thinkery.mini.phenomena.ladder import runs_of

EITHER = 0.975  # confidence of each of two claims of which one is enough


@dataclass(frozen=True)
class Claim:
    """A tested claim: whether it holds, the test in words with its figures, and why it doesn't hold ("" if it does)."""

    holds: bool
    test: str
    why: str = ""


@dataclass(frozen=True)
class Finding:
    """What the runs say of a phenomenon: its claims, and the figures behind them (flat, JSON)."""

    claims: Sequence[Claim]
    here: Mapping[str, Any]

    @property
    def holds(self) -> bool:
        """Whether all claims hold."""
        return all(claim.holds for claim in self.claims)

    @property
    def test(self) -> str:
        """All tests, in words."""
        return "; ".join(claim.test for claim in self.claims)

    @property
    def why(self) -> str:
        """Why it does not hold; "" if it does."""
        return "; ".join(claim.why for claim in self.claims if not claim.holds)


def above_zero(what: str, found: Estimate, over: str, confidence: float = 0.95) -> Claim:
    """The claim that an estimate is greater than zero, in all runs together and in each by itself."""
    test = (
        f"{what} {written(found.value)}, {100 * confidence:g} % interval {written(found.low)} to {written(found.high)} "
        f"(paired bootstrap over {over})"
    )
    if found.above_zero:
        return Claim(True, test)
    if found.high < 0:
        why = f"{what} is below zero: it goes the other way"
    elif found.low > 0 and min(found.by_run) <= 0:
        why = f"the runs disagree on {what}: {', '.join(map(written, found.by_run))}"
    else:
        why = f"the interval of {what} reaches zero: its direction can't be told"
    return Claim(False, test, why)


def trend(what: str, curves: Sequence[Floats], *, up: bool, seed: int, confidence: float = 0.95) -> Claim:
    """The claim that a curve (steps,) rises, or falls: Kendall's tau over the means of its tenths, all runs together.

    Tenths, because neighbouring steps of a training curve hang together.
    """
    found = trend_test([tenths(curve) for curve in curves], seed=seed)
    test = (
        f"{what} {'rises' if up else 'falls'} over the steps: Kendall's tau {written(found.tau)}, p = {found.p:.2g} "
        f"(permutation of the tenths of {runs_of(len(curves))})"
    )
    if found.p < 1 - confidence and (found.tau > 0) == up:
        return Claim(True, test)
    if found.p < 1 - confidence:
        return Claim(False, test, f"{what} goes the other way")
    return Claim(False, test, f"{what} has no trend that could be told from chance")


def either(first: Claim, second: Claim) -> Claim:
    """The claim that one of two holds, each tested at ``EITHER``."""
    test = f"either {first.test}, or {second.test}"
    return Claim(first.holds or second.holds, test, f"neither of two holds: {first.why}, and {second.why}")


def with_interval(name: str, found: Estimate) -> dict[str, Any]:
    """An estimate as figures: ``name`` and ``name_ci95``; null where it is unbounded, which JSON can't say."""
    value, low, high = (end if np.isfinite(end) else None for end in (found.value, found.low, found.high))
    return {name: value, f"{name}_ci95": [low, high]}


def written(value: float) -> str:
    """A figure in a sentence: signed, three significant digits."""
    return f"{value:+.3g}" if np.isfinite(value) else "unbounded"
