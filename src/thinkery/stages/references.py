"""Whether problems' own answers are accepted, looked at before a stage samples anything and told to whoever watches.

Left out: the check itself (``rewards/gold.py``), and evaluation, where a refused reference counts against the model.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from thinkery.problems.source import ProblemSource
from thinkery.rewards.gold import check_gold
from thinkery.rewards.grader import Grader
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
    report = check_gold(grader, problems, lambda done: view.progress("checking references", done, len(problems)))
    skipped = report.require(source.place, source.skips)
    for note in [*source.notes, f"{report.checked:,} reference answers checked", *report.notes(source.place)]:
        view.note(f"{stage}: {note}")
    return report.masked | skipped
