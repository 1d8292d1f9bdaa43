"""Runs read back for the phenomena: every model's samples and every stage's curves, found by name and by seed.

Runs of the same seed belong together: a recipe of comparisons adds its stages to those of the ladder it compares with.
Whatever a run lacks is ``NotMeasuredError``, never a guess. Left out: what the figures mean (the other modules).
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from thinkery.evaluation.intervals import Estimate, Statistic, estimate
from thinkery.evaluation.samples import Floats, Samples
from thinkery.types import UserError

MIN_PROBLEMS = 30  # fewer, and the bootstrap's intervals are too narrow to be believed
MIN_STEPS = 20


class NotMeasuredError(Exception):
    """The runs lack what a phenomenon needs. The message says what."""


FIGURES: Mapping[str, Callable[[Samples], Floats]] = {
    "pass@1": lambda samples: samples.pass_1,
    "pass@k": lambda samples: samples.pass_k,
    "cons@k": lambda samples: samples.cons,
    "preference": lambda samples: samples.mean("preference"),
    "thinking_length": lambda samples: samples.mean("thinking_length"),
    "reflections": lambda samples: samples.mean("reflections"),
    "language_share": lambda samples: samples.mean("language_share"),
}


@dataclass(frozen=True, slots=True)
class Column:
    """A figure (of ``FIGURES``) of a model on a held-out set."""

    model: str
    figure: str = "pass@1"
    benchmark: str = "reasoning"


@dataclass(frozen=True)
class MeasuredTable:
    """Figures of the same problems in all runs: ``values`` (R, P, C), ``levels`` (P,)."""

    values: Floats
    levels: NDArray[np.int64]
    benchmark: str

    @property
    def over(self) -> str:
        """What was resampled, for people."""
        return f"{self.values.shape[1]:,} problems of {self.benchmark} in {runs_of(self.values.shape[0])}"

    def means(self) -> list[float]:
        """The mean of every column over problems and runs."""
        return [float(value) for value in self.values.mean(axis=(0, 1))]

    def part(self, low: int, high: int) -> MeasuredTable:
        """The problems of levels ``low`` to ``high``."""
        kept = (low <= self.levels) & (self.levels <= high)
        return MeasuredTable(self.values[:, kept], self.levels[kept], self.benchmark)


class RunData:
    """One run folder's data. Raises ``UserError`` if it is none."""

    def __init__(self, folder: Path) -> None:
        recipe_path, manifest_path = folder / "recipe.yaml", folder / "manifest.json"
        for path in (manifest_path, recipe_path):
            if not path.exists():
                raise UserError(f"{folder} is no run folder: it has no {path.name}")
        self.folder = folder
        self.recipe: dict[str, Any] = yaml.safe_load(recipe_path.read_text(encoding="utf-8")) or {}
        self.seed = int(json.loads(manifest_path.read_text(encoding="utf-8")).get("seed") or 0)
        self._curves: dict[str, dict[int, dict[str, Any]]] | None = None
        self.samples = cache(self._samples)

    def _samples(self, model: str, benchmark: str) -> Samples | None:
        """A model's samples on a held-out set; None if it was not evaluated."""
        path = self.folder / "evaluations" / f"{model}.{benchmark}.parquet"
        return Samples.read(path) if path.exists() else None

    def curve(self, stage: str, metrics: Sequence[str]) -> Floats:
        """(steps, metrics): the steps of a stage that logged all of them, in order; no row if there are none."""
        if self._curves is None:
            self._curves = _read_metrics(self.folder / "metrics.jsonl")
        steps = self._curves.get(stage, {})
        rows = [[steps[step].get(name) for name in metrics] for step in sorted(steps)]
        known = [row for row in rows if all(value is not None for value in row)]
        return np.array(known, dtype=np.float64).reshape(-1, len(metrics))

    def stages(self) -> list[str]:
        """The names of the recipe's stages."""
        return [stage["name"] for stage in self.recipe.get("stages") or []]

    def parameters(self, stage: str) -> int | None:
        """How many numbers a stage's model has, by the headers of its weight files; None if it isn't there."""
        files = sorted((self.folder / "checkpoints" / stage / "model").glob("*.safetensors"))
        return sum(map(_numbers_in, files)) or None


class Ladder:
    """Runs of the ladder (the stages from base to R1) with different seeds.

    ``folders`` are runs of the ladder's recipe and of recipes that compare with it; those of one seed belong together,
    and where two of them have a model of the same name, the first is taken.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        if not folders:
            raise UserError("name at least one run folder")
        self.runs = [RunData(folder) for folder in folders]
        self._by_seed: dict[int, list[RunData]] = {}
        for run in self.runs:
            self._by_seed.setdefault(run.seed, []).append(run)

    def table(self, *columns: Column, domain: str | None = None) -> MeasuredTable:
        """Figures of the problems that all columns have, for every seed that has all the models.

        Raises ``NotMeasuredError`` if there is no such seed, or if it has too few problems.
        """
        return self.tables((columns, domain))[0]

    def tables(self, *wanted: tuple[Sequence[Column], str | None]) -> list[MeasuredTable]:
        """Several tables (columns, domain or None), for the seeds that have all of them."""
        measured = []
        for runs in self._by_seed.values():
            found = [[_samples_of(runs, column) for column in columns] for columns, _ in wanted]
            if all(samples is not None for part in found for samples in part):
                measured.append(found)
        if not measured:
            names = dict.fromkeys(f"{one.model} on {one.benchmark}" for columns, _ in wanted for one in columns)
            raise NotMeasuredError(f"no run has evaluated {', '.join(names)}")
        return [_table(columns, domain, [c[i] for c in measured]) for i, (columns, domain) in enumerate(wanted)]

    def curves(self, *wanted: tuple[str, Sequence[str]], least: int = MIN_STEPS) -> list[list[Floats]]:
        """Curves (steps, metrics) of stages: one list a stage, one array a seed that has all of them.

        Raises ``NotMeasuredError`` if no seed has ``least`` steps of each.
        """
        measured = []
        for runs in self._by_seed.values():
            curves = (_curve_of(runs, stage, metrics) for stage, metrics in wanted)
            found = [curve for curve in curves if curve is not None and len(curve) >= least]
            if len(found) == len(wanted):
                measured.append(found)
        if not measured:
            names = [f"{stage} with {' and '.join(metrics)}" for stage, metrics in wanted]
            raise NotMeasuredError(f"no run has {least} steps of {', '.join(names)}")
        return [[one[i] for one in measured] for i in range(len(wanted))]

    def models(self, prefix: str) -> list[str]:
        """The stages whose names begin so, in the order of the recipes."""
        return list(dict.fromkeys(name for run in self.runs for name in run.stages() if name.startswith(prefix)))

    def parameters(self, stage: str) -> int:
        """The size of a stage's model. ``NotMeasuredError`` if no run has it."""
        sizes = [size for run in self.runs if (size := run.parameters(stage)) is not None]
        if not sizes:
            raise NotMeasuredError(f"no run has the model of {stage}")
        return sizes[0]

    def estimate(self, statistic: Statistic, *tables: MeasuredTable | Floats, confidence: float = 0.95) -> Estimate:
        """A statistic of the means of the tables' columns side by side; see ``bootstrap.estimate``."""
        values = [table.values if isinstance(table, MeasuredTable) else table for table in tables]
        return estimate(values, statistic, seed=self.seed, confidence=confidence)

    @property
    def seed(self) -> int:
        """The seed of the resampling: the first run's."""
        return self.runs[0].seed


def _samples_of(runs: Sequence[RunData], column: Column) -> Samples | None:
    """The samples of the first run that has them."""
    found = (run.samples(column.model, column.benchmark) for run in runs)
    return next((samples for samples in found if samples is not None), None)


def _curve_of(runs: Sequence[RunData], stage: str, metrics: Sequence[str]) -> Floats | None:
    """The curve of the first run that has the stage."""
    return next((run.curve(stage, metrics) for run in runs if stage in run.stages()), None)


def _table(
    columns: Sequence[Column], domain: str | None, measured: Sequence[Sequence[Samples | None]]
) -> MeasuredTable:
    """Figures (R, P, C) of the problems that all samples share."""
    parts = [
        [_by_problem(samples, column.figure, domain) for samples, column in zip(found, columns, strict=True) if samples]
        for found in measured
    ]
    shared = [problem for problem in parts[0][0] if all(problem in one for part in parts for one in part)]
    where = columns[0].benchmark + (f" ({domain})" if domain else "")
    if len(shared) < MIN_PROBLEMS:
        raise NotMeasuredError(
            f"{len(shared)} problems of {where} with {columns[0].figure} are too few, {MIN_PROBLEMS} are needed"
        )
    values = np.array([[[one[problem][0] for one in part] for problem in shared] for part in parts])
    return MeasuredTable(values, np.array([parts[0][0][problem][1] for problem in shared]), where)


def _by_problem(samples: Samples, figure: str, domain: str | None) -> dict[tuple[Any, ...], tuple[float, int]]:
    """Problem -> figure and level, for the problems of a domain (None: all) that have the figure.

    A problem is its id with what is known of it: sets of other settings may number other problems alike.
    """
    labels = [samples.labels(name) for name in ("domain", "kind", "level", "language")]
    values = FIGURES[figure](samples)
    return {
        (problem, found, *rest): (float(value), rest[1])
        for problem, value, found, *rest in zip(samples.ids, values, *labels, strict=True)
        if domain in (None, found) and not np.isnan(value)
    }


def _read_metrics(path: Path) -> dict[str, dict[int, dict[str, Any]]]:
    """Stage -> step -> metrics; a line that is being written is left out."""
    stages: dict[str, dict[int, dict[str, Any]]] = {}
    for line in path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []:
        record = json.loads(line)
        stages.setdefault(record["stage"], {})[record["step"]] = record
    return stages


def _numbers_in(path: Path) -> int:
    """The number of weights in a safetensors file: the header is JSON behind its length in eight bytes."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header: dict[str, Any] = json.loads(file.read(length))
    return sum(int(np.prod(entry["shape"])) for name, entry in header.items() if name != "__metadata__")


def runs_of(count: int) -> str:
    """A number of runs, for people."""
    return f"{count} runs" if count > 1 else "one run"
