"""On Ray: a zero stage learns as in one process, and the whole of nano runs.

    python benchmarks/scale_ray.py [--folder runs/scale-ray]

The first 14 steps of mini's zero stage, with its evaluation: in one process, and on a local Ray with two rollout actors
and two FSDP2 ranks. Both draw the same problems with the same random numbers, and differ by rounding, which grows from
update to update. Runs that are already there are resumed or not done again: about six minutes on two cores. Left
out: speed, since the actors share the two cores that one process has for itself.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from recording import ROOT, SCALE, add_figures

CLUSTER = {"learners": 2, "rollouts": 2, "rewards": 1, "object_store_mb": 200}
STEPS = 14


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "scale-ray")
    arguments = parser.parse_args()
    folder = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    recipe = folder / "zero.yaml"
    recipe.write_text(yaml.safe_dump(zero_recipe(), sort_keys=False))
    local = run(recipe, folder / "local")
    ray = run(recipe, folder / "ray", "--cluster", "local")
    nano = run(nano_recipe(folder / "nano.yaml"), folder / "nano", "--cluster", "local")
    figures = {
        "base_pass1": pass1(local, "base"),
        "local_zero_pass1": pass1(local, "zero"),
        "ray_zero_pass1": pass1(ray, "zero"),
        "local_zero_pass1_low": interval(local)[0],
        "local_zero_pass1_high": interval(local)[1],
        "nano_ray_stages": float(len(nano["stages"])),
    }
    add_figures(SCALE, "scale_ray.py", figures)
    print(json.dumps(figures, indent=2))


def zero_recipe() -> dict[str, Any]:
    """mini's first stage, shortened, and its evaluation on fewer problems."""
    mini = yaml.safe_load((ROOT / "recipes" / "mini.yaml").read_text())
    zero = mini["stages"][0] | {"steps": STEPS}
    held_out = {
        "problems": {"source": "mini", "split": "test", "n": 128},
        "models": ["base", "zero"],
        "num_samples": 4,
        "max_completion_length": zero["max_completion_length"],
    }
    whole = {name: mini[name] for name in ("seed", "base", "template")}
    return whole | {"name": "zero", "cluster": None, "stages": [zero], "evaluate": {"reasoning": held_out}}


def nano_recipe(path: Path) -> Path:
    """nano as it is, with the workers that the cluster has."""
    path.write_text(yaml.safe_dump(yaml.safe_load((ROOT / "recipes" / "nano.yaml").read_text()) | {"cluster": CLUSTER}))
    return path


def run(recipe: Path, folder: Path, *options: str) -> dict[str, Any]:
    """The summary of a run."""
    command = [Path(sys.executable).with_name("thinkery"), "run", recipe, "--output-dir", folder, *options]
    subprocess.run([str(part) for part in command], check=True)
    return dict(json.loads((folder / "summary.json").read_text()))


def pass1(summary: dict[str, Any], model: str) -> float:
    """pass@1 on the held-out problems."""
    found = summary["base"] if model == "base" else summary["stages"][model]
    return round(found["eval"]["reasoning"]["pass@1"], 4)


def interval(summary: dict[str, Any]) -> tuple[float, float]:
    """The 95 % interval of the local run's pass@1."""
    low, high = summary["stages"]["zero"]["eval"]["reasoning"]["pass@1_ci95"]
    return round(low, 4), round(high, 4)


if __name__ == "__main__":
    main()
