"""Parts of the page and of ``summary.json`` that installed packages bring, registered in ``thinkery.report``.

A part measures run folders and renders what it found. Left out: what a part measures (the packages know).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from markupsafe import Markup

from thinkery.plugins import load, registered

Measured = Mapping[str, Any]  # the name of a part -> what it measured, as JSON


class ReportPart(Protocol):
    """A part of the report, under the name with which it is registered."""

    def measure(self, folders: Sequence[Path]) -> Any:
        """What the run folders show together, as JSON. Raises ``UserError`` for a folder that is no run."""
        ...

    def render(self, measured: Any, runs: int) -> Markup:
        """A ``<section>`` of the page, styles included, of what was measured on so many runs. Text must be escaped."""
        ...


def measure_parts(folders: Sequence[Path]) -> dict[str, Any]:
    """What every part measures on run folders together."""
    return {name: _part(name).measure(folders) for name in registered("report")}


def render_parts(measured: Measured, runs: int) -> list[Markup]:
    """The sections of the parts that measured something."""
    return [_part(name).render(measured[name], runs) for name in registered("report") if measured.get(name)]


def _part(name: str) -> ReportPart:
    part: ReportPart = load("report", name)
    return part
