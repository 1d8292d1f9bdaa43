"""A run folder, read back for the report: recipe, manifest, summary, metrics as columns, sampled completions.

A run in progress is a run: whatever is not there yet is empty. What is read is bounded, so that a run of ten thousand
steps makes a page that still opens: long curves are averaged into points, completions are taken from evenly spread
steps and very long ones lose their middle.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from thinkery.types import UserError

MAX_POINTS = 1500  # of a curve
MAX_STEPS = 40  # with completions, of a stage
MAX_ROWS = 64  # completions of a step
MAX_ALL_ROWS = 6000  # completions of the whole page
MAX_CHARACTERS = 12_000  # of a completion
COLUMNS = (
    *("problem_id", "index", "prompt", "completion", "thinking", "answer", "reference", "correct", "outcome"),
    *("reason", "reward", "level", "language", "length", "finish_reason", "advantage"),
)

Curves = dict[str, list[float | None]]
Row = dict[str, Any]


@dataclass(frozen=True)
class RunFiles:
    """What a run folder holds.

    ``metrics`` maps a stage to its columns, all of the length of its ``step`` column, None where a step did not log the
    metric. ``completions`` maps a stage to its logged steps in order, each with its rows. Stages stand in the order
    in which they began. ``collected`` maps a stage that collects data to the rows of its table, one a domain.
    """

    folder: Path
    recipe: dict[str, Any]
    recipe_text: str
    manifest: dict[str, Any]
    summary: dict[str, Any]
    metrics: dict[str, Curves]
    completions: dict[str, list[tuple[int, list[Row]]]]
    collected: dict[str, list[Row]]


def read_run(folder: Path) -> RunFiles:
    """Reads a run folder. Raises ``UserError`` if there is none, or if a file in it is not what it should be."""
    if not folder.is_dir():
        raise UserError(f"there is no run folder {folder}: give the folder that `thinkery run` wrote to")
    recipe_path = folder / "recipe.yaml"
    recipe_text = recipe_path.read_text(encoding="utf-8") if recipe_path.exists() else ""
    recipe = yaml.safe_load(recipe_text) or {}
    if not isinstance(recipe, dict):
        raise UserError(f"{recipe_path} is not a recipe: it should be a mapping with name, base and stages")
    return RunFiles(
        folder=folder,
        recipe=recipe,
        recipe_text=recipe_text,
        manifest=_read_json(folder / "manifest.json"),
        summary=_read_json(folder / "summary.json"),
        metrics=_read_metrics(folder / "metrics.jsonl"),
        completions=_read_completions(folder / "completions"),
        collected=_read_collected(folder, recipe),
    )


def _read_json(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is not JSON: {error}") from error
    return value if isinstance(value, dict) else {}


def _read_collected(folder: Path, recipe: Mapping[str, Any]) -> dict[str, list[Row]]:
    """The tables that the stages of kind collect have written."""
    names = [stage["name"] for stage in recipe.get("stages") or [] if stage.get("kind") == "collect"]
    paths = {name: folder / "checkpoints" / name / "data" / "table.json" for name in names}
    return {name: json.loads(path.read_text(encoding="utf-8")) for name, path in paths.items() if path.exists()}


def _read_metrics(path: Path) -> dict[str, Curves]:
    """The lines of ``metrics.jsonl`` as columns, at most ``MAX_POINTS`` long."""
    if not path.exists():
        return {}
    records: dict[str, dict[int, Mapping[str, Any]]] = {}
    lines = path.read_text(encoding="utf-8").split("\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            records.setdefault(str(record["stage"]), {})[int(record["step"])] = record
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines):  # no newline behind it: the run is writing this line just now
                break
            raise UserError(f"{path}, line {number}: not a metrics record with stage and step: {line[:80]}") from error
    return {stage: _columns([steps[step] for step in sorted(steps)]) for stage, steps in records.items()}


def _columns(records: Sequence[Mapping[str, Any]]) -> Curves:
    names = {name for record in records for name, value in record.items() if _is_number(value)} - {"time", "step"}
    size = math.ceil(len(records) / MAX_POINTS)
    buckets = [records[start : start + size] for start in range(0, len(records), size)]
    columns: Curves = {"step": [float(bucket[-1]["step"]) for bucket in buckets]}
    for name in sorted(names):
        columns[name] = [_mean([record.get(name) for record in bucket]) for bucket in buckets]
    return columns


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _mean(values: Sequence[object]) -> float | None:
    finite = [float(v) for v in values if isinstance(v, int | float) and math.isfinite(v)]
    return sum(finite) / len(finite) if finite else None


def _read_completions(folder: Path) -> dict[str, list[tuple[int, list[Row]]]]:
    """Completions of evenly spread steps, the first and the last among them. Files are ``<stage>-<step>.parquet``."""
    paths: dict[str, dict[int, Path]] = {}
    for path in folder.glob("*.parquet"):
        stage, _, step = path.stem.rpartition("-")
        if stage and step.isdigit():
            paths.setdefault(stage, {})[int(step)] = path
    stages = sorted(paths, key=lambda stage: min(path.stat().st_mtime for path in paths[stage].values()))
    chosen = {stage: _spread(sorted(paths[stage]), MAX_STEPS) for stage in stages}
    limit = min(MAX_ROWS, max(4, MAX_ALL_ROWS // max(1, sum(map(len, chosen.values())))))
    return {stage: [(step, _read_rows(paths[stage][step], limit)) for step in chosen[stage]] for stage in stages}


def _spread(steps: Sequence[int], limit: int) -> list[int]:
    if len(steps) <= limit:
        return list(steps)
    return [steps[round(i * (len(steps) - 1) / (limit - 1))] for i in range(limit)]


def _read_rows(path: Path, limit: int) -> list[Row]:
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path} is damaged ({reason}); it only shows samples: take it away to go on") from None
    rows = table.slice(0, limit).to_pylist()
    return [{name: _plain(row.get(name)) for name in COLUMNS} for row in rows]


def _plain(value: Any) -> Any:
    """A cell as JSON can hold it: no NaN, and text of bounded length."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, str) and len(value) > MAX_CHARACTERS:
        half = MAX_CHARACTERS // 2
        return f"{value[:half]}\n[… {len(value) - 2 * half:,} characters left out of this page …]\n{value[-half:]}"
    return value
