"""Rows of a data stage kept batch by batch in its checkpoints, and the look at reference answers before it samples.

Left out: what the rows are (``collect.py``, ``judge.py``).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from thinkery.files import link_or_copy
from thinkery.problems.source import ProblemSource
from thinkery.rewards.grader import Grader
from thinkery.rewards.references import check_references
from thinkery.types import Problem

if TYPE_CHECKING:
    from thinkery.report.terminal import View


def require_references(
    stage: str, source: ProblemSource, problems: Sequence[Problem], grader: Grader, view: View
) -> Collection[str]:
    """The ids of the problems to be left out: their own answer can't be read, or isn't accepted and may be skipped.

    Raises ``UserError`` if a reward needs a column that no problem has, or a reference can be read and isn't accepted
    where the recipe doesn't say ``on_bad_row: skip``.
    """
    grader.require_columns(problems)
    report = check_references(grader, problems, lambda done: view.progress("checking references", done, len(problems)))
    skipped = report.require(source.place, source.skips)
    for note in [*source.notes, f"{report.checked:,} reference answers checked", *report.notes(source.place)]:
        view.note(f"{stage}: {note}")
    return report.masked | skipped


def write_part(folder: Path, before: Path | None, name: str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes a batch into a checkpoint's ``folder``, beside the batches of the checkpoint ``before``."""
    for path in sorted(before.glob("*.jsonl")) if before is not None else ():
        link_or_copy(path, folder / path.name)
    write_lines(folder / f"{name}.jsonl", rows)


def read_part(folder: Path, name: str) -> list[dict[str, Any]]:
    """The rows of a batch."""
    return list(_read(folder / f"{name}.jsonl"))


def read_parts(folder: Path, prefix: str) -> Iterator[dict[str, Any]]:
    """The rows of all batches whose names begin so, in the order of the names."""
    for path in sorted(folder.glob(f"{prefix}*.jsonl")):
        yield from _read(path)


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes JSON lines. Half a character, which a model may write, is escaped."""
    with open_lines(path) as file:
        file.writelines(map(line_of, rows))


def open_lines(path: Path) -> TextIO:
    """A file for lines of JSON. A lone surrogate, half a character, becomes JSON's own escape."""
    return path.open("w", encoding="utf-8", errors="backslashreplace")


def line_of(row: Mapping[str, Any]) -> str:
    """A row as a line."""
    return json.dumps(row, ensure_ascii=False) + "\n"


def _read(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)
