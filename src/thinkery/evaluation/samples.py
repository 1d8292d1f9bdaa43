"""Every sample of one evaluation as a table of problems x samples, and what it says of each problem.

The same table is made when a model is evaluated and read back from the run folder, so that a report, an interval and a
phenomenon rest on the same numbers. Left out: means over problems and their intervals (``summary.py``, ``bootstrap``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thinkery.evaluation.reducers import avg_at_k, cons_at_k, pass_at_k
from thinkery.types import Outcome, UserError, Verdict

Floats = NDArray[np.float64]


class Samples:
    """P problems with k samples each. Every figure is (P,): one value a problem, in the order of ``ids``.

    ``rows`` have the columns of ``run.SAMPLE_COLUMNS``, in any order; what a row lacks is null. Raises ``UserError`` if
    there are none, or if the problems don't all have the same number of samples.
    """

    def __init__(self, rows: Sequence[Mapping[str, Any]]) -> None:
        if not rows:
            raise UserError("evaluation: there are no problems to evaluate; check the source, levels and languages")
        grouped: dict[str, list[Mapping[str, Any]]] = {}
        for row in rows:
            grouped.setdefault(row["problem_id"], []).append(row)
        self.ids = tuple(grouped)
        self.k = len(rows) // len(grouped)
        self._rows = [sorted(group, key=lambda row: row["index"]) for group in grouped.values()]
        uneven = [name for name, group in zip(self.ids, self._rows, strict=True) if len(group) != self.k]
        if uneven:
            raise UserError(f"evaluation: problem {uneven[0]} has another number of samples than the rest, {self.k}")

    @classmethod
    def read(cls, path: Path) -> Samples:
        """The table of a file ``evaluations/<model>.<set>.parquet``."""
        import pyarrow.parquet as pq

        return cls(pq.read_table(path).to_pylist())

    def __len__(self) -> int:
        return len(self.ids)

    def labels(self, name: str) -> list[Any]:
        """A column that belongs to the problem: domain, kind, level or language."""
        return [rows_K[0][name] for rows_K in self._rows]

    def mean(self, name: str) -> Floats:
        """The mean of a column over each problem's samples; NaN where none of them has a value."""
        return np.array([_mean([row.get(name) for row in rows_K]) for rows_K in self._rows])

    @cached_property
    def checked(self) -> NDArray[np.bool_]:
        """Whether a rule could say right or wrong."""
        return np.array([rows_K[0]["checked"] for rows_K in self._rows])

    @property
    def pass_1(self) -> Floats:
        """The share of correct samples (avg@k); NaN where no rule can check."""
        return self._checked([avg_at_k(verdicts_K) for verdicts_K in self._verdicts])

    @property
    def pass_k(self) -> Floats:
        """Whether any of the k samples is correct; NaN where no rule can check."""
        counts_P = [sum(verdict.correct for verdict in verdicts_K) for verdicts_K in self._verdicts]
        return self._checked([pass_at_k(self.k, count, self.k) for count in counts_P])

    @property
    def cons(self) -> Floats:
        """Whether the majority vote of the k samples is correct; NaN where no rule can check."""
        return self._checked([cons_at_k(verdicts_K) for verdicts_K in self._verdicts])

    @property
    def reflection(self) -> Floats:
        """The share of samples with a reflection word."""
        return np.array([_mean([row["reflections"] > 0 for row in rows_K]) for rows_K in self._rows])

    @cached_property
    def _verdicts(self) -> list[list[Verdict]]:
        return [[_verdict(row) for row in rows_K] for rows_K in self._rows]

    def _checked(self, values_P: Sequence[float]) -> Floats:
        return np.where(self.checked, np.asarray(values_P, dtype=np.float64), np.nan)


def _mean(values: Sequence[Any]) -> float:
    known = [float(value) for value in values if value is not None]
    return sum(known) / len(known) if known else float("nan")


def _verdict(row: Mapping[str, Any]) -> Verdict:
    return Verdict(Outcome.CORRECT if row["correct"] else Outcome.WRONG, answer=row["answer"])
