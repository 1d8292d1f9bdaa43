"""One evaluation as one flat report: the figures that ``summary.json``, the README and the HTML page quote.

Takes the table of samples and gives plain JSON. Left out: sampling, grading and judging (``stages/evaluate.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from thinkery.evaluation.bootstrap import mean_ci
from thinkery.evaluation.samples import Floats, Samples

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
