"""Where the time of a stage's steps goes: runs some of them as they are, and sets them against the machine's peaks.

The steps are the stage's own, in a temporary folder: its clock says what each part took, its counters what the part
had to do (``stages/step_metrics.py``), and ``machine/peaks.py`` what this machine can do. Of reinforcement
learning some steps with few problems are measured as well: a decoding step takes its time however few rows it has, and
only another number of rows tells that from what each row takes. Left out: what comes before the first step and between
steps (loading, checking references, records, checkpoints, the probe), and stages that are neither rl nor sft.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinkery.files import sha256_of
from thinkery.machine import installation as machine
from thinkery.machine.clock import OTHER, Clock
from thinkery.models.remote_code import remote_code
from thinkery.pipeline import runner_of
from thinkery.preflight import check
from thinkery.recipe import BASE, Recipe, Stage, StageBase
from thinkery.run import Run
from thinkery.run.checkpoints import fault_of
from thinkery.run.ledger import read_manifest
from thinkery.stages.context import StageContext
from thinkery.types import UserError

if TYPE_CHECKING:  # torch takes seconds, and a mistake in the recipe should not wait for it
    from thinkery.machine.peaks import Peaks
    from thinkery.report.terminal import View

_WARM_UP = 1  # steps that find their buffers, threads and kernels, and don't count
_COUNTED = ("tokens", "flops", "bytes", "steps")


def profile_recipe(
    recipe: Recipe, *, stage: str | None = None, steps: int = 3, run: Path | None = None, view: View
) -> dict[str, Any]:
    """The profile of ``steps`` steps of a stage (None: the first rl stage, or sft if there is none), as plain figures.

    ``parts`` maps rollout, grading, reference, update and other, as far as the stage has them, to means over the
    steps: ``seconds`` and their ``share`` of the step, ``tokens``, ``flops`` and ``bytes``, each also a second
    (``..._per_s``), and the last two as shares of the machine's peak (``flop_share``, ``byte_share``); None is what
    isn't counted. A rollout's ``steps`` are its decoding steps. Grading is the time that the step spends on it or
    waits for it, not what goes on beside the rollout. ``step`` has the same of the whole, and ``narrow`` of a rollout
    of few problems (None where nothing is sampled). ``model`` has its ``layers`` and ``activations``, the numbers that
    go in and out of its matrices a token. Rewards are asked as in the stage's last step. ``run`` is a run of the recipe
    in which the stages are done that this one needs. Raises ``UserError`` where that is missing, or the stage.
    """
    if steps < 1:
        raise UserError(f"--steps {steps}: measure at least 1")
    with remote_code(recipe.trust_remote_code):
        return _profiled(recipe, stage, steps, run, view)


def _profiled(recipe: Recipe, stage: str | None, steps: int, run: Path | None, view: View) -> dict[str, Any]:
    chosen = _chosen(recipe, stage)
    resolve = _resolver(recipe, chosen, run)
    check(
        recipe.model_copy(
            update={"stages": [chosen.without_data_of({one.name for one in recipe.stages})], "evaluate": {}}
        )
    )
    lines, device = _measured(recipe, chosen, steps, resolve, view)
    narrow: list[Mapping[str, float]] = []
    if (narrowed := chosen.with_few_problems()) is not None:
        narrow, _ = _measured(recipe, narrowed, steps, resolve, view)

    from thinkery.machine.peaks import measure_peaks

    view.note("measuring the peaks of this machine")
    peaks = measure_peaks(device)
    figures: dict[str, Any] = {
        "recipe": recipe.name,
        "stage": chosen.name,
        "kind": chosen.kind,
        "device": device,
        "dtype": chosen.dtype,
        "steps": len(lines),
        "model": _sizes(resolve(chosen.starts_from or BASE)),
        "machine": {name: value for name, value in machine.hardware().items() if name != "host"},
        "peaks": {f"{dtype}_flop_per_s": peak for dtype, peak in peaks.flop_per_s.items()},
    }
    figures["peaks"]["bytes_per_s"] = peaks.bytes_per_s
    figures["narrow"] = figures_of(narrow, peaks, chosen.dtype)["parts"]["rollout"] if narrow else None
    return figures | figures_of(lines, peaks, chosen.dtype)


def figures_of(lines: Sequence[Mapping[str, float]], peaks: Peaks, dtype: str) -> dict[str, Any]:
    """``step`` and ``parts`` of a profile (see ``profile_recipe``), from the metrics that a stage logged."""
    total = statistics.fmean(line["time/step"] for line in lines)
    names = dict.fromkeys(key.removeprefix("time/") for line in lines for key in line if key.startswith("time/"))
    parts: dict[str, dict[str, float | None]] = {}
    for name in [*(name for name in names if name not in (OTHER, "step")), OTHER]:
        means = {kind: _mean(lines, f"{kind}/{name}") for kind in ("time", *_COUNTED)}
        if name == "grading":
            means["tokens"] = _mean(lines, "tokens/rollout")  # it reads what was sampled
        parts[name] = _rates(means, total, peaks, dtype)
    counted = {kind: sum(part[kind] or 0.0 for part in parts.values()) for kind in ("flops", "bytes", "steps")}
    tokens = statistics.fmean(line["tokens_per_second"] * line["time/step"] for line in lines)
    return {"step": _rates({"time": total, "tokens": tokens, **counted}, total, peaks, dtype), "parts": parts}


class _Enough(Exception):  # noqa: N818  (not an error: the steps that were asked for are done)
    """Ends a stage after its last measured step."""


class _Watcher:
    """A view that keeps the metrics of every step, shows only how far the profile is, and ends the stage."""

    def __init__(self, view: View, name: str, wanted: int) -> None:
        self.lines: list[Mapping[str, float]] = []
        self._view, self._name, self._wanted = view, name, wanted

    def stage(self, name: str, kind: str, total_steps: int | None) -> None:
        """Shows nothing."""

    def expect(self, total_steps: int) -> None:
        """Expects what was asked for."""

    def step(self, step: int, metrics: Mapping[str, float]) -> None:
        """Keeps the metrics."""
        self.lines.append(dict(metrics))
        self._view.progress(f"profiling {self._name}", len(self.lines), self._wanted)
        if len(self.lines) == _WARM_UP:
            from thinkery.rollout.native.worker_processes import WORKER_PROCESSES

            WORKER_PROCESSES.wait()
        if len(self.lines) == self._wanted:
            raise _Enough

    def completion(self, prompt: str, text: str, reward: float, correct: bool) -> None:
        """Shows nothing."""

    def note(self, text: str) -> None:
        """Shows it."""
        self._view.note(text)

    def progress(self, description: str, done: int, total: int) -> None:
        """Shows it."""
        self._view.progress(description, done, total)

    def stage_done(self, name: str, summary: Mapping[str, object]) -> None:
        """Shows nothing."""

    def close(self) -> None:
        """The view is its owner's to close."""


def _measured(
    recipe: Recipe, stage: StageBase, steps: int, resolve: Callable[[str], str], view: View
) -> tuple[list[Mapping[str, float]], str]:
    """The metrics of ``steps`` steps of the stage, run in a folder that is gone afterwards; and the device."""
    import torch

    from thinkery.models.loading import place_of

    device = place_of(stage.device)
    watcher = _Watcher(view, stage.name, _WARM_UP + steps)
    clock = Clock(torch.cuda.synchronize if device.type == "cuda" else None)
    with tempfile.TemporaryDirectory(prefix="thinkery-profile-") as name, Run(Path(name) / "run") as run:
        stage_run = run.stage(stage.name)
        stage_run.start({"profile": stage.name})
        context = StageContext(recipe, stage_run, watcher, resolve, clock)
        try:
            runner_of(stage.kind)(stage.shortened(_WARM_UP + steps), context)
        except _Enough:
            return watcher.lines[_WARM_UP:], str(device)
    raise AssertionError(f"{stage.name} ended after {len(watcher.lines)} steps")


def _sizes(place: str) -> dict[str, int]:
    """What of a model's sizes the time beside its products goes with."""
    import torch
    from transformers import AutoModelForCausalLM

    from thinkery.models.flops import shape_of
    from thinkery.models.pretrained import make_model, read_config

    with torch.device("meta"):
        model = make_model(AutoModelForCausalLM, read_config(place, place), place)
    config = model.config.get_text_config()
    shape = shape_of(model, config.vocab_size, torch.float32)
    return {"layers": config.num_hidden_layers, "activations": shape.activations}


def _chosen(recipe: Recipe, name: str | None) -> StageBase:
    """The stage to be measured: the one named, else the first that samples, else the first that can be."""
    fit = [stage for stage in recipe.stages if stage.shortened(1) is not None]
    if not fit:
        raise UserError(f"{recipe.name} has no stage to profile: only stages of kind rl and sft can be")
    if name is None:
        return next((stage for stage in fit if stage.with_few_problems() is not None), fit[0])
    for stage in fit:
        if stage.name == name:
            return stage
    other = next((stage for stage in recipe.stages if stage.name == name), None)
    what = "no such stage" if other is None else f"a stage of kind {other.kind}"
    names = ", ".join(stage.name for stage in fit)
    raise UserError(f"--stage {name}: {what}; those of kind rl and sft can be profiled: {names}")


def _resolver(recipe: Recipe, stage: Stage, run: Path | None) -> Callable[[str], str]:
    """Maps what the stage refers to to what can be loaded; what it needs of other stages is looked at here already."""
    from thinkery.models.loading import resolve_model

    made = {one.name: one for one in recipe.stages}
    sources = [(f"{field}.source", spec.source) for field, spec in stage.data_specs()]
    outputs = {
        reference: _output(f"{stage.name}.{field}", made[reference], run)
        for field, reference in [*stage.policies(), *stage.reward_models(), *sources]
        if reference in made
    }

    def resolve(reference: str) -> str:
        if reference in outputs:
            return str(outputs[reference])
        return resolve_model(recipe.base if reference == BASE and recipe.base is not None else reference)

    return resolve


def _output(field: str, maker: Stage, run: Path | None) -> Path:
    """The result of a stage in a run in which it is done."""
    if run is None:
        raise UserError(
            f"{field} = {maker.name!r} is made by another stage: name a run in which it is done with --run, or profile "
            "a stage that starts from the base"
        )
    if not (run / "manifest.json").exists():
        raise UserError(f"--run {run}: no run folder, it has no manifest.json")
    manifest, _ = read_manifest(run)
    output = run / "checkpoints" / maker.name / maker.output
    if manifest["stages"].get(maker.name, {}).get("status") != "done" or not output.is_dir():
        raise UserError(f"--run {run}: its stage {maker.name} is not done, and {field} needs it")
    outputs = manifest["stages"][maker.name].get("outputs")
    for name, checksum in outputs.items() if isinstance(outputs, dict) else ():
        if fault := fault_of(run / name, checksum, sha256_of):
            raise UserError(f"--run {run}: {name}: {fault}")
    return output


def _mean(lines: Sequence[Mapping[str, float]], name: str) -> float | None:
    """The mean over steps, in which a part may have had nothing to do; None if no step knows of it."""
    if not any(name in line for line in lines):
        return None
    return statistics.fmean(line.get(name, 0.0) for line in lines)


def _rates(means: Mapping[str, float | None], total: float, peaks: Peaks, dtype: str) -> dict[str, float | None]:
    """A row of the profile."""
    seconds = means["time"] or 0.0
    row: dict[str, float | None] = {"seconds": seconds, "share": seconds / total}
    for kind in _COUNTED:
        row |= _per_second(kind, means[kind], seconds)
    for share, kind, peak in (
        ("flop_share", "flops", peaks.flop_per_s[dtype]),
        ("byte_share", "bytes", peaks.bytes_per_s),
    ):
        rate = row[f"{kind}_per_s"]
        row[share] = None if rate is None else rate / peak
    return row


def _per_second(kind: str, amount: float | None, seconds: float) -> dict[str, float | None]:
    return {kind: amount, f"{kind}_per_s": amount / seconds if amount and seconds else None}
