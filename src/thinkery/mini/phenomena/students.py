"""P15, P16 and P21: small models that are taught (``distill-*``), and one that must find out (``student-rl``)."""

from __future__ import annotations

import numpy as np

from thinkery.evaluation.samples import Floats
from thinkery.mini.phenomena.claims import Finding, above_zero, with_interval
from thinkery.mini.phenomena.ladder import Column, Ladder, NotMeasuredError
from thinkery.mini.phenomena.reasoning import second_less_first, steps_over, stretches

WINDOW = 10  # the first and the last 1/10 of a stage's steps are where it began and where it got


def distillation_beats_rl(ladder: Ladder) -> Finding:
    """P15: the student taught by R1 less the same base under RL alone."""
    table = ladder.table(Column("student-rl"), Column("distill-m"))
    gain = ladder.estimate(second_less_first, table)
    alone, taught = table.means()
    here = {"student_rl": alone, "distill_m": taught, **with_interval("difference", gain)}
    return Finding([above_zero("the taught student's pass@1 less the RL-only student's", gain, table.over)], here)


def accuracy_scales_with_students(ladder: Ladder) -> Finding:
    """P16: the slope of the students' pass@1 over the logarithm of their size."""
    students = ladder.models("distill-")
    sizes = {name: ladder.parameters(name) for name in students}
    if len(set(sizes.values())) < 3:
        raise NotMeasuredError(f"three students of different sizes are needed, there are {len(set(sizes.values()))}")
    students.sort(key=sizes.__getitem__)
    table = ladder.table(*map(Column, students))
    doublings = np.log2([sizes[name] for name in students])
    weights = (doublings - doublings.mean()) / ((doublings - doublings.mean()) ** 2).sum()
    slope = ladder.estimate(lambda means: means @ weights, table)
    here = dict(zip(students, table.means(), strict=True)) | {f"{name}_parameters": sizes[name] for name in students}
    claim = above_zero("the gain in pass@1 with each doubling of the student", slope, table.over)
    return Finding([claim], here | with_interval("slope", slope))


def weak_base_stays_down(ladder: Ladder) -> Finding:
    """P21: under pure RL the weak base gains less than half of what the stronger one does.

    By training accuracy, which both stages log from their first step on: its mean over the last tenth of the steps
    less that over the first.
    """
    zero, student = ladder.curves(("zero", ["accuracy"]), ("student-rl", ["accuracy"]))
    windows = [stretches(curves, WINDOW)[i] for curves in (zero, student) for i in (0, -1)]
    strong = ladder.estimate(second_less_first, *windows[:2])
    weak = ladder.estimate(second_less_first, *windows[2:])
    apart = ladder.estimate(_half_less, *windows)
    claim = above_zero("half of the strong base's gain less the weak base's", apart, steps_over(student))
    return Finding([claim], with_interval("strong_gain", strong) | with_interval("weak_gain", weak))


def _half_less(means: Floats) -> Floats:
    return (means[..., 1] - means[..., 0]) / 2 - (means[..., 3] - means[..., 2])
