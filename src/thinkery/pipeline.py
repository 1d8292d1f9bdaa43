"""Runs a recipe: its stages in order, each model followed by its evaluation. Skips what is done, resumes what is not.

A stage is done if it has finished from what it would be made from now and its result is untouched. Where either has
changed the run stops and says what, unless it is forced: then what is there is set aside and the stage done again.
Left out: how a stage works (``stages``), what it is made from (``provenance.py``), what a run folder is
(``run/folder.py``), and whether what the recipe names is there (``preflight.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinkery.machine import exit_status
from thinkery.machine.interrupts import CLOSE_S, INTERRUPTS
from thinkery.models.remote_code import remote_code
from thinkery.plugins import resolve
from thinkery.preflight import check, require_inputs, require_isolation
from thinkery.provenance import Provenance, evaluation_of
from thinkery.recipe import (
    BASE,
    PERMISSIONS,
    ClusterSpec,
    Recipe,
    Stage,
    diff_recipes,
    load_recipe,
    stage_kinds,
)
from thinkery.run import Run
from thinkery.run.inputs import Inputs, hash_of
from thinkery.run.ledger import read_manifest
from thinkery.run.stage_run import StageRun
from thinkery.stages.context import StageContext
from thinkery.types import LearnerLost, UserError

if TYPE_CHECKING:
    from thinkery.report.terminal import View
    from thinkery.stages.runtime import Runtime

Runner = Callable[..., dict[str, Any]]


class Stopped(Exception):  # noqa: N818  (not an error: the user asked for it)
    """The user interrupted the run. The message says where it stands."""


_EVALUATE = "thinkery.stages.evaluate:evaluate_model"


def runner_of(kind: str) -> Runner:
    """What does a kind of stage: ``f(stage, context)``; for "evaluate" ``f(model, specs, context)``."""
    runner: Runner = resolve(_EVALUATE if kind == "evaluate" else stage_kinds()[kind].runner)
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
    runtime: Runtime | None = None,
) -> dict[str, Any]:
    """Runs a recipe in a folder, up to and including the stage ``until``, and returns its summary.

    ``force`` accepts that the folder was made from another recipe, other files or models, or is damaged: it does the
    stages that this touches again and sets aside what they had made. Without it nothing that is there is touched.
    ``cluster`` is the address of a Ray cluster, ``auto`` or ``local``; a recipe with a section ``cluster`` needs none.
    ``runtime`` is one that stays open for further runs. Raises ``UserError`` for what the user can put right,
    ``Stopped`` on Ctrl-C or SIGTERM.
    """
    _require_stage(recipe, until)
    check(recipe)
    exit_status.begun()
    with Run(folder) as run, remote_code(recipe.trust_remote_code):
        _show_notes(run, view)
        _refuse_changes(run, recipe, force)
        require_inputs(recipe, _done(run))
        require_isolation(recipe, _pending(recipe, until, _done(run)))
        with ExitStack() as opened:
            # Not before a stage has something to do: a cluster's workers take a while.
            open_runtime = cache(lambda: runtime or _opened(opened, _runtime_of(recipe, cluster, folder, view)))
            on_cluster = runtime is not None or cluster is not None or recipe.cluster is not None
            recipe_run = _RecipeRun(recipe, run, view, runners, open_runtime, on_cluster, force)
            recipe_run.refuse_changes(until)
            run.begin(recipe.name, recipe.seed, recipe.to_yaml(), _allowed(recipe))
            INTERRUPTS.last_words = recipe_run.last_words
            try:
                recipe_run.run_stages(until)
            except KeyboardInterrupt:
                INTERRUPTS.allow(CLOSE_S)
                raise Stopped(recipe_run.last_words()) from None
        summary = recipe_run.summary() | _report(folder, view)
        run.save_summary(summary)
    exit_status.ended()
    return summary


def describe_dry_run(recipe: Recipe, folder: Path, until: str | None = None) -> list[str]:
    """What ``run_recipe`` would do, one line a stage. Touches nothing."""
    _require_stage(recipe, until)
    check(recipe)
    records: Mapping[str, Any] = read_manifest(folder)[0]["stages"]
    require_isolation(recipe, _pending(recipe, until, _finished(records)))
    lines = [f"{recipe.name} in {folder}, seed {recipe.seed}"]
    for stage in _up_to(recipe, until):
        made_from = [stage.starts_from] if stage.starts_from is not None else []
        data = [spec.source for _, spec in stage.data_specs()]
        parts = [stage.kind + "".join(f" from {model}" for model in made_from)]
        parts += [f"on {', '.join(data)}"] if data else []
        parts += [f"{steps} steps"] if (steps := stage.known_steps) else []
        lines.append(f"  {stage.name}: {', '.join(parts)}, {records.get(stage.name, {}).get('status', 'pending')}")
    for name, spec in recipe.evaluate.items():
        size = spec.problems.n or "all"
        models = f", of {', '.join(spec.models)}" if spec.models else ""
        sources = ", ".join(dict.fromkeys(one.source for one in spec.problems.all))
        lines.append(f"  evaluate {name}: {size} problems of {sources}, {spec.num_samples} samples each{models}")
    if (folder / "recipe.yaml").exists():
        changes = diff_recipes(load_recipe(folder / "recipe.yaml", allow=None), recipe)
        lines += [f"  changed: {change}" for change in changes]
    return lines


class _RecipeRun:
    """A run of a recipe's stages, one after the other."""

    def __init__(
        self,
        recipe: Recipe,
        run: Run,
        view: View,
        runners: Callable[[str], Runner],
        runtime: Callable[[], Runtime],
        on_cluster: bool,
        force: bool,
    ) -> None:
        self._on_cluster, self._force = on_cluster, force
        self._recipe, self._run, self._view, self._runners, self._runtime = recipe, run, view, runners, runtime
        self._current: StageRun | None = None
        self._stage_runs: dict[str, StageRun] = {}
        self._provenance = Provenance(recipe, lambda name: self._stage_run(name).outputs, self.resolve)

    @property
    def position(self) -> str:
        """Stage and step, for people."""
        if self._current is None:
            return "the start"
        step = self._current.last_step
        return self._current.name + (f" step {step}" if step is not None else "")

    def refuse_changes(self, until: str | None) -> None:
        """Raises ``UserError`` if there is work that the recipe can't resume from; touches nothing."""
        if self._force:
            return
        found = {name: ["no stage or evaluation of the recipe any more"] for name in self._dropped()}
        wanted = {BASE, *(stage.name for stage in _up_to(self._recipe, until))}
        for name in self._provenance.names():
            inputs = self._provenance.of(name)
            if name.partition(".")[0] in wanted and not _waits(inputs):
                found[name] = self._stage_run(name).differences(inputs)
        if any(found.values()):
            raise self._refusal(found)

    def last_words(self) -> str:
        """The last line that a user reads of a run that was stopped here."""
        return f"stopped at {self.position}; run the same command to resume"

    def run_stages(self, until: str | None) -> None:
        """Does what is not done."""
        for name in self._dropped():
            self._set_aside(self._run.stage(name), ["it is no part of the recipe any more"])
        if self._recipe.base is not None:
            self._evaluate(BASE)
        for stage in _up_to(self._recipe, until):
            self._do_stage(stage)
            if stage.makes == "policy":
                self._evaluate(stage.name)

    def summary(self) -> dict[str, Any]:
        """What is known by now: per stage its own summary, seconds and evaluation. Written as ``summary.json``."""
        stages: dict[str, Any] = {}
        for stage in self._recipe.stages:
            record = self._finished(stage.name)
            if record:
                stages[stage.name] = record["summary"] | {"seconds": record["seconds"]} | self._evaluated(stage.name)
        summary: dict[str, Any] = {"name": self._recipe.name, "seed": self._recipe.seed, "stages": stages}
        if self._recipe.base is not None:
            summary[BASE] = self._evaluated(BASE)
        self._run.save_summary(summary)
        return summary

    def resolve(self, reference: str) -> str:
        """The output of an earlier stage, model or data; ``base``, a path or a Hub id as what can be loaded."""
        if reference in self._provenance.stages:
            return str(self._stage_run(reference).output)
        from thinkery.models.loading import resolve_model

        if reference == BASE:
            assert self._recipe.base is not None  # the recipe refuses a stage from a base that it lacks
            return resolve_model(self._recipe.base)
        return resolve_model(reference)

    def _stage_run(self, name: str) -> StageRun:
        if name not in self._stage_runs:
            stage = self._provenance.stages.get(name)
            output = stage.output if stage is not None else "model"
            self._stage_runs[name] = self._run.stage(name, output)
        return self._stage_runs[name]

    def _do_stage(self, stage: Stage) -> None:
        def work(context: StageContext) -> dict[str, Any]:
            return self._runners(stage.kind)(stage, context)

        self._do(stage.name, stage.kind, stage.known_steps, work)

    def _evaluate(self, model: str) -> None:
        specs = self._provenance.measures(model)

        def work(context: StageContext) -> dict[str, Any]:
            return self._runners("evaluate")(self.resolve(model), specs, context)

        if specs:
            self._do(evaluation_of(model), "evaluate", len(specs), work)

    def _do(self, name: str, kind: str, steps: int | None, work: Callable[[StageContext], dict[str, Any]]) -> None:
        """Runs a stage, unless it is done; from its last checkpoint again as often as a cluster's learner is lost."""
        INTERRUPTS.check()
        run, inputs = self._stage_run(name), self._provenance.of(name)
        self._current = run
        if found := run.differences(inputs):
            if not self._force:
                raise self._refusal({name: found})
            self._set_aside(run, found)
        if run.is_done(inputs):
            self._view.note(f"{name}: done before")
            return
        while True:
            try:
                result = self._attempt(run, kind, steps, inputs, work)
                break
            except LearnerLost:  # the runtime has said why, and counts how often
                del self._stage_runs[name]
                run = self._current = self._stage_run(name)
        run.done(result)
        self._view.stage_done(name, _headline(result) | {"seconds": run.record["seconds"]})
        self.summary()

    def _attempt(
        self,
        run: StageRun,
        kind: str,
        steps: int | None,
        inputs: Inputs,
        work: Callable[[StageContext], dict[str, Any]],
    ) -> dict[str, Any]:
        """Does the stage, from its last checkpoint if there is one."""
        from thinkery.report.tensorboard import Events

        run.start(inputs)
        _show_notes(self._run, self._view)
        if run.last_step is not None:
            self._view.note(f"{run.name}: resuming after step {run.last_step}")
        stage = self._provenance.stages.get(run.name)
        if stage is not None and not stage.on_cluster and self._on_cluster:
            self._view.note(f"{run.name}: runs in this process, not on the cluster")
        self._view.stage(run.name, kind, steps)
        with closing(Events(run.events_folder, self._view.note)) as events:
            run.attach(events)
            return work(StageContext(self._recipe, run, self._view, self.resolve, runtime=self._runtime()))

    def _dropped(self) -> list[str]:
        """Stages in the run folder that the recipe doesn't have."""
        names = set(self._provenance.names())
        return [name for name in self._run.manifest["stages"] if name not in names]

    def _refusal(self, found: Mapping[str, list[str]]) -> UserError:
        lines = [f"\n  {name}: {line}" for name, some in found.items() for line in some]
        return UserError(
            f"{self._run.folder} holds work that this run can't resume from; none of it was touched:{''.join(lines)}\n"
            "Put back what has changed, or choose another --output-dir, or give --force: these stages are then done "
            f"again, and what they had made is moved to {self._run.folder / 'set-aside'}"
        )

    def _set_aside(self, run: StageRun, why: list[str]) -> None:
        place = run.set_aside()
        self._view.note(f"{run.name}: {'; '.join(why)}; what was there is now in {place}")

    def _finished(self, name: str) -> dict[str, Any] | None:
        record = self._run.manifest["stages"].get(name, {})
        is_current = record.get("status") == "done" and record["inputs"] == hash_of(self._provenance.of(name))
        return record if is_current else None

    def _evaluated(self, model: str) -> dict[str, Any]:
        record = self._finished(evaluation_of(model)) if self._provenance.measures(model) else None
        return {"eval": record["summary"]} if record else {}


def _runtime_of(recipe: Recipe, cluster: str | None, folder: Path, view: View) -> Runtime:
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


def _allowed(recipe: Recipe) -> dict[str, bool]:
    """What the user allows this session, for the manifest, by the fields' own names."""
    return {field.rpartition(".")[2]: recipe.allows(field) for field in PERMISSIONS}


def _opened(opened: ExitStack, runtime: Runtime) -> Runtime:
    """The runtime, begun. Ray puts a handler of its own for SIGTERM; ours comes back."""
    begun = opened.enter_context(runtime)
    INTERRUPTS.renew()
    return begun


def _refuse_changes(run: Run, recipe: Recipe, force: bool) -> None:
    if force or not run.recipe_path.exists():
        return
    changes = diff_recipes(load_recipe(run.recipe_path, allow=None), recipe)
    if changes:
        listed = "".join(f"\n  {change}" for change in changes)
        raise UserError(
            f"{run.folder} was made from another recipe; give --force to redo what these changes touch (what is "
            f"there is set aside, not deleted), or another --output-dir:{listed}"
        )


def _show_notes(run: Run, view: View) -> None:
    for note in run.take_notes():
        view.note(note)


def _report(folder: Path, view: View) -> dict[str, Any]:
    from thinkery.stages.report import report_run

    return report_run(folder, view.note)


def _waits(inputs: Inputs) -> bool:
    """Whether something that a stage is made from is not there yet, so that nothing can be said of it."""
    return any(inputs[name] is None for name in inputs if name.startswith(("model ", "data ")))


def _up_to(recipe: Recipe, until: str | None) -> Iterator[Stage]:
    for stage in recipe.stages:
        yield stage
        if stage.name == until:
            return


def _done(run: Run) -> set[str]:
    """The stages that have finished; whether they are out of date shows when their turn comes."""
    return _finished(run.manifest["stages"])


def _finished(records: Mapping[str, Any]) -> set[str]:
    return {name for name, record in records.items() if record["status"] == "done"}


def _pending(recipe: Recipe, until: str | None, done: set[str]) -> set[str]:
    """The stages that are not done, and the measures (``evaluate.<name>``) that some model still lacks."""
    stages = list(_up_to(recipe, until))
    models = {stage.name for stage in stages if stage.makes == "policy"}
    models |= {BASE} if recipe.base is not None else set()
    lacking = {model for model in models if evaluation_of(model) not in done}
    return {stage.name for stage in stages if stage.name not in done} | {
        f"evaluate.{name}"
        for name, spec in recipe.evaluate.items()
        if lacking and (not spec.models or lacking & set(spec.models))
    }


def _require_stage(recipe: Recipe, until: str | None) -> None:
    names = [stage.name for stage in recipe.stages]
    if until is not None and until not in names:
        raise UserError(f"--until {until}: no such stage; stages: {', '.join(names)}")


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
