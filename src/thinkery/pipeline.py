"""Runs a recipe: its stages in order, each model followed by its evaluation. Skips what is done, resumes what is not.

What a stage is made from (settings, seed, models, data, files) is hashed; a stage is done if it has finished from the
same hash and its result is untouched. Left out: how a stage works (``stages``), what a run folder is (``run.py``), and
whether what the recipe names is there (``preflight.py``).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinkery.files import sha256_of
from thinkery.preflight import check, files_of, require_inputs
from thinkery.recipe import (
    BASE,
    DATA,
    POLICIES,
    ClusterSpec,
    CollectStage,
    EvalSpec,
    PretrainStage,
    Recipe,
    RLStage,
    Stage,
    data_references,
    diff_recipes,
    load_recipe,
    model_references,
)
from thinkery.run import Run, StageRun, read_json
from thinkery.stages.context import StageContext
from thinkery.types import LearnerLost, UserError

if TYPE_CHECKING:
    from thinkery.report.terminal import View
    from thinkery.stages.runtime import Runtime

Runner = Callable[..., dict[str, Any]]


class Stopped(Exception):  # noqa: N818  (not an error: the user asked for it)
    """The user interrupted the run. The message says where it stands."""


_RUNNERS = {
    "pretrain": ("pretrain", "run_pretrain"),
    "rl": ("rl", "run_rl"),
    "collect": ("collect", "run_collect"),
    "sft": ("sft", "run_sft"),
    "judge": ("judge", "run_judge"),
    "reward_model": ("reward_model", "run_reward_model"),
    "evaluate": ("evaluate", "evaluate_model"),
}


_UNDISTRIBUTED = ("pretrain", "reward_model")  # models of a size that one process trains


def runner_of(kind: str) -> Runner:
    """What runs a kind of stage: ``f(stage, context)``; for "evaluate" ``f(model, specs, context)``."""
    # Imported when needed: torch takes seconds, and a recipe that needs no training should not wait for it.
    module, function = _RUNNERS[kind]
    runner: Runner = getattr(import_module(f"thinkery.stages.{module}"), function)
    return runner


def run_recipe(
    recipe: Recipe,
    folder: Path,
    *,
    view: View,
    until: str | None = None,
    force: bool = False,
    cluster: str | None = None,
    runners: Callable[[str], Runner] = runner_of,
    engines: Runtime | None = None,
) -> dict[str, Any]:
    """Runs a recipe in a folder, up to and including the stage ``until``, and returns its summary.

    ``force`` accepts that the folder was made from another recipe and does the stages that this touches again.
    ``cluster`` is the address of a Ray cluster, ``auto`` or ``local``; a recipe with a section ``cluster`` needs none.
    ``engines`` are some that stay open for further runs. Raises ``UserError`` for what the user can put right,
    ``Stopped`` on Ctrl-C.
    """
    _require_stage(recipe, until)
    check(recipe)
    with Run(folder) as run:
        _refuse_changes(run, recipe, force)
        require_inputs(recipe, _done(run))
        run.begin(recipe.name, recipe.seed, recipe.to_yaml())
        with ExitStack() as opened:
            # Not before a stage has something to do: a cluster's workers take a while.
            open_engines = cache(lambda: engines or opened.enter_context(_engines(recipe, cluster, folder, view)))
            on_cluster = engines is not None or cluster is not None or recipe.cluster is not None
            ladder = _Ladder(recipe, run, view, runners, open_engines, on_cluster)
            try:
                ladder.climb(until)
            except KeyboardInterrupt:
                raise Stopped(f"stopped at {ladder.position}; run the same command to go on") from None
        summary = ladder.summary() | {"phenomena": _report(folder)}
        run.save_summary(summary)
    return summary


def plan(recipe: Recipe, folder: Path, until: str | None = None) -> list[str]:
    """What ``run_recipe`` would do, one line a stage. Touches nothing."""
    _require_stage(recipe, until)
    check(recipe)
    records: Mapping[str, Any] = (read_json(folder / "manifest.json") or {}).get("stages", {})
    lines = [f"{recipe.name} in {folder}, seed {recipe.seed}"]
    for stage in _up_to(recipe, until):
        made_from = [reference for field, reference in model_references(stage) if field == "from"]
        data = [reference for _, reference in data_references(stage)]
        parts = [stage.kind + "".join(f" from {model}" for model in made_from)]
        parts += [f"on {', '.join(data)}"] if data else []
        parts += [f"{steps} steps"] if (steps := _steps(stage)) else []
        lines.append(f"  {stage.name}: {', '.join(parts)}, {records.get(stage.name, {}).get('status', 'pending')}")
    for name, spec in recipe.evaluate.items():
        size = spec.problems.n or "all"
        models = f", of {', '.join(spec.models)}" if spec.models else ""
        sources = ", ".join(dict.fromkeys(one.source for one in spec.problems.all))
        lines.append(f"  evaluate {name}: {size} problems of {sources}, {spec.num_samples} samples each{models}")
    if (folder / "recipe.yaml").exists():
        changes = diff_recipes(load_recipe(folder / "recipe.yaml"), recipe)
        lines += [f"  changed: {change}" for change in changes]
    return lines


class _Ladder:
    """One climb through a recipe's stages."""

    def __init__(
        self,
        recipe: Recipe,
        run: Run,
        view: View,
        runners: Callable[[str], Runner],
        engines: Callable[[], Runtime],
        on_cluster: bool,
    ) -> None:
        self._on_cluster = on_cluster
        self._recipe, self._run, self._view, self._runners, self._engines = recipe, run, view, runners, engines
        self._current: StageRun | None = None
        # Looked at once: what changes while the run goes on is the next run's business.
        self._hash_of_model = cache(_hash_of_model)
        self._files = dict(files_of(recipe))
        self._stages = {stage.name: stage for stage in recipe.stages}

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
            self._do_stage(stage)
            if isinstance(stage, POLICIES):
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
        """The output of an earlier stage, model or data; ``base``, a path or a Hub id as what can be loaded."""
        if reference in self._stages:
            return str(self._stage_run(reference).output)
        from thinkery.models.loading import resolve_model

        if reference == BASE:
            assert self._recipe.base is not None  # the recipe refuses a stage from a base that it lacks
            return resolve_model(self._recipe.base)
        return resolve_model(reference)

    def _stage_run(self, name: str) -> StageRun:
        return self._run.stage(name, "data" if isinstance(self._stages.get(name), DATA) else "model")

    def _do_stage(self, stage: Stage) -> None:
        def work(context: StageContext) -> dict[str, Any]:
            return self._runners(stage.kind)(stage, context)

        self._do(stage.name, stage.kind, _steps(stage), self._inputs_of(stage), work)

    def _evaluate(self, model: str) -> None:
        specs = self._measures(model)

        def work(context: StageContext) -> dict[str, Any]:
            return self._runners("evaluate")(self.resolve(model), specs, context)

        if specs:
            self._do(_evaluation(model), "evaluate", len(specs), self._inputs_of_evaluation(model), work)

    def _measures(self, model: str) -> dict[str, EvalSpec]:
        """The held-out sets that a model is measured on."""
        return {name: spec for name, spec in self._recipe.evaluate.items() if not spec.models or model in spec.models}

    def _do(
        self, name: str, kind: str, steps: int | None, inputs: str, work: Callable[[StageContext], dict[str, Any]]
    ) -> None:
        """Runs a stage, unless it is done; from its last checkpoint again as often as a cluster's learner is lost."""
        run = self._current = self._stage_run(name)
        if run.is_done(inputs):
            self._view.note(f"{name}: done before")
            return
        if run.record.get("inputs", inputs) != inputs:
            self._view.note(f"{name}: its settings, files, data or models have changed since; it is done again")
        while True:
            try:
                result = self._attempt(run, kind, steps, inputs, work)
                break
            except LearnerLost:  # the engines have said why, and count how often
                run = self._current = self._stage_run(name)
        run.done(result)
        self._view.stage_done(name, _headline(result) | {"seconds": run.record["seconds"]})
        self.summary()

    def _attempt(
        self, run: StageRun, kind: str, steps: int | None, inputs: str, work: Callable[[StageContext], dict[str, Any]]
    ) -> dict[str, Any]:
        """Does the stage, from its last checkpoint if there is one."""
        from thinkery.report.tensorboard import Events

        run.start(inputs)
        if run.last_step is not None:
            self._view.note(f"{run.name}: going on after step {run.last_step}")
        if kind in _UNDISTRIBUTED and self._on_cluster:
            self._view.note(f"{run.name}: runs in this process, not on the cluster")
        self._view.stage(run.name, kind, steps)
        with closing(Events(run.events_folder)) as events:
            run.attach(events)
            return work(StageContext(self._recipe, run, self._view, self.resolve, engines=self._engines()))

    def _names(self) -> set[str]:
        """Every name under which this recipe keeps something in the run folder."""
        models = [BASE, *(stage.name for stage in self._recipe.stages if isinstance(stage, POLICIES))]
        return set(self._stages) | {_evaluation(model) for model in models if self._measures(model)}

    def _inputs_of(self, stage: Stage) -> str:
        models = {reference: self._model(reference) for _, reference in model_references(stage)}
        data = {
            ref: self._run.stage(ref).record.get("outputs") for _, ref in data_references(stage) if ref in self._stages
        }
        settings = [stage.model_dump(mode="json")]
        if isinstance(stage, RLStage | CollectStage):
            settings.append(self._recipe.verification.model_dump(mode="json"))
        return self._hash([models, data, settings], f"{stage.name}.")

    def _inputs_of_evaluation(self, model: str) -> str:
        measures = self._measures(model)
        settings = [{name: spec.model_dump(mode="json") for name, spec in measures.items()}]
        settings.append(self._recipe.verification.model_dump(mode="json"))
        return self._hash([self._model(model), settings], *(f"evaluate.{name}." for name in measures))

    def _hash(self, parts: Any, *prefixes: str) -> str:
        """The hash of all that a result depends on; its files are those of fields that begin so."""
        files = [files for field, files in self._files.items() if field.startswith(prefixes)]
        parts = [self._recipe.seed, self._recipe.template, parts, files]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def _model(self, reference: str) -> str | None:
        """The hash of a model; None for a stage that has no result yet."""
        if reference in self._stages:
            outputs: str | None = self._run.stage(reference).record.get("outputs")
            return outputs
        return self._hash_of_model(self.resolve(reference))

    def _finished(self, name: str, inputs: str) -> dict[str, Any] | None:
        record = self._run.manifest["stages"].get(name, {})
        return record if record.get("status") == "done" and record["inputs"] == inputs else None

    def _evaluated(self, model: str) -> dict[str, Any]:
        measured = self._measures(model)
        record = self._finished(_evaluation(model), self._inputs_of_evaluation(model)) if measured else None
        return {"eval": record["summary"]} if record else {}


def _engines(recipe: Recipe, cluster: str | None, folder: Path, view: View) -> Runtime:
    """This process's, or those of a cluster if the command or the recipe asks for one."""
    if cluster is None and recipe.cluster is None:
        from thinkery.stages.runtime import LocalRuntime

        return LocalRuntime()
    try:
        from thinkery.cluster.runtime import ClusterRuntime
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise UserError("a run on a cluster needs Ray: pip install 'thinkery[cluster]'") from None
    return ClusterRuntime(recipe.cluster or ClusterSpec(), cluster or "auto", folder, view.note)


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


def _report(folder: Path) -> list[dict[str, Any]]:
    from thinkery.stages.report import report_run

    return report_run(folder)


def _evaluation(model: str) -> str:
    """The name of a model's evaluation in the run folder. No stage can have it: names have no dots."""
    return f"{model}.eval"


def _up_to(recipe: Recipe, until: str | None) -> Iterator[Stage]:
    for stage in recipe.stages:
        yield stage
        if stage.name == until:
            return


def _done(run: Run) -> set[str]:
    """The stages that have finished; whether they are out of date shows when their turn comes."""
    return {name for name, record in run.manifest["stages"].items() if record["status"] == "done"}


def _require_stage(recipe: Recipe, until: str | None) -> None:
    names = [stage.name for stage in recipe.stages]
    if until is not None and until not in names:
        raise UserError(f"--until {until}: no such stage; stages: {', '.join(names)}")


def _steps(stage: Stage) -> int | None:
    """How many steps a stage takes; None where only its data say."""
    return stage.steps if isinstance(stage, PretrainStage | RLStage) else None


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
