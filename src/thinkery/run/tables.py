"""Tables of a run folder: the columns of sampled completions and of evaluations' samples, and how they are written.

Left out: which rows there are (the stages know), and reading them (``report``, ``evaluation``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from thinkery.files import write_bytes_atomic

COMPLETION_COLUMNS = {
    "stage": "string",
    "step": "int64",
    "problem_id": "string",
    "index": "int64",
    "prompt": "string",
    "completion": "string",
    "thinking": "string",
    "answer": "string",
    "reference": "string",
    "correct": "bool",
    "outcome": "string",
    "reason": "string",
    "reward": "double",
    "advantage": "double",
    "level": "int64",
    "language": "string",
    "length": "int64",
    "finish_reason": "string",
}
SAMPLE_COLUMNS = {
    "problem_id": "string",
    "domain": "string",
    "kind": "string",  # what sort of problem within its domain; null where its source doesn't say
    "level": "int64",
    "language": "string",
    "index": "int64",
    "checked": "bool",  # whether a rule could say right or wrong
    "correct": "bool",
    "answer": "string",  # in normal form
    "well_formed": "bool",
    "truncated": "bool",
    "length": "int64",  # tokens
    "thinking_length": "int64",  # tokens
    "reflections": "int64",  # reflection words in the thinking
    "language_share": "double",  # of the thinking's words in the question's language; null where no word counts
    "preference": "double",  # against the reference: 1 won, 0.5 tied, 0 lost; null where nobody judged
    "safe": "bool",  # null where nobody judged
}


def write_table(path: Path, rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> None:
    """Writes rows as parquet; a column that a row lacks is null."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    unknown = {column for row in rows for column in row} - columns.keys()
    if unknown:
        raise ValueError(f"unknown columns {sorted(unknown)}")
    schema = pa.schema([(name, pa.type_for_alias(kind)) for name, kind in columns.items()])
    buffer = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows], schema), buffer, compression="zstd")
    path.parent.mkdir(exist_ok=True)
    write_bytes_atomic(path, buffer.getvalue())
