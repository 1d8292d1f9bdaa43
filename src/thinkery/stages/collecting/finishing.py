"""Batches on disk, and the set that they become: without near duplicates and without what it must not hold.

Every batch is a file of rows, kept and dropped samples alike. Left out: how files of batches are kept (``parts.py``),
and how texts are compared (``problems/overlap.py``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from thinkery.files import write_json_atomic
from thinkery.problems.demonstrations import FILE_NAME
from thinkery.problems.overlap import Benchmarks, Item, find_duplicates
from thinkery.stages import parts
from thinkery.stages.collecting.samples import KEPT, Reason, Sample, dropped, question_of
from thinkery.stages.collecting.table import Table

Row = dict[str, Any]
Loss = tuple[Reason, str]
_PART = "part-"
_KEPT = frozenset(reason.value for reason in KEPT)


def write_part(folder: Path, before: Path | None, batch: int, samples: Iterable[Sample]) -> None:
    """Writes a batch into a checkpoint's ``folder``, next to the batches of the checkpoint ``before``."""
    parts.write_part(folder, before, f"{_PART}{batch:06d}", (sample.row() for sample in samples))


def read_parts(folder: Path) -> Iterator[Row]:
    """The rows of a checkpoint's batches, in their order."""
    return parts.read_parts(folder, _PART)


def sift(rows: Iterable[Row], deduplicate: float | None, benchmarks: Benchmarks | None) -> dict[int, Loss]:
    """Which kept rows, by position, share text with a benchmark or with an earlier kept row.

    ``deduplicate`` is the share of 5-grams that makes two samples (prompt, thinking and answer) the same. In memory are
    the kept rows alone.
    """
    kept = {position: (row["id"], texts_of(row)) for position, row in enumerate(rows) if row["reason"] in _KEPT}
    lost: dict[int, Loss] = {}
    if benchmarks is not None:
        for position, (identity, texts) in kept.items():
            match = benchmarks.match(Item(identity, texts))
            if match is not None:
                lost[position] = Reason.CONTAMINATED, f"shares with {match.item}: {match.shared}"
    if deduplicate is not None:
        items = [Item(str(p), ("\n".join(texts),)) for p, (_, texts) in kept.items() if p not in lost]
        for duplicate in find_duplicates(items, deduplicate):
            first, _ = kept[int(duplicate.first)]
            detail = f"{duplicate.similarity:.0%} of its 5-grams are those of {first}"
            lost[int(duplicate.place)] = Reason.DUPLICATE, detail
    return lost


def write_set(checkpoint: Path, lost: Mapping[int, Loss], table: Table, folder: Path) -> None:
    """Writes ``data.jsonl``, ``dropped.jsonl`` and ``table.json`` into ``folder``, and counts the rows in ``table``."""
    with parts.open_lines(folder / FILE_NAME) as data, parts.open_lines(folder / "dropped.jsonl") as rest:
        for position, row in enumerate(read_parts(checkpoint)):
            if position in lost:
                row = dropped(row, *lost[position])
            table.add(row)
            if row["reason"] in _KEPT:
                del row["text"]  # only what it was rewritten to is to be learnt from
                data.write(parts.line_of(row))
            else:
                rest.write(parts.line_of(row))
    write_json_atomic(folder / "table.json", table.rows())


def texts_of(row: Mapping[str, Any]) -> tuple[str, ...]:
    """What of a sample is compared: what its user asks, its thinking, its answer."""
    return tuple(text for text in (question_of(row["prompt"]), row["thinking"], row["answer"]) if text)
