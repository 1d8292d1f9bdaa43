"""What every stage and every evaluation of a recipe is made from, by name: settings, models, data, files.

Left out: how that is compared with what a run folder holds (``run/stage_run.py``), and the order of stages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

from thinkery.preflight import files_of
from thinkery.recipe import BASE, EvalSpec, Recipe, Stage
from thinkery.run.inputs import Inputs, model_fingerprint, settings_of

_EVALUATION = ".eval"  # no stage's name ends so: names have no dots


def evaluation_of(model: str) -> str:
    """The name of a model's evaluation in the run folder."""
    return model + _EVALUATION


class Provenance:
    """Looks at files and models once: what changes while a run goes on is the next run's business.

    ``output`` gives the hash of a stage's result, None if it has none yet; ``resolve`` where a model is.
    """

    def __init__(self, recipe: Recipe, output: Callable[[str], str | None], resolve: Callable[[str], str]) -> None:
        self._recipe, self._output, self._resolve = recipe, output, resolve
        self._fingerprint = cache(model_fingerprint)
        self._files = dict(files_of(recipe))
        self.stages: Mapping[str, Stage] = {stage.name: stage for stage in recipe.stages}

    def measures(self, model: str) -> dict[str, EvalSpec]:
        """The held-out sets that a model is measured on."""
        is_measured = self._recipe.base is not None if model == BASE else self.stages[model].makes == "policy"
        sets = self._recipe.evaluate.items() if is_measured else ()
        return {name: spec for name, spec in sets if not spec.models or model in spec.models}

    def names(self) -> Iterator[str]:
        """Every name under which the recipe keeps something in the run folder, in the order of its making."""
        for model in (BASE, *self.stages):
            if model != BASE:
                yield model
            if self.measures(model):
                yield evaluation_of(model)

    def of(self, name: str) -> Inputs:
        """What a stage or an evaluation is made from; None stands for what is not there yet."""
        model = name.removesuffix(_EVALUATION)
        return self._of_stage(self.stages[name]) if model == name else self._of_evaluation(model)

    def _of_stage(self, stage: Stage) -> Inputs:
        inputs = settings_of(stage)
        if stage.uses_verdicts:
            inputs |= settings_of(self._recipe.verification, "verification.")
        inputs |= {
            f"model {reference}": self._model(reference) for _, reference in [*stage.policies(), *stage.reward_models()]
        }
        data = [spec.source for _, spec in stage.data_specs() if spec.source in self.stages]
        inputs |= {f"data {reference}": self._output(reference) for reference in data}
        return self._with_files(inputs, f"{stage.name}.")

    def _of_evaluation(self, model: str) -> Inputs:
        measures = self.measures(model)
        inputs: dict[str, Any] = {f"model {model}": self._model(model)}
        for name, spec in measures.items():
            inputs |= settings_of(spec, f"evaluate.{name}.")
        inputs |= settings_of(self._recipe.verification, "verification.")
        return self._with_files(inputs, *(f"evaluate.{name}." for name in measures))

    def _with_files(self, inputs: Inputs, *prefixes: str) -> Inputs:
        """All that a result depends on; its files are those of fields that begin so."""
        named = [files for field, files in self._files.items() if field.startswith(prefixes)]
        files = {f"file {name}": mark for some in named for name, mark in some.items()}
        return {"seed": self._recipe.seed, "template": self._recipe.template, **inputs, **files}

    def _model(self, reference: str) -> str | None:
        return self._output(reference) if reference in self.stages else self._fingerprint(self._resolve(reference))
