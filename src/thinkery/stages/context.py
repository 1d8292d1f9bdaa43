"""What a stage is given beside its own settings. Plain references; decides nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from thinkery.machine.clock import Clock
from thinkery.models.template import TEMPLATES, Template
from thinkery.recipe import BASE, Recipe
from thinkery.run.stage_run import StageRun

if TYPE_CHECKING:
    from thinkery.report.terminal import View
    from thinkery.stages.runtime import Runtime


def _local() -> Runtime:
    from thinkery.stages.runtime import LocalRuntime  # torch takes seconds: not before a stage starts

    return LocalRuntime()


@dataclass(frozen=True)
class StageContext:
    """The surroundings of a stage.

    ``run`` is the stage's part of the run folder; ``resolve`` maps ``base``, an earlier stage's name, a path or a Hub
    id to what can be loaded. The pipeline opens and closes the stage in the ``view``; the stage shows its steps there.
    The ``clock`` is told which part of a step is in progress; the ``runtime`` samples, grades and learns.
    """

    recipe: Recipe
    run: StageRun
    view: View
    resolve: Callable[[str], str]
    clock: Clock = field(default_factory=Clock)
    runtime: Runtime = field(default_factory=_local)

    @property
    def seed(self) -> int:
        """The run's seed. Random numbers are drawn from it together with the stage's name and the step."""
        return self.recipe.seed

    def template_of(self, reference: str, named: str | None) -> Template | None:
        """The template for a model: the one ``named``, for the base the recipe's, else None, which is the saved one."""
        name = named or (self.recipe.template if reference == BASE else None)
        return TEMPLATES[name] if name else None
