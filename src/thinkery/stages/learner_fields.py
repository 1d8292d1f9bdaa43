"""Which fields of a stage are its learner's: every field on either side is accounted for, or the module that says so
can't be imported.

A field that one side alone has, mistyped or forgotten on the other, would train with the default and show nowhere.
Left out: what the fields mean (``recipe``, ``training``).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields
from typing import Any, Generic, TypeVar

from thinkery.recipe.stage import StageBase

C = TypeVar("C")


class LearnerFields(Generic[C]):
    """Makes a learner's configuration, a dataclass, of a stage's fields of the same names.

    ``given`` are the configuration's fields that no field of the stage sets, ``others`` the stage's that are not the
    learner's. Raises ``TypeError`` unless every field is one of these or is on both sides.
    """

    def __init__(
        self, config: type[C], stage: type[StageBase], *, given: Collection[str], others: Collection[str]
    ) -> None:
        self._config, self._given = config, frozenset(given)
        known = {field.name for field in fields(config)}  # type: ignore[arg-type]  # a dataclass
        stated = set(stage.model_fields) - set(StageBase.model_fields)
        ours, theirs = known - self._given, stated - set(others)
        sides = (config.__name__, stage.__name__)
        mistakes = [
            *(f"{sides[0]} has no field {name!r}, which is named as given" for name in self._given - known),
            *(f"{sides[1]} has no field {name!r}, which is named as another's" for name in set(others) - stated),
            *(f"no field of {sides[1]} sets {sides[0]}.{name}: add it, or name it as given" for name in ours - theirs),
            *(
                f"{sides[1]}.{name} is no field of {sides[0]}: add it, or name it as another's"
                for name in theirs - ours
            ),
        ]
        if mistakes:
            raise TypeError("; ".join(sorted(mistakes)))
        self._shared = sorted(ours)

    def of(self, stage: StageBase, **given: Any) -> C:
        """The configuration of a stage. Raises ``TypeError`` unless exactly what must be given is."""
        if given.keys() != self._given:
            raise TypeError(f"{self._config.__name__} must be given {sorted(self._given)}, not {sorted(given)}")
        return self._config(**{name: getattr(stage, name) for name in self._shared}, **given)
