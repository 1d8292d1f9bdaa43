"""Rewards nobody can cheat or hang, measured: verdicts, sandbox, cheats, attacks, languages.

    python benchmarks/rewards.py [--only math code ...]

Writes benchmarks/results/rewards.json; parts that are not measured again keep their figures. Needs the benchmark files
of ../shared/data (GSM8K, MATH-500, HumanEval); nothing else should run on the machine meanwhile. Left out: the suite's
own time, which `make test` measures and `--tests-minutes` adds.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from datetime import date
from importlib import import_module
from pathlib import Path

from thinkery import machine
from thinkery.files import write_json_atomic

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "rewards.json"
PARTS = ("math", "code", "sandbox", "attacks", "language")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="measure these parts alone")
    parser.add_argument("--tests-minutes", type=float, help="wall minutes of `make test` on this machine")
    arguments = parser.parse_args()
    figures: dict[str, float] = json.loads(RESULT.read_text())["figures"] if RESULT.exists() else {}
    for part in arguments.only:
        started = time.monotonic()
        measured = import_module(f"rewards_{part}").measure()
        print(f"{part}: {time.monotonic() - started:.0f} s\n{json.dumps(measured, indent=2)}", file=sys.stderr)
        figures |= measured
    if arguments.tests_minutes is not None:
        figures["tests_minutes"] = arguments.tests_minutes
    write_json_atomic(
        RESULT,
        {
            "name": "rewards",
            "command": "python benchmarks/rewards.py",
            "machine": {key: value for key, value in machine.hardware().items() if key != "host"},
            "versions": machine.versions(),
            "commit": commit(),
            "date": date.today().isoformat(),
            "figures": figures,
        },
    )


def commit() -> str:
    """The commit that was measured; marked if files differ from it."""
    told = subprocess.run(
        ["git", "describe", "--always", "--dirty=+changes", "--abbrev=12"], cwd=ROOT, capture_output=True, text=True
    )
    return told.stdout.strip() or "unknown"


if __name__ == "__main__":
    main()
