"""The whole ladder in miniature, measured: two seeds of it and of its comparisons, into benchmarks/results/ladder.json.

    python benchmarks/ladder.py [--folder runs/ladder-benchmark]

Runs that are already there are not done again. Minutes are those of all stages and evaluations, as the runs' manifests
have them, so nothing else should run on the machine meanwhile. The phenomena are tested on all runs together; their
tests stand beside the figures, and the page with them is pooled.html in the folder. Left out: a GPU's figures.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from recording import write_result

from thinkery.files import write_text_atomic
from thinkery.stages.report import report_runs

ROOT = Path(__file__).resolve().parents[1]
RECIPES = ROOT / "recipes"
RESULT = ROOT / "benchmarks" / "results" / "ladder.json"
SEEDS = (0, 1)
MODELS = "runs/mini/"  # where the recipe of comparisons looks for the ladder's models
FIGURES = {"pass@1": "pass1", "cons@16": "cons16", "preference": "preference"}
SETS = {"pass@1": "reasoning", "cons@16": "reasoning", "preference": "general"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "ladder-benchmark")
    folder = parser.parse_args().folder.resolve()
    ladders = [run(RECIPES / "mini.yaml", folder / f"mini-seed{seed}", seed) for seed in SEEDS]
    comparisons = [
        run(comparing(folder, ladder), folder / f"ablations-seed{seed}", seed)
        for seed, ladder in zip(SEEDS, ladders, strict=True)
    ]
    nano = run(RECIPES / "nano.yaml", folder / "nano", SEEDS[0])
    page = report_runs([*ladders, *comparisons], folder / "pooled.html")
    found = json.loads(page.with_suffix(".json").read_text())["phenomena"]
    figures = minutes_of(ladders, comparisons, nano) | counts_of(found) | dict(scores_of([*ladders, *comparisons]))
    figures |= dict(figures_of(found))
    at = " ".join(commits_of([*ladders, *comparisons]))
    write_result(RESULT, "ladder.py", figures, at=at, phenomena=found)
    print(json.dumps(figures, indent=2))


def run(recipe: Path, folder: Path, seed: int) -> Path:
    """A finished run of a recipe with a seed; made by the command a user would type."""
    command = [str(Path(sys.executable).parent / "thinkery"), "run", str(recipe), "--output-dir", str(folder)]
    subprocess.run([*command, "--seed", str(seed)], check=True, cwd=ROOT)
    return folder


def comparing(folder: Path, ladder: Path) -> Path:
    """The recipe of comparisons with the models of a run of the ladder."""
    path = folder / f"comparing-{ladder.name}.yaml"
    write_text_atomic(path, (RECIPES / "mini-ablations.yaml").read_text().replace(MODELS, f"{ladder}/"))
    return path


def manifest_of(folder: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    return manifest


def commits_of(folders: Sequence[Path]) -> list[str]:
    """The commits that the runs were made with: several where stages were done again after a change."""
    return list(dict.fromkeys(session["commit"] for folder in folders for session in manifest_of(folder)["sessions"]))


def minutes(folder: Path) -> float:
    """What all stages and evaluations of a run took."""
    return sum(record["seconds"] for record in manifest_of(folder)["stages"].values()) / 60


def minutes_of(ladders: Sequence[Path], comparisons: Sequence[Path], nano: Path) -> dict[str, float]:
    """The slower seed's minutes of each recipe."""
    return {
        "mini_minutes": round(max(map(minutes, ladders)), 2),
        "ablations_minutes": round(max(map(minutes, comparisons)), 2),
        "nano_minutes": round(minutes(nano), 2),
    }


def counts_of(found: Sequence[dict[str, Any]]) -> dict[str, int]:
    """How many phenomena were measured, and how many of them hold."""
    counts = Counter(entry["holds"] for entry in found)
    return {"phenomena_held": counts[True], "phenomena_measured": counts[True] + counts[False]}


def scores_of(folders: Sequence[Path]) -> Iterator[tuple[str, float]]:
    """Every model's figures, each the mean over the runs that have the model."""
    scores: dict[str, list[float]] = {}
    for folder in folders:
        summary = json.loads((folder / "summary.json").read_text())
        for model, entry in {"base": summary["base"], **summary["stages"]}.items():
            for figure, short in FIGURES.items():
                value = entry.get("eval", {}).get(SETS[figure], {}).get(figure)
                if value is not None:
                    scores.setdefault(f"{plain(model)}_{short}", []).append(value)
    return ((name, round(statistics.fmean(values), 4)) for name, values in scores.items())


def figures_of(found: Sequence[dict[str, Any]]) -> Iterator[tuple[str, float]]:
    """Whether each phenomenon holds, and its figures; an interval as its two ends."""
    for entry in found:
        if entry["holds"] is None:
            continue
        yield f"{entry['id']}_holds", int(entry["holds"])
        for name, value in entry["here"].items():
            ends = {"": value} if isinstance(value, int | float) else {}
            if name.endswith("_ci95"):
                ends = {"_low": value[0], "_high": value[1]}
            for end, number in ends.items():
                if number is not None:  # unbounded
                    yield f"{entry['id']}_{plain(name)}{end}", round(number, 4)


def plain(name: str) -> str:
    """A name as figures have it: ``pass@1`` is ``pass1``, dashes are underscores."""
    return name.replace("@", "").replace("-", "_")


if __name__ == "__main__":
    main()
