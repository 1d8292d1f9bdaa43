"""Takes out of a set of problems what benchmarks hold, and what it holds twice: behind ``thinkery decontaminate``.

DeepSeek-R1 removes training text that shares ten words in a row with an evaluation's question or solution. Rows that
stay are written as they are, byte for byte where the input is JSON lines. Left out: how texts are compared
(``problems/overlap.py``).
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from thinkery.files import write_bytes_atomic
from thinkery.problems.columns import item_of
from thinkery.problems.files import Row
from thinkery.problems.labels import Columns
from thinkery.problems.overlap import (
    CHARACTERS,
    NEAR,
    WORDS,
    Contamination,
    Duplicate,
    Item,
    contamination,
    find_duplicates,
)
from thinkery.problems.source import read_benchmarks, read_texts
from thinkery.types import UserError


@dataclass(frozen=True, slots=True)
class DecontaminationReport:
    """What was found and what is left. ``contamination`` is None if no benchmark was named."""

    source: str
    output: str | None
    total: int
    kept: int
    contamination: Contamination | None
    duplicates: Sequence[Duplicate]

    def render(self, shown: int = 10) -> str:
        """The report as text: counts, then the first ``shown`` of each kind with the text that they share."""
        lines = [f"{self.source}: {self.kept:,} of {self.total:,} problems kept"]
        if self.contamination is not None:
            lines.append(self.contamination.summary())
            for match in self.contamination.matches[:shown]:
                what = "is" if match.exact else "shares with"
                lines.append(f"  {match.place} {what} {match.item}: {_short(match.shared)}")
            lines += _more(len(self.contamination.matches), shown)
            common = self.contamination.benchmarks.common
            if common:
                lines.append(
                    f"  {common:,} n-grams are in so many items of a benchmark that they count as instructions"
                )
        if self.duplicates:
            exact = sum(duplicate.exact for duplicate in self.duplicates)
            nearly = len(self.duplicates) - exact
            lines.append(f"problems that repeat an earlier one: {len(self.duplicates):,} ({nearly:,} nearly)")
            for duplicate in self.duplicates[:shown]:
                lines.append(
                    f"  {duplicate.place} repeats {duplicate.first} ({duplicate.similarity:.0%} of its 5-grams)"
                )
            lines += _more(len(self.duplicates), shown)
        if self.output is not None:
            lines.append(f"written to {self.output}")
        return "\n".join(lines)


def decontaminate_problems(
    source: str,
    *,
    against: Sequence[str],
    output: Path | None = None,
    split: str = "train",
    columns: Columns | None = None,
    words: int = WORDS,
    characters: int = CHARACTERS,
    answers: bool = False,
    deduplicate: bool = False,
    near: float = NEAR,
) -> DecontaminationReport:
    """Finds the problems of ``source`` that overlap with one of ``against``, and writes the others to ``output``.

    ``words`` and ``characters`` are the lengths of the n-grams; ``answers`` compares answers as well as prompts.
    ``deduplicate`` also takes out what repeats an earlier problem, exactly or with the share ``near`` of its 5-grams.
    Raises ``UserError`` for what can't be read or written.
    """
    _check_arguments(source, against, output, words, characters, deduplicate, near)
    benchmarks = read_benchmarks(against, words=words, characters=characters, answers=answers) if against else None
    rows: list[Row] = []
    items: list[Item] = []
    for row, prompt, answer in read_texts(source, split, columns):
        rows.append(row)
        items.append(item_of(row, prompt, answer if answers else None))
    found = None if benchmarks is None else contamination(items, benchmarks)
    removed = {match.place for match in found.matches} if found else set()
    clean = [item for item in items if item.place not in removed]
    duplicates = find_duplicates(clean, near) if deduplicate else []
    removed |= {duplicate.place for duplicate in duplicates}
    kept = [row for row in rows if row.place not in removed]
    if output is not None:
        _write(output, kept)
    written = None if output is None else str(output)
    return DecontaminationReport(source, written, len(rows), len(kept), found, duplicates)


def _check_arguments(
    source: str,
    against: Sequence[str],
    output: Path | None,
    words: int,
    characters: int,
    deduplicate: bool,
    near: float,
) -> None:
    if not against and not deduplicate:
        raise UserError("nothing to do: name benchmarks with --against, or say --deduplicate")
    numbers: Mapping[str, int] = {"words": words, "characters": characters}
    for name, value in numbers.items():
        if value < 3:
            raise UserError(f"--{name} = {value}: must be at least 3, usual are 8 to 13 words and 16 characters")
    if not 0.5 <= near <= 1:
        raise UserError(f"--near = {near:g}: must be between 0.5 and 1")
    if output is None:
        return
    if not output.name.endswith((".jsonl", ".jsonl.gz")):
        raise UserError(f"--output {output}: must end in .jsonl or .jsonl.gz")
    if not output.parent.is_dir():
        raise UserError(f"--output {output}: there is no folder {output.parent}")
    for taken in (source, *against):
        if output.exists() and Path(taken).exists() and output.samefile(taken):
            raise UserError(f"--output {output}: is read here; write to another file")


def _write(output: Path, rows: Sequence[Row]) -> None:
    content = b"".join(_line(row) for row in rows)
    write_bytes_atomic(output, gzip.compress(content, mtime=0) if output.name.endswith(".gz") else content)


def _line(row: Row) -> bytes:
    if row.line is not None:
        return row.line
    return (json.dumps(row.values(), ensure_ascii=False, default=str) + "\n").encode("utf-8", "backslashreplace")


def _more(count: int, shown: int) -> list[str]:
    return [f"  and {count - shown:,} more"] if count > shown else []


def _short(text: str) -> str:
    return text if len(text) <= 120 else text[:117] + "..."
