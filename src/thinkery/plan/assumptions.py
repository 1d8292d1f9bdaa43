"""What no recipe says and a plan needs: how long completions get, how many problems a file has. Asked for by name, with
a default and its reason; everything that was used is kept, to be printed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from thinkery.types import UserError

FIELDS = ("mean_length", "prompt_length", "items", "teaches")
_HOW = "write it as stage.field=value, for example zero.mean_length=6000; fields: " + ", ".join(FIELDS)


@dataclass(frozen=True)
class Growth:
    """A number that goes evenly from one value to another while a stage runs."""

    first: float
    last: float

    @property
    def mean(self) -> float:
        """Over the stage."""
        return (self.first + self.last) / 2

    def at(self, share: float) -> float:
        """After this share of the stage."""
        return self.first + share * (self.last - self.first)


@dataclass
class Assumptions:
    """Values by (stage, field), as given; ``used`` has what was asked for, with its value and where it is from."""

    given: dict[tuple[str, str], Growth] = field(default_factory=dict)
    used: dict[tuple[str, str], tuple[Growth, str]] = field(default_factory=dict)

    @classmethod
    def read(cls, settings: Sequence[str]) -> Assumptions:
        """From ``["zero.mean_length=500-9500", "dev1.items=5000"]``. Raises ``UserError``."""
        return cls(dict(_parsed(setting) for setting in settings))

    def get(self, stage: str, name: str, default: float, why: str) -> Growth:
        """The value given for a stage's field, or the default."""
        key = (stage, name)
        if key not in self.used:
            found = self.given.get(key)
            self.used[key] = (found, "given") if found is not None else (Growth(default, default), why)
        return self.used[key][0]

    def check_all_used(self) -> None:
        """Raises ``UserError`` for what was given and nobody asked for."""
        for stage, name in self.given:
            if (stage, name) not in self.used:
                own = [f"{a}.{b}" for a, b in self.used if a == stage]
                asked = ", ".join(own) if own else f"fields of {', '.join(dict.fromkeys(a for a, _ in self.used))}"
                raise UserError(f"--assume {stage}.{name}: this plan has no use for it; it asks for {asked}")


def _parsed(setting: str) -> tuple[tuple[str, str], Growth]:
    place, separator, text = setting.partition("=")
    stage, dot, name = place.rpartition(".")
    if not separator or not dot or name not in FIELDS:
        raise UserError(f"--assume {setting}: {_HOW}")
    first, _, last = text.partition("-")
    try:
        growth = Growth(float(first), float(last or first))
    except ValueError:
        raise UserError(f"--assume {setting}: {text!r} is no number, nor two with a - between them") from None
    if not all(0 < value < math.inf for value in (growth.first, growth.last)):
        raise UserError(f"--assume {setting}: must be above 0")
    return (stage, name), growth
