"""The report of one run, or of several together: what its parts measure on their data, and the page that shows it.

Left out: the parts (installed packages) and the page (``report``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from thinkery.files import DiskFull, write_json_atomic
from thinkery.report.html import write_report
from thinkery.report.parts import measure_parts


def report_run(folder: Path, note: Callable[[str], None]) -> dict[str, Any]:
    """Measures the report's parts on a run, writes ``report.html``; returns them, as ``summary.json`` has them.

    A page that can't be written takes nothing from the run: ``note`` is told how to have it later.
    """
    measured = measure_parts([folder])
    try:
        write_report(folder, measured)
    except (OSError, DiskFull) as error:
        note(f"{folder / 'report.html'} can't be written ({error}); later, `thinkery report {folder}` does it")
    return measured


def report_runs(folders: Sequence[Path], output: Path | None = None) -> Path:
    """Measures the parts on all runs together and writes the page of the first with them; returns the page's path.

    The runs are of one ladder with different seeds, and of recipes that compare with it. Of several runs the page is
    ``pooled.html`` in the first one's folder, unless ``output`` says otherwise, and what was found lies beside it as
    JSON of the same name. Raises ``UserError`` for a folder that is no run.
    """
    measured = measure_parts(folders)
    if len(folders) == 1:
        return write_report(folders[0], measured, output)
    page = output or folders[0] / "pooled.html"
    write_json_atomic(page.with_suffix(".json"), {"runs": [folder.name for folder in folders], **measured})
    return write_report(folders[0], measured, page, runs=len(folders))
