"""Speed, measured: a whole step against TRL, decoding against vLLM, the update against the machine, and how cost grows.

    python benchmarks/speed.py [--only trl vllm ...] [--mini-run runs/mini]

Writes benchmarks/results/speed.json as it goes; parts that are not measured again keep their figures. TRL and vLLM are
installed on the way if ``make peers`` has not done it; nothing else should run on the machine meanwhile: about an hour
and a half. The minutes of the ladder and of its first stage are taken from a finished run of ``make mini``. Left out:
GPUs.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from importlib import import_module
from pathlib import Path

from ladder import manifest_of, minutes
from peers.install import pins
from recording import RESULTS, figures_in, write_result

from thinkery.machine.allocator import start_with_jemalloc

RESULT = RESULTS / "speed.json"
PARTS = ("trl", "vllm", "update", "scaling")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=PARTS, default=PARTS, help="measure these parts alone, or none")
    parser.add_argument("--mini-run", type=Path, help="a finished run of recipes/mini.yaml on this machine")
    arguments = parser.parse_args()
    figures = figures_in(RESULT)
    if arguments.mini_run is not None:
        figures |= minutes_of(arguments.mini_run)
    for part in arguments.only:
        started = time.monotonic()
        for measured in import_module(f"speed_{part}").measure():
            print(f"{part}: {time.monotonic() - started:.0f} s\n{json.dumps(measured, indent=2)}", file=sys.stderr)
            figures |= measured
            write(figures)
    write(figures)


def minutes_of(folder: Path) -> dict[str, float]:
    """What the whole ladder took, and its first stage alone, evaluations apart."""
    seconds = manifest_of(folder)["stages"]["zero"]["seconds"]
    return {"mini_minutes": round(minutes(folder), 2), "zero_minutes": round(seconds / 60, 2)}


def write(figures: dict[str, float]) -> None:
    """Writes the results so far."""
    write_result(RESULT, "speed.py", figures, peers={peer: pins(peer) for peer in ("trl", "vllm")})


if __name__ == "__main__":
    start_with_jemalloc()  # as the command does
    main()
