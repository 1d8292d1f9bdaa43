"""Every sample of one evaluation as a table of problems x samples, and the figures that reports quote from it.

Left out: how samples are made and graded (``stages/evaluate.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thinkery.evaluation.intervals import mean_ci
from thinkery.evaluation.metrics import avg_at_k, cons_at_k, pass_at_k
from thinkery.run.tables import SAMPLE_COLUMNS
from thinkery.types import Outcome, UserError, Verdict

Floats = NDArray[np.float64]
_TEXTS = ("problem_id", "domain", "kind", "language", "answer")


class Samples:
    """P problems with k samples each. Every figure is (P,): one value a problem, in the order of ``ids``.

    ``columns`` are those of ``run.tables.SAMPLE_COLUMNS``, one item a sample, None where there is no value. Raises
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


PARTS = ("level", "language", "domain")


def summarize(samples: Samples, *, seed: int) -> dict[str, Any]:
    """The report of one benchmark; ``seed`` is the bootstrap's.

    Keys: ``n`` (problems), ``checked`` (those that a rule can check), ``k``, ``format`` and ``truncated`` (shares of
    samples), ``mean_length`` and ``mean_thinking_length`` (tokens), ``reflection`` (share of samples with a reflection
    word), ``reflections`` (words a sample); ``by_level``, ``by_language`` and ``by_domain`` (the same figures, without
    breakdown, of every part). Where rules can check: ``pass@1`` (avg@k), ``pass@<k>``, ``cons@<k>``. Where somebody
    judged: ``preference`` (win rate against the references, a tie is half) and ``safe`` (share of safe answers to the
    problems of the safety set). ``language_share`` where the thinking has words. Beside each of
    ``pass@1``, ``cons@<k>``, ``preference``, ``safe`` and ``language_share`` stands ``<name>_ci95``, over problems.
    """
    figures = _Figures(samples, seed)
    report = figures.of(np.ones(len(samples), dtype=np.bool_))
    for part in PARTS:
        labels = samples.labels(part)
        report[f"by_{part}"] = {
            str(label): figures.of(np.array([one == label for one in labels])) for label in sorted(set(labels))
        }
    return report


class _Figures:
    """The figures of any selection of the problems."""

    def __init__(self, samples: Samples, seed: int) -> None:
        self._samples, self._seed = samples, seed
        k = samples.k
        self._tested: dict[str, Floats] = {  # with interval; problems without a value are left out
            "pass@1": samples.pass_1,
            f"cons@{k}": samples.cons,
            "preference": samples.mean("preference"),
            "safe": samples.mean("safe"),
            "language_share": samples.mean("language_share"),
        }
        self._plain: dict[str, Floats] = {
            f"pass@{k}": samples.pass_k,
            "format": samples.mean("well_formed"),
            "mean_length": samples.mean("length"),
            "mean_thinking_length": samples.mean("thinking_length"),
            "truncated": samples.mean("truncated"),
            "reflection": samples.reflection,
            "reflections": samples.mean("reflections"),
        }

    def of(self, chosen_P: np.ndarray[Any, np.dtype[np.bool_]]) -> dict[str, Any]:
        report: dict[str, Any] = {
            "n": int(chosen_P.sum()),
            "checked": int((chosen_P & self._samples.checked).sum()),
            "k": self._samples.k,
        }
        report |= self._means(self._tested, chosen_P, lambda values: mean_ci(values, seed=self._seed))
        return report | self._means(self._plain, chosen_P, None)

    @staticmethod
    def _means(
        figures_P: dict[str, Floats],
        chosen_P: np.ndarray[Any, np.dtype[np.bool_]],
        interval: Callable[[Floats], tuple[float, float]] | None,
    ) -> dict[str, Any]:
        report: dict[str, Any] = {}
        for name, values_P in figures_P.items():
            known = values_P[chosen_P & ~np.isnan(values_P)]
            if len(known):
                report[name] = float(known.mean())
                if interval is not None:
                    report[f"{name}_ci95"] = list(interval(known))
        return report
