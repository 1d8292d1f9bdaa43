"""Chaos: short runs on Ray, in each of which a random worker is killed at a random moment.

    python benchmarks/scale_chaos.py [--runs 20] [--seconds 3600] [--folder runs/scale-chaos]

A run is six steps of reinforcement learning on the shipped base model and an evaluation. First it runs undisturbed,
once to warm up and once for the record; then, with the same workers, as often as asked, while a rollout worker, a
reward worker or a learner rank drawn at random gets SIGKILL at a moment drawn at random. Counted are the runs that
finished; the completions that were lost, doubled or out of their step, by the records (what each step learnt from,
against the undisturbed run's); and the runs whose final pass@1 lies within the undisturbed run's 95 % interval. A
worker that is killed after its work is done is missed by the next run (``chaos_noticed`` counts those that were missed
in their own). Runs that have been are kept in the folder, so the command can be stopped, also by ``--seconds``, and
goes on. Left out: nodes that die (``tests/cluster``).
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pyarrow.parquet as pq
from recording import ROOT, SCALE, add_figures

from thinkery.cluster.remote import WorkerLost, settled
from thinkery.cluster.runtime import ClusterRuntime
from thinkery.pipeline import run_recipe
from thinkery.recipe import ClusterSpec, Recipe
from thinkery.report.terminal import PlainView

SPEC = ClusterSpec(learners=2, rollouts=2, rewards=2, max_restarts=1000, object_store_mb=200)
KINDS = ("rollout", "reward", "learner")
STEPS, NUM_PROBLEMS, NUM_GENERATIONS = 6, 6, 8

Learnt = dict[int, list[str]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=3600.0, help="begin no run after so long")
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "scale-chaos")
    arguments = parser.parse_args()
    started, folder = time.monotonic(), arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    with ClusterRuntime(SPEC, "local", folder, lambda line: print(line, file=sys.stderr)) as runtime:
        once(folder / "warm.json", runtime, None)  # the first update of a process takes longer
        calm = once(folder / "calm.json", runtime, None)
        for number in range(arguments.runs):
            if time.monotonic() - started > arguments.seconds:
                return
            row = once(folder / f"{number:02d}.json", runtime, Random(f"chaos/{number}"), calm["seconds"])
            print(number, {name: row[name] for name in ("killed", "seconds", "pass1", "finished")}, file=sys.stderr)
    rows = [json.loads((folder / f"{number:02d}.json").read_text()) for number in range(arguments.runs)]
    low, high = calm["interval"]
    figures = {
        "chaos_runs": float(len(rows)),
        "chaos_finished": float(sum(row["finished"] for row in rows)),
        "chaos_lost": float(sum(wrong(row["learnt"], calm["learnt"]) for row in rows)),
        "chaos_within": float(sum(low <= row["pass1"] <= high for row in rows)),
        "chaos_noticed": float(sum(row["noticed"] > 0 for row in rows)),
        "chaos_seconds_more": round(sum(row["seconds"] for row in rows) / len(rows) - calm["seconds"], 1),
    } | {f"chaos_{kind}s": float(sum(row["killed"].startswith(kind) for row in rows)) for kind in KINDS}
    add_figures(SCALE, "scale_chaos.py", figures)
    print(json.dumps(figures, indent=2))


def recipe() -> Recipe:
    """Short, with every problem that is learnt from in the records."""
    mini: dict[str, Any] = {"source": "mini", "levels": [1, 2]}
    stage = {
        "name": "zero",
        "kind": "rl",
        "from": "base",
        "problems": mini,
        "rewards": {"accuracy": 1, "format": 1},
        "steps": STEPS,
        "num_problems": NUM_PROBLEMS,
        "num_generations": NUM_GENERATIONS,
        "max_completion_length": 64,
        "learning_rate": 3e-4,
        "save_steps": 1,
        "log_completions_steps": 1,
    }
    held_out = {"problems": mini | {"split": "test", "n": 64}, "num_samples": 4, "max_completion_length": 64}
    return Recipe.model_validate(
        {
            "name": "chaos",
            "base": "thinkery://mini-base",
            "template": "r1-zero-compact",
            "stages": [stage],
            "evaluate": {"reasoning": held_out | {"models": ["zero"]}},
        }
    )


def once(path: Path, runtime: ClusterRuntime, chance: Random | None, lasts: float = 0.0) -> dict[str, Any]:
    """A run's row, from its file if it has been; ``chance`` draws who is killed when."""
    if path.exists():
        return dict(json.loads(path.read_text()))
    everybody(runtime)
    before = sum(runtime._failures.counts.values())
    executioner = Executioner(runtime, chance, lasts) if chance else None
    folder, started = path.with_suffix(""), time.monotonic()
    try:
        summary = run_recipe(recipe(), folder, view=PlainView(sys.stderr), runtime=runtime)
        evaluated = summary["stages"]["zero"]["eval"]["reasoning"]
        row = {"finished": True, "pass1": evaluated["pass@1"], "interval": evaluated["pass@1_ci95"]}
    except Exception:  # a run that fails is what is counted here
        traceback.print_exc()
        row = {"finished": False, "pass1": -1.0}
    row |= {
        "killed": executioner.join() if executioner else "",
        "noticed": sum(runtime._failures.counts.values()) - before,
        "seconds": round(time.monotonic() - started, 1),
        "learnt": learnt_from(folder),
    }
    path.write_text(json.dumps(row))
    return dict(json.loads(path.read_text()))


def everybody(runtime: ClusterRuntime) -> None:
    """A run begins with all workers there; one may have been killed when nobody needed it any more."""
    for kind in KINDS:
        pool = runtime._pools[kind]
        for worker in pool.all_ready():
            try:
                settled(worker.actor.hello.remote(), 60.0, worker.name)
            except WorkerLost as lost:
                if kind == "learner":
                    runtime._group._lost(str(lost))
                    break
                pool.lost(worker, str(lost))
    for kind in KINDS:
        runtime._pools[kind].all_ready()


class Executioner(threading.Thread):
    """Kills one worker, at a moment before an undisturbed run would be over."""

    def __init__(self, runtime: ClusterRuntime, chance: Random, lasts: float) -> None:
        super().__init__(daemon=True)
        self._moment = chance.uniform(0.0, 0.9 * lasts)
        worker = chance.choice(runtime._pools[chance.choice(KINDS)].ready())
        self._name, self._pid = worker.name, worker.pid
        self.start()

    def run(self) -> None:
        time.sleep(self._moment)
        os.kill(self._pid, signal.SIGKILL)

    def join(self, timeout: float | None = None) -> str:  # type: ignore[override]
        """Who was killed and when."""
        super().join(timeout)
        return f"{self._name} after {self._moment:.1f} s"


def learnt_from(folder: Path) -> Learnt:
    """The completions that each step learnt from, as problem and index, in their order."""
    paths = sorted((folder / "completions").glob("zero-*.parquet"))
    tables = {int(path.stem[-6:]): pq.read_table(path, columns=["problem_id", "index"]).to_pylist() for path in paths}
    return {step: [f"{row['problem_id']}#{row['index']}" for row in rows] for step, rows in tables.items()}


def wrong(found: Learnt, expected: Learnt) -> int:
    """How many completions are missing, doubled or out of their step."""
    differences = 0
    for step in found.keys() | expected.keys():
        one, other = Counter(found.get(step, [])), Counter(expected.get(step, []))
        differences += ((one - other) + (other - one)).total()
    return differences


if __name__ == "__main__":
    main()
