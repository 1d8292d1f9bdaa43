"""R1-Zero in miniature, measured: the first stage of `make mini` for three seeds, into benchmarks/results/zero.json.

    python benchmarks/zero.py [--folder runs/zero-benchmark]

Runs that are already there are not done again. The minutes of reinforcement learning are the stage's own, evaluation
apart; nothing else should run on the machine meanwhile. Left out: the suite's own time, which `make test` measures and
`--tests-minutes` adds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from recording import RESULTS, ROOT, figures_in, write_result

RESULT = RESULTS / "zero.json"
BASE = ROOT / "src" / "thinkery" / "assets" / "mini-base"
SEEDS = (0, 1, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "zero-benchmark")
    parser.add_argument("--tests-minutes", type=float, help="wall minutes of `make test` on this machine")
    arguments = parser.parse_args()
    summaries = [run(seed, arguments.folder / f"seed{seed}") for seed in SEEDS]
    figures = figures_of(summaries)
    before = figures_in(RESULT)
    minutes = arguments.tests_minutes or before.get("tests_minutes")
    if minutes is not None:
        figures["tests_minutes"] = minutes
    write_result(RESULT, "zero.py", figures, at=commit_of(arguments.folder / f"seed{SEEDS[0]}"))
    print(json.dumps(figures, indent=2))


def run(seed: int, folder: Path) -> dict[str, Any]:
    """The summary of the miniature run with a seed; made by the command a user would type."""
    command = [str(Path(sys.executable).parent / "thinkery"), "run", str(ROOT / "recipes" / "mini.yaml")]
    subprocess.run(
        [*command, "--until", "zero", "--output-dir", str(folder), "--seed", str(seed)], check=True, cwd=ROOT
    )
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return summary


def commit_of(folder: Path) -> str | None:
    """The commit that made a run, which may be older than this call."""
    commit: str | None = json.loads((folder / "manifest.json").read_text())["sessions"][0]["commit"]
    return commit


def figures_of(summaries: list[dict[str, Any]]) -> dict[str, float]:
    """The flat figures: per seed, and growth of length and reflection over the seeds' means."""
    figures: dict[str, float] = {}
    bases = [summary["base"]["eval"]["reasoning"] for summary in summaries]
    zeros = [summary["stages"]["zero"]["eval"]["reasoning"] for summary in summaries]
    for seed, summary, base, zero in zip(SEEDS, summaries, bases, zeros, strict=True):
        figures[f"base_pass1_seed{seed}"] = round(base["pass@1"], 4)
        figures[f"base_cons16_seed{seed}"] = round(base["cons@16"], 4)
        figures[f"pass1_seed{seed}"] = round(zero["pass@1"], 4)
        figures[f"cons16_seed{seed}"] = round(zero["cons@16"], 4)
        figures[f"rl_minutes_seed{seed}"] = round(summary["stages"]["zero"]["seconds"] / 60, 2)

    def mean(reports: list[dict[str, Any]], name: str) -> float:
        return statistics.fmean(report[name] for report in reports)

    base_seconds = json.loads((BASE / "manifest.json").read_text())["stages"]["mini-base"]["seconds"]
    length = "mean_thinking_length"
    return figures | {
        "base_build_minutes": round(base_seconds / 60, 1),
        "thinking_length_base": round(mean(bases, length), 2),
        "thinking_length_final": round(mean(zeros, length), 2),
        "length_growth": round(mean(zeros, length) / mean(bases, length), 3),
        "reflection_base": round(mean(bases, "reflection"), 4),
        "reflection_final": round(mean(zeros, "reflection"), 4),
        "format_base": round(mean(bases, "format"), 4),
        "format_final": round(mean(zeros, "format"), 4),
    }


if __name__ == "__main__":
    main()
