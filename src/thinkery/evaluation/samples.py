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
from thinkery.tables import SAMPLE_COLUMNS
from thinkery.types import Outcome, UserError, Verdict

Floats = NDArray[np.float64]
_TEXTS = ("problem_id", "domain", "kind", "language", "answer")


class Samples:
    """P problems with k samples each. Every figure is (P,): one value a problem, in the order of ``ids``.

    ``columns`` are those of ``run.SAMPLE_COLUMNS``, one item a sample, None where there is no value. Raises
    ``UserError`` if there are no samples, or if the problems don't all have the same number of them.
    """

    def __init__(self, columns: Mapping[str, Sequence[Any]]) -> None:
        names = columns["problem_id"]
        if not names:
            raise UserError("evaluation: there are no problems to evaluate; check the source, levels and languages")
        counts: dict[str, int] = {}
        for name in names:
            counts[name] = counts.get(name, 0) + 1
        self.ids = tuple(counts)
        self.k = counts[self.ids[0]]
        for name, count in counts.items():
            if count != self.k:
                raise UserError(f"evaluation: problem {name} has {count} samples, {self.ids[0]} has {self.k}")
        places = {name: place for place, name in enumerate(self.ids)}
        order = sorted(range(len(names)), key=lambda i: (places[names[i]], columns["index"][i]))
        self._texts = {name: [columns[name][i] for i in order] for name in _TEXTS}
        self._numbers_PK = {
            name: np.array([columns[name][i] for i in order], dtype=np.float64).reshape(-1, self.k)  # None is NaN
            for name in SAMPLE_COLUMNS
            if name not in _TEXTS
        }

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, Any]]) -> Samples:
        """The table of rows; what a row lacks is null."""
        return cls({name: [row.get(name) for row in rows] for name in SAMPLE_COLUMNS})

    @classmethod
    def read(cls, path: Path) -> Samples:
        """The table of a file ``evaluations/<model>.<set>.parquet``."""
        import pyarrow.parquet as pq

        return cls(pq.read_table(path).to_pydict())

    def __len__(self) -> int:
        return len(self.ids)

    def labels(self, name: str) -> list[Any]:
        """A column that belongs to the problem: domain, kind, level or language."""
        if name in self._texts:
            return self._texts[name][:: self.k]
        return [int(value) for value in self._numbers_PK[name][:, 0]]

    def mean(self, name: str) -> Floats:
        """The mean of a column over each problem's samples that have a value; NaN where none has."""
        values_PK = self._numbers_PK[name]
        known_P = (~np.isnan(values_PK)).sum(axis=1)
        means: Floats = np.where(known_P > 0, np.nansum(values_PK, axis=1) / np.maximum(known_P, 1), np.nan)
        return means

    @property
    def checked(self) -> NDArray[np.bool_]:
        """Whether a rule could say right or wrong."""
        checked: NDArray[np.bool_] = self._numbers_PK["checked"][:, 0] == 1
        return checked

    @cached_property
    def pass_1(self) -> Floats:
        """The share of correct samples (avg@k); NaN where no rule can check."""
        return self._checked([avg_at_k(verdicts_K) for verdicts_K in self._verdicts()])

    @cached_property
    def pass_k(self) -> Floats:
        """Whether any of the k samples is correct; NaN where no rule can check."""
        counts_P = self._numbers_PK["correct"].sum(axis=1)
        return self._checked([pass_at_k(self.k, int(count), self.k) for count in counts_P])

    @cached_property
    def cons(self) -> Floats:
        """Whether the majority vote of the k samples is correct; NaN where no rule can check."""
        return self._checked([cons_at_k(verdicts_K) for verdicts_K in self._verdicts()])

    @property
    def reflection(self) -> Floats:
        """The share of samples with a reflection word."""
        shares: Floats = (self._numbers_PK["reflections"] > 0).mean(axis=1)
        return shares

    def _verdicts(self) -> list[list[Verdict]]:
        """The verdicts as they were, as far as figures need them, by problem."""
        answers = self._texts["answer"]
        verdicts = [
            Verdict(Outcome.CORRECT if correct else Outcome.WRONG, answer=answer)
            for correct, answer in zip(self._numbers_PK["correct"].ravel(), answers, strict=True)
        ]
        return [verdicts[start : start + self.k] for start in range(0, len(verdicts), self.k)]

    def _checked(self, values_P: Sequence[float]) -> Floats:
        return np.where(self.checked, np.asarray(values_P, dtype=np.float64), np.nan)
