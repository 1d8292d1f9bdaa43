"""How long completions are: a lognormal spread around a mean, cut at the limit.

The spread is measured: the standard deviation of log(length) within a step of the miniature's RL stages, two seeds,
0.41 to 0.69 with a median of 0.58; it neither grew with the mean nor fell. That it is so at other scales is an
assumption. Left out: that lengths of one problem's completions resemble one another, and that wrong answers are longer.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist

from thinkery.models.flops import Lengths

SPREAD = 0.6  # of log(length)
_NORMAL = NormalDist()


@dataclass(frozen=True)
class LengthSpread:
    """Lengths in tokens with a ``mean`` (after the cut), a ``limit`` and a ``spread``: 0 makes all of them equal."""

    mean: float
    limit: int
    spread: float = SPREAD

    def at(self, quantile: float) -> int:
        """The length that this share of the completions stays below."""
        return self._length(_NORMAL.inv_cdf(quantile))

    def quantiles(self, number: int) -> list[int]:
        """So many lengths, evenly spread over the distribution, the longest first."""
        return [self.at((index + 0.5) / number) for index in reversed(range(number))]

    def draw(self, random_numbers: random.Random) -> int:
        """One length."""
        return self._length(random_numbers.gauss(0.0, 1.0))

    def _length(self, deviation: float) -> int:
        if math.isinf(self._location):
            return self.limit
        exponent = min(self._location + self.spread * deviation, math.log(self.limit))
        return min(self.limit, max(1, round(math.exp(exponent))))

    @cached_property
    def _location(self) -> float:
        """The mean of log(length) before the cut, so that the mean after it is as asked; infinite if all are cut."""
        if self.mean >= self.limit:
            return math.inf
        if self.spread == 0:
            return math.log(self.mean)
        low, high = math.log(self.mean) - self.spread**2, math.log(self.limit) + 10 * self.spread
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if self._mean_at(middle) < self.mean else (low, middle)
        return low

    def _mean_at(self, location: float) -> float:
        """E[min(X, limit)] of a lognormal X."""
        reach = (math.log(self.limit) - location) / self.spread
        below = math.exp(location + self.spread**2 / 2) * _NORMAL.cdf(reach - self.spread)
        return below + self.limit * (1 - _NORMAL.cdf(reach))


def groups_of(lengths: Sequence[int], prompt: int, group: int) -> list[Lengths]:
    """The lengths as groups that share a prompt, dealt out so that every group has long and short ones."""
    number = max(1, len(lengths) // group)
    return [Lengths(prompt, tuple(lengths[start::number])) for start in range(number)]
