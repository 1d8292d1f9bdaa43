"""Rewards nobody can cheat or hang, measured: verdicts, sandbox, cheats, attacks, languages.

    python benchmarks/rewards.py [--only math code ...]

Writes benchmarks/results/rewards.json; parts that are not measured again keep their figures. Needs the benchmark files
of ../shared/data (GSM8K, MATH-500, HumanEval); nothing else should run on the machine meanwhile. Left out: the suite's
own time, which `make test` measures and `--tests-minutes` adds.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from importlib import import_module

from recording import RESULTS, figures_in, write_result

RESULT = RESULTS / "rewards.json"
PARTS = ("math", "code", "sandbox", "attacks", "language")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="measure these parts alone")
    parser.add_argument("--tests-minutes", type=float, help="wall minutes of `make test` on this machine")
    arguments = parser.parse_args()
    figures = figures_in(RESULT)
    for part in arguments.only:
        started = time.monotonic()
        measured = import_module(f"rewards_{part}").measure()
        print(f"{part}: {time.monotonic() - started:.0f} s\n{json.dumps(measured, indent=2)}", file=sys.stderr)
        figures |= measured
    if arguments.tests_minutes is not None:
        figures["tests_minutes"] = arguments.tests_minutes
    write_result(RESULT, "rewards.py", figures)


if __name__ == "__main__":
    main()
