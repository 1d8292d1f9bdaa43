"""The report of one run, or of several together: the phenomena tested on their data, and the page that shows them.

Left out: the tests (``evaluation.phenomena``) and the page (``report``).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from thinkery.files import write_json_atomic
from thinkery.mini.phenomena import phenomena
from thinkery.report.html import write_report


def report_run(folder: Path) -> list[dict[str, Any]]:
    """Tests the phenomena on a run, writes its ``report.html`` and returns them, as ``summary.json`` lists them."""
    found = phenomena([folder])
    write_report(folder, found)
    return found


def report_runs(folders: Sequence[Path], output: Path | None = None) -> Path:
    """Tests the phenomena on all runs together and writes the page of the first with them; returns the page's path.

    The runs are of one ladder with different seeds, and of recipes that compare with it. Of several runs the page is
    ``pooled.html`` in the first one's folder, unless ``output`` says otherwise, and what was found lies beside it as
    JSON of the same name. Raises ``UserError`` for a folder that is no run.
    """
    found = phenomena(folders)
    if len(folders) == 1:
        return write_report(folders[0], found, output)
    page = output or folders[0] / "pooled.html"
    write_json_atomic(page.with_suffix(".json"), {"runs": [folder.name for folder in folders], "phenomena": found})
    return write_report(folders[0], found, page, runs=len(folders))
