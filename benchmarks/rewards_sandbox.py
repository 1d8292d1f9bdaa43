"""How fast the sandbox is: runs a second, the latency of one, a compilation, and how long it takes to start.

    python benchmarks/rewards_sandbox.py

Every run has its isolation in full. The program reads a line and prints it. Left out: what grading costs on top.
"""

from __future__ import annotations

import json
import statistics
import time

from thinkery.sandbox import Limits, Program, Sandbox, run_cpp

RUNS, ROUNDS = 1000, 9
SINGLE_RUNS = 400
ECHO = Program("print(input())")
CPP = "#include <bits/stdc++.h>\nint main() { long n; std::cin >> n; std::cout << n << std::endl; } // %d"


def measure() -> dict[str, float]:
    """Figures of this machine; 2 workers for throughput (the median of ``ROUNDS``), one run at a time for latency."""
    began = time.perf_counter()
    with Sandbox(workers=2) as sandbox:
        assert sandbox.run(ECHO, "1\n").stdout == "1\n"
        start_s = time.perf_counter() - began
        warm = [sandbox.submit(ECHO, "1\n") for _ in range(100)]
        assert all(run.result().ok for run in warm)

        rates = []
        for _ in range(ROUNDS):
            began = time.perf_counter()
            runs = [sandbox.submit(ECHO, f"{n}\n") for n in range(RUNS)]
            assert [run.result().stdout for run in runs] == [f"{n}\n" for n in range(RUNS)]
            rates.append(RUNS / (time.perf_counter() - began))

        latencies = []
        for n in range(SINGLE_RUNS):
            began = time.perf_counter()
            assert sandbox.run(ECHO, f"{n}\n").ok
            latencies.append(time.perf_counter() - began)

        compile_s = []
        for n in range(3):
            began = time.perf_counter()
            assert run_cpp(CPP % n, "7", limits=Limits(), sandbox=sandbox).stdout == "7\n"
            compile_s.append(time.perf_counter() - began)
    percentiles = statistics.quantiles(latencies, n=100)
    return {
        "sandbox_runs_per_s": round(statistics.median(rates)),
        "sandbox_latency_ms_p50": round(percentiles[49] * 1000, 2),
        "sandbox_latency_ms_p99": round(percentiles[98] * 1000, 2),
        "cpp_compile_s": round(statistics.median(compile_s), 2),
        "sandbox_start_s": round(start_s, 3),
    }


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
