"""The 22 phenomena of the DeepSeek-R1 paper as a part of the report: measured on runs, shown with figures and tests.

Left out: the tests themselves (``phenomena``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from thinkery.mini.phenomena import phenomena
from thinkery.report.figures import plain

VERDICTS = {True: "holds", False: "does not hold", None: "not measured"}
_ENVIRONMENT = Environment(
    loader=PackageLoader("thinkery.mini", "assets"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


class PhenomenaPart:
    """What the miniature world registers in ``thinkery.report``; a measured part is ``phenomena``'s list."""

    def measure(self, folders: Sequence[Path]) -> list[dict[str, Any]]:
        """The phenomena, tested on runs together. Raises ``UserError`` for a folder that is no run."""
        return phenomena(folders)

    def render(self, measured: Sequence[Mapping[str, Any]], runs: int) -> Markup:
        """The section with every phenomenon, its figures and its test."""
        rows = _seen(measured)
        return Markup(_ENVIRONMENT.get_template("phenomena.html").render(rows=rows, tally=_tally(rows), runs=runs))


@dataclass(frozen=True)
class Seen:
    """A phenomenon as the page shows it. ``figures`` are label, figure and interval, as text."""

    id: str
    title: str
    paper: str
    holds: bool | None
    figures: Sequence[tuple[str, str, str]]
    test: str
    why: str

    @property
    def verdict(self) -> str:
        """Whether it holds, in words."""
        return VERDICTS[self.holds]


def _seen(found: Sequence[Mapping[str, Any]]) -> list[Seen]:
    return [
        Seen(
            id=entry["id"],
            title=entry["title"],
            paper=entry["paper"],
            holds=entry["holds"],
            figures=_figures(entry["here"]),
            test=entry["test"],
            why=entry.get("why", ""),
        )
        for entry in found
    ]


def _tally(rows: Sequence[Seen]) -> str:
    """How many of them hold, in a sentence."""
    held, failed, unmeasured = (sum(row.holds is verdict for row in rows) for verdict in VERDICTS)
    parts = [f"{held} of {len(rows)} hold"]
    if failed:
        parts.append(f"{failed} {'does' if failed == 1 else 'do'} not hold")
    if unmeasured:
        parts.append(f"{unmeasured} not measured")
    return ", ".join(parts) + "."


def _figures(here: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    written = []
    for name, value in here.items():
        if name.endswith("_ci95"):
            continue
        interval = here.get(f"{name}_ci95")
        signed = interval is not None and name != "ratio"  # what has an interval is a difference, or the ratio
        text = (
            value if isinstance(value, str) else _span(value, "→") if isinstance(value, list) else plain(value, signed)
        )
        written.append((name.replace("_", " "), text, _span(interval, "to", signed) if interval else ""))
    return written


def _span(ends: Sequence[float | None], word: str, signed: bool = False) -> str:
    return f" {word} ".join(plain(end, signed) for end in ends)


PHENOMENA = PhenomenaPart()
