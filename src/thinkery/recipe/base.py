"""What every part of a recipe is made of: strict models, names, shares."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from operator import or_
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema

Name = Annotated[  # becomes part of file names
    str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$", description="at most 40 small letters, digits, - and _")
]
RecipeName = Annotated[  # may name a model's size
    str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,39}$", description="at most 40 small letters, digits, -, _ and .")
]
Probability = Annotated[float, Field(gt=0, le=1)]
Share = Annotated[float, Field(ge=0, le=1)]
BASE = "base"  # the name under which stages and results refer to the starting model


def or_function(names: Sequence[str], example: str) -> Any:
    """The type of a field that holds one of the ``names``, or a function of the user's by its file or module."""
    allowed = f"{', '.join(names)}, or a function of yours such as {example}"
    return Annotated[str, Field(pattern=rf"^(?:{'|'.join(names)}|\S.*:[^\W\d]\w*)$", description=allowed)]


class Strict(BaseModel):
    """Refuses unknown fields, and numbers that are none.

    The text under a field is its sentence, then DeepSeek-R1's value where the paper states one: ``DeepSeek-R1: 16.``.
    The commands' help and ``docs/recipe.md`` are made from it (``reference.py``).
    """

    # Built when first used: what a package registers imports this room, and can't before this room is there.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, populate_by_name=True, defer_build=True)


class OneOf:
    """Annotates a field that takes one of several sections by their ``discriminator``; ``kinds`` gives them by name."""

    def __init__(self, discriminator: str, kinds: Callable[[], Mapping[str, type[BaseModel]]]) -> None:
        self._discriminator, self.kinds = discriminator, kinds

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """The schema of the choices."""
        choices = reduce(or_, self.kinds().values())
        return handler.generate_schema(Annotated[choices, Field(discriminator=self._discriminator)])
