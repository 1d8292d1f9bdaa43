"""Runs a recipe: its stages in order, each followed by its evaluation. Skips what is done, resumes what is not.

What a stage is made from (settings, seed, starting model, problem files) is hashed; a stage is done if it has finished
from the same hash and its result is untouched. Left out: how a stage works (``stages``) and what a run folder is
(``run.py``).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinkery.files import sha256_of
from thinkery.recipe import BASE, ProblemSpec, Recipe, RLStage, Stage, diff_recipes, load_recipe
from thinkery.run import Run, StageRun, read_json
from thinkery.stages.context import StageContext
from thinkery.types import UserError

if TYPE_CHECKING:
    from thinkery.report.terminal import View

Runner = Callable[..., dict[str, Any]]


class Stopped(Exception):  # noqa: N818  (not an error: the user asked for it)
    """The user interrupted the run. The message says where it stands."""


def runner_of(kind: str) -> Runner:
    """What runs a kind of stage: ``f(stage, context)``; for "evaluate" ``f(model, specs, context)``."""
    # Imported when needed: torch takes seconds, and a recipe that needs no training should not wait for it.
    if kind == "rl":
        from thinkery.stages.rl import run_rl

        return run_rl
    if kind == "pretrain":
        from thinkery.stages.pretrain import run_pretrain

        return run_pretrain
    if kind == "evaluate":
        from thinkery.stages.evaluate import evaluate_model

        return evaluate_model
    raise ValueError(f"no stage is of kind {kind!r}")


def run_recipe(
    recipe: Recipe,
    folder: Path,
    *,
    view: View,
    until: str | None = None,
    force: bool = False,
    runners: Callable[[str], Runner] = runner_of,
) -> dict[str, Any]:
    """Runs a recipe in a folder, up to and including the stage ``until``, and returns its summary.

    ``force`` accepts that the folder was made from another recipe and does the stages that this touches again.
    Raises ``UserError`` for what the user can put right, ``Stopped`` on Ctrl-C.
    """
    check(recipe, until)
    with Run(folder) as run:
        _refuse_changes(run, recipe, force)
        run.begin(recipe.name, recipe.seed, recipe.to_yaml())
        ladder = _Ladder(recipe, run, view, runners)
        try:
            ladder.climb(until)
        except KeyboardInterrupt:
            raise Stopped(f"stopped at {ladder.position}; run the same command to go on") from None
        summary = ladder.summary()
        _write_report(folder)
    return summary


def plan(recipe: Recipe, folder: Path, until: str | None = None) -> list[str]:
    """What ``run_recipe`` would do, one line a stage. Touches nothing."""
    check(recipe, until)
    records: Mapping[str, Any] = (read_json(folder / "manifest.json") or {}).get("stages", {})
    lines = [f"{recipe.name} in {folder}, seed {recipe.seed}"]
    for stage in _up_to(recipe, until):
        status = records.get(stage.name, {}).get("status", "pending")
        source = f" from {stage.from_}" if isinstance(stage, RLStage) else ""
        lines.append(f"  {stage.name}: {stage.kind}{source}, {stage.steps} steps, {status}")
    for name, spec in recipe.evaluate.items():
        size = spec.problems.n or "all"
        lines.append(f"  evaluate {name}: {size} problems of {spec.problems.source}, {spec.num_samples} samples each")
    if (folder / "recipe.yaml").exists():
        changes = diff_recipes(load_recipe(folder / "recipe.yaml"), recipe)
        lines += [f"  changed: {change}" for change in changes]
    return lines


def check(recipe: Recipe, until: str | None) -> None:
    """Refuses names that lead nowhere before anything starts. Raises ``UserError``."""
    names = [stage.name for stage in recipe.stages]
    if until is not None and until not in names:
        raise UserError(f"--until {until}: no such stage; stages: {', '.join(names)}")
    for field, spec in _problem_specs(recipe):
        if spec.source != "mini":
            from thinkery.problems.source import require_source

            require_source(field, spec)
    for stage in recipe.stages:
        if isinstance(stage, RLStage):
            from thinkery.rewards.registry import check_rewards

            check_rewards(f"{stage.name}.rewards", stage.rewards, stage.max_completion_length)
    named = {"template": recipe.template} | {f"evaluate.{k}.template": v.template for k, v in recipe.evaluate.items()}
    if any(named.values()):
        from thinkery.models.template import TEMPLATES

        for field, template in named.items():
            if template is not None and template not in TEMPLATES:
                raise UserError(f"{field} = {template!r}: allowed: {', '.join(TEMPLATES)}")


class _Ladder:
    """One climb through a recipe's stages."""

    def __init__(self, recipe: Recipe, run: Run, view: View, runners: Callable[[str], Runner]) -> None:
        self._recipe, self._run, self._view, self._runners = recipe, run, view, runners
        self._current: StageRun | None = None
        # Looked at once: what changes while the run goes on is the next run's business.
        self._hash_of_model = cache(_hash_of_model)
        self._files = dict(_files_of(recipe))

    @property
    def position(self) -> str:
        """Stage and step, for people."""
        if self._current is None:
            return "the start"
        step = self._current.last_step
        return self._current.name + (f" step {step}" if step is not None else "")

    def climb(self, until: str | None) -> None:
        """Does what is not done."""
        for name in self._run.manifest["stages"].keys() - self._names():
            self._run.stage(name).forget()
        if self._recipe.base is not None:
            self._evaluate(BASE)
        for stage in _up_to(self._recipe, until):
            self._train(stage)
            self._evaluate(stage.name)

    def summary(self) -> dict[str, Any]:
        """What is known by now: per stage its own summary, seconds and evaluation. Written as ``summary.json``."""
        stages: dict[str, Any] = {}
        for stage in self._recipe.stages:
            record = self._finished(stage.name, self._inputs_of(stage))
            if record:
                stages[stage.name] = record["summary"] | {"seconds": record["seconds"]} | self._evaluated(stage.name)
        summary: dict[str, Any] = {"name": self._recipe.name, "seed": self._recipe.seed, "stages": stages}
        if self._recipe.base is not None:
            summary[BASE] = self._evaluated(BASE)
        self._run.save_summary(summary)
        return summary

    def resolve(self, reference: str) -> str:
        """``base``, a stage's name, a path or a Hub id as something that can be loaded."""
        if reference in {stage.name for stage in self._recipe.stages}:
            return str(self._run.stage(reference).output)
        from thinkery.models.loading import resolve_model

        if reference == BASE:
            assert self._recipe.base is not None  # the recipe refuses a stage from a base that it lacks
            return resolve_model(self._recipe.base)
        return resolve_model(reference)

    def _train(self, stage: Stage) -> None:
        def work(context: StageContext) -> dict[str, Any]:
            return self._runners(stage.kind)(stage, context)

        self._do(stage.name, stage.kind, stage.steps, self._inputs_of(stage), work)

    def _evaluate(self, model: str) -> None:
        specs = self._recipe.evaluate

        def work(context: StageContext) -> dict[str, Any]:
            return self._runners("evaluate")(self.resolve(model), specs, context)

        if specs:
            self._do(_evaluation(model), "evaluate", len(specs), self._inputs_of_evaluation(model), work)

    def _do(
        self, name: str, kind: str, steps: int, inputs: str, work: Callable[[StageContext], dict[str, Any]]
    ) -> None:
        """Runs a stage, unless it is done."""
        from thinkery.report.tensorboard import Events

        run = self._current = self._run.stage(name)
        if run.is_done(inputs):
            self._view.note(f"{name}: done before")
            return
        if run.record.get("inputs", inputs) != inputs:
            self._view.note(f"{name}: its settings, files or starting model have changed since; it is done again")
        run.start(inputs)
        if run.last_step is not None:
            self._view.note(f"{name}: going on after step {run.last_step}")
        self._view.stage(name, kind, steps)
        with closing(Events(run.events_folder)) as events:
            run.attach(events)
            result = work(StageContext(self._recipe, run, self._view, self.resolve))
        run.done(result)
        self._view.stage_done(name, _headline(result) | {"seconds": run.record["seconds"]})
        self.summary()

    def _names(self) -> set[str]:
        """Every name under which this recipe keeps something in the run folder."""
        trained = {stage.name for stage in self._recipe.stages}
        return trained | {_evaluation(name) for name in trained | {BASE}}

    def _inputs_of(self, stage: Stage) -> str:
        settings: list[Any] = [stage.model_dump(mode="json")]
        model = None
        if isinstance(stage, RLStage):
            model = self._model(stage.from_)
            settings.append(self._recipe.verification.model_dump(mode="json"))
        return self._hash(model, settings, f"{stage.name}.")

    def _inputs_of_evaluation(self, model: str) -> str:
        measured = {name: spec.model_dump(mode="json") for name, spec in self._recipe.evaluate.items()}
        settings = [measured, self._recipe.verification.model_dump(mode="json")]
        return self._hash(self._model(model), settings, "evaluate.")

    def _hash(self, model: str | None, settings: Any, prefix: str) -> str:
        """The hash of all that a stage's result depends on; its files are those of fields that begin so."""
        files = [files for field, files in self._files.items() if field.startswith(prefix)]
        parts = [self._recipe.seed, self._recipe.template, model, settings, files]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def _model(self, reference: str) -> str | None:
        """The hash of a model; None for a stage that has no result yet."""
        if reference in {stage.name for stage in self._recipe.stages}:
            outputs: str | None = self._run.stage(reference).record.get("outputs")
            return outputs
        return self._hash_of_model(self.resolve(reference))

    def _finished(self, name: str, inputs: str) -> dict[str, Any] | None:
        record = self._run.manifest["stages"].get(name, {})
        return record if record.get("status") == "done" and record["inputs"] == inputs else None

    def _evaluated(self, model: str) -> dict[str, Any]:
        record = (
            self._finished(_evaluation(model), self._inputs_of_evaluation(model)) if self._recipe.evaluate else None
        )
        return {"eval": record["summary"]} if record else {}


def _refuse_changes(run: Run, recipe: Recipe, force: bool) -> None:
    if force or not run.recipe_path.exists():
        return
    changes = diff_recipes(load_recipe(run.recipe_path), recipe)
    if changes:
        listed = "".join(f"\n  {change}" for change in changes)
        raise UserError(
            f"{run.folder} was made from another recipe; give --force to redo what these changes touch, or another "
            f"--output-dir:{listed}"
        )


def _write_report(folder: Path) -> None:
    from thinkery.report.html import write_report

    write_report(folder)


def _evaluation(model: str) -> str:
    """The name of a model's evaluation in the run folder. No stage can have it: names have no dots."""
    return f"{model}.eval"


def _up_to(recipe: Recipe, until: str | None) -> Iterator[Stage]:
    for stage in recipe.stages:
        yield stage
        if stage.name == until:
            return


def _problem_specs(recipe: Recipe) -> Iterator[tuple[str, ProblemSpec]]:
    """Every set of problems with the field that names it."""
    for stage in recipe.stages:
        if isinstance(stage, RLStage):
            yield f"{stage.name}.problems", stage.problems
    for name, spec in recipe.evaluate.items():
        yield f"evaluate.{name}.problems", spec.problems


def _files_of(recipe: Recipe) -> Iterator[tuple[str, dict[str, str]]]:
    """What every field that names files stands for: the files' hashes, problems and rewards of the user's alike."""
    from thinkery.problems.source import source_fingerprint
    from thinkery.rewards.custom import reward_files

    for field, spec in _problem_specs(recipe):
        yield field, source_fingerprint(spec)
    for stage in recipe.stages:
        if isinstance(stage, RLStage):
            yield f"{stage.name}.rewards", {path.name: sha256_of(path) for path in reward_files(stage.rewards)}


def _hash_of_model(place: str) -> str:
    return sha256_of(Path(place)) if Path(place).is_dir() else place


def _headline(result: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers to show at the end of a stage; of an evaluation those of every set, by its name."""
    flat: dict[str, Any] = {}
    for key, value in result.items():
        if isinstance(value, Mapping):
            flat |= {
                f"{key} {name}": value[name]
                for name in value
                if name.startswith(("pass@", "cons@")) and "_" not in name
            }
        else:
            flat[key] = value
    return flat
