"""The planner against what is known, and the simulated cluster.

    python benchmarks/scale_plan.py [--only paper mini simulation] [--mini-run runs/mini]

- ``plan_r1_zero_hours``, ``plan_r1_hours``: DeepSeek-R1's runs on 64 x 8 H800 (198 h and about 80 h in the paper),
  planned from the paper's sizes (``recipes/deepseek-r1.yaml`` beside this file), ``ASSUMED``, and efficiencies that
  others published (``thinkery.plan.efficiency``). Nothing was fitted to the two figures. ``..._low`` and
  ``..._high`` are the least and the most of the plans with one assumption changed (``CHANGED``).
- ``plan_mini_step_error``: one stage of the miniature is profiled here (zero, seed 0), and from that alone the steps of
  three others are planned (dev2, r1, student-rl of another seed: other policies, lengths and rewards, one of them
  another model), given how long their completions were in the mean and at most, and how many of them taught. Rounds
  take the stages in turns, there and back, since a machine has slow minutes; figures are medians over them. The worst
  of the three relative errors of the seconds a step; each has its own figures beside. A profile beside which something
  else ran is thrown away. Profiles are kept as they are made, so a measurement that was stopped goes on.
- ``simulated_...``: rollouts of 8,192 completions by a 7B model on 8 to 10,000 H800, three ways; the chart is
  ``docs/scale-simulation.svg``. ``knee``: the largest size at which a GPU still does half of what one of 8 does;
  ``late``: the share of completions that were older than the bound of one rollout when they were learnt from.

Writes them into benchmarks/results/scale.json, part by part, beside what is there already. Left out: GPUs of one's own.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from recording import ROOT, SCALE, add_figures
from rich.console import Console
from scaling_chart import Curve, Panel, draw

from thinkery.files import write_json_atomic
from thinkery.plan.cost_models import GpuCluster, ProfiledMachine
from thinkery.plan.decoders import decoder_named
from thinkery.plan.estimate import plan_recipe, read_by_models
from thinkery.plan.hardware import GPUS, Cluster
from thinkery.plan.lengths import LengthSpread
from thinkery.plan.scaling import Scaled, knee, scale
from thinkery.plan.simulate import WAYS, Workload
from thinkery.plan.steps import rl_batch, rl_step
from thinkery.profiling import profile_recipe
from thinkery.recipe import Recipe, RLStage, load_recipe
from thinkery.report.terminal import make_view

CHART = ROOT / "docs" / "scale-simulation.svg"
MINI, PAPER = ROOT / "recipes" / "mini.yaml", ROOT / "benchmarks" / "recipes" / "deepseek-r1.yaml"
RUN = ROOT / "runs" / "mini"
PROFILES = ROOT / "runs" / "plan-profiles"
PARTS = ("paper", "mini", "simulation")

# R1-Zero's mean lengths are read off the paper's curve (Nature, figure 1b); those of the others are the means of the
# 800k set's reasoning domains, weighted by the prompts of each domain in RL; the cold start is "thousands".
ASSUMED = {
    "zero.mean_length": "500-9500",
    "zero-longer.mean_length": "12500-15000",
    "dev1.items": "5000",
    "dev1.mean_length": "5611",
    "dev2.mean_length": "5611",
    "dev3.items": "804745",
    "dev3.mean_length": "5355",
    "r1.mean_length": "5611",
}
FEWER, MORE = {"dev2.steps": 106}, {"dev2.steps": 344}  # as many updates as R1 has; two passes over Dev2's prompts
# What might as well have been assumed: lengths a third more or less, other numbers of Dev2's updates.
CHANGED: tuple[tuple[dict[str, str], dict[str, int]], ...] = (
    ({"zero.mean_length": "400-6500", "zero-longer.mean_length": "8500-10000"}, {}),
    ({"zero.mean_length": "700-12500", "zero-longer.mean_length": "16500-20000"}, {}),
    ({"dev2.mean_length": "4000", "r1.mean_length": "4000"}, {}),
    ({"dev2.mean_length": "8000", "r1.mean_length": "8000"}, {}),
    ({}, FEWER),
    ({}, MORE),
)
ZERO, R1 = ("zero", "zero-longer"), ("dev1", "dev2", "dev3", "r1")
QUIET = 0.25  # of a processor that others may take: sandboxes that are still alive are counted among them
PROMPT = 41  # tokens of the miniature's prompts for reasoning, about
PROFILED = "zero"
PREDICTED = ("dev2", "r1", "student-rl")
SIZES = (8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 10_000)
QUOTED = (8, 128, 1024, 10_000)
MODEL, GPU = "Qwen/Qwen2.5-7B", "h800"
WORK = Workload(completions=8192, updates=16, rollouts=8, lengths=LengthSpread(6000, 32768), prompt=150, verdict_s=1.0)


def paper_figures() -> dict[str, float]:
    """Hours of the paper's two runs, and how far other assumptions would move them."""
    zero, r1 = paper_hours({}, {})
    others = [paper_hours(assumed, settings) for assumed, settings in CHANGED]
    return {
        "plan_r1_zero_hours": round(zero, 1),
        "plan_r1_zero_hours_low": round(min(other[0] for other in others), 1),
        "plan_r1_zero_hours_high": round(max(other[0] for other in others), 1),
        "plan_r1_hours": round(r1, 1),
        "plan_r1_hours_low": round(min(other[1] for other in others), 1),
        "plan_r1_hours_high": round(max(other[1] for other in others), 1),
        "plan_r1_hours_fewer_updates": round(paper_hours({}, FEWER)[1], 1),
        "plan_r1_hours_more_updates": round(paper_hours({}, MORE)[1], 1),
    }


def paper_hours(assumed: Mapping[str, str], settings: Mapping[str, int]) -> tuple[float, float]:
    """R1-Zero's and R1's."""
    recipe = load_recipe(PAPER, [f"{name}={value}" for name, value in settings.items()])
    assume = [f"{name}={value}" for name, value in (ASSUMED | dict(assumed)).items()]
    stages = plan_recipe(recipe, GpuCluster(Cluster(GPUS["h800"], 512)), assume=assume)["stages"]
    hours = {stage["stage"]: float(stage["hours"]) for stage in stages}
    return sum(hours[name] for name in ZERO), sum(hours[name] for name in R1)


def mini_figures(profiles: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, float]:
    """The plan of the other stages' steps from the first one's profile, round by round, against theirs; medians."""
    recipe = load_recipe(MINI)
    machines = [ProfiledMachine(profile) for profile in profiles[PROFILED]]
    figures: dict[str, float] = {}
    errors = []
    for name in PREDICTED:
        measured = statistics.median(float(profile["step"]["seconds"]) for profile in profiles[name])
        rounds = zip(machines, profiles[name], strict=True)
        planned = statistics.median(sum(planned_step(recipe, *one).values()) for one in rounds)
        errors.append(abs(planned - measured) / measured)
        told = name.replace("-", "_")
        figures |= {f"mini_{told}_step_s": round(measured, 2), f"plan_mini_{told}_step_s": round(planned, 2)}
    return figures | {"plan_mini_step_error": round(max(errors), 3), "plan_mini_rounds": len(machines)}


def profiled(run: Path, steps: int, rounds: int, folder: Path) -> dict[str, list[dict[str, Any]]]:
    """The profiles of every round; those that ``folder`` has already are taken from there."""
    names = (PROFILED, *PREDICTED)
    folder.mkdir(parents=True, exist_ok=True)
    with closing(make_view(Console(stderr=True))) as view:
        for number in range(rounds):
            for name in names if number % 2 == 0 else names[::-1]:
                if not (file := _file(folder, number, name)).exists():
                    recipe = load_recipe(MINI, seed=0 if name == PROFILED else 1)
                    before, started = others_s(), time.monotonic()
                    profile = profile_recipe(recipe, stage=name, steps=steps, run=run, view=view)
                    share = (others_s() - before) / (time.monotonic() - started)
                    if share > QUIET:
                        sys.exit(f"others took {share:.2f} of a processor meanwhile; start again when it is quiet")
                    write_json_atomic(file, profile)
    return {name: [json.loads(_file(folder, number, name).read_text()) for number in range(rounds)] for name in names}


def others_s() -> float:
    """Processor seconds since boot that were not this process's, nor its children's that have ended."""
    total = sum(map(int, Path("/proc/stat").read_text().split()[1:4])) / os.sysconf("SC_CLK_TCK")
    return total - sum(os.times()[:4])


def _file(folder: Path, number: int, stage: str) -> Path:
    return folder / f"{number}-{stage}.json"


def planned_step(recipe: Recipe, machine: ProfiledMachine, profile: Mapping[str, Any]) -> dict[str, float]:
    """Seconds by part of a step as long as the profiled ones, from another stage's profile."""
    stage = next(one for one in recipe.stages if one.name == profile["stage"])
    assert isinstance(stage, RLStage)
    parts, completions = profile["parts"], stage.num_problems * stage.num_generations
    sampled, longest = parts["rollout"]["tokens"], parts["rollout"]["steps"]
    forwarded = (parts.get("reference") or {}).get("tokens")  # prompts once, and completions
    prompt = round((forwarded - sampled) / stage.num_problems) if forwarded else PROMPT
    start = stage.from_ if stage.from_.startswith("thinkery://") else recipe.base
    assert start is not None
    late = {name: reward.model_copy(update={"from_step": 0}) for name, reward in stage.rewards.items()}
    mean = sampled / completions
    return rl_step(
        stage,
        decoder_named(start),
        machine,
        rl_batch(stage, mean, prompt, spread_of(mean, longest, completions, stage.max_completion_length)),
        slots=stage.max_slots,
        teaches=min(1.0, parts["update"]["tokens"] / (sampled + prompt * stage.num_problems)),
        read_by_models=read_by_models(stage.model_copy(update={"rewards": late})),
    )


def spread_of(mean: float, longest: float, completions: int, limit: int) -> float:
    """The spread with which the longest of so many completions is as long as that."""
    low, high = 0.0, 1.5
    for _ in range(30):
        middle = (low + high) / 2
        too_short = LengthSpread(mean, limit, middle).at(1 - 0.5 / completions) < longest
        low, high = (middle, high) if too_short else (low, middle)
    return high


def simulated_figures() -> dict[str, float]:
    """Every way at every size; draws the chart."""
    points = scale(decoder_named(MODEL), GPUS[GPU], WORK, SIZES)
    CHART.write_text(chart(points), encoding="utf-8")
    figures: dict[str, float] = {}
    for way in WAYS:
        own = [point for point in points if point.way == way]
        figures[f"simulated_{way}_knee_gpus"] = knee(own)
        for point in own:
            if point.gpus in QUOTED:
                figures[f"simulated_{way}_{point.gpus}_per_s"] = round(point.speed, 2)
                figures[f"simulated_{way}_{point.gpus}_busy"] = round(point.busy, 3)
    for point in points:
        if point.way == "asynchronous" and point.gpus in QUOTED:
            late = sum(count for age, count in point.result.stale.items() if age > 1) / point.result.completions
            figures[f"simulated_asynchronous_{point.gpus}_late"] = round(late, 3)
    return figures


def chart(points: Sequence[Scaled]) -> str:
    """Speed and use over the number of GPUs."""

    def curves(of: str) -> list[Curve]:
        named = [(way, [point for point in points if point.way == way]) for way in WAYS]
        return [Curve(way, [one.gpus for one in own], [getattr(one, of) for one in own]) for way, own in named]

    panels = [
        Panel("GPUs", "completions learnt from a second", curves("speed")),
        Panel("GPUs", "share of the GPUs' time in use", curves("busy"), proportion=False),
    ]
    return draw(panels, columns=2, title="A cluster, simulated")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=PARTS, default=PARTS, help="measure these parts alone")
    parser.add_argument(
        "--mini-run", type=Path, default=RUN, help="a finished run of recipes/mini.yaml; it is only read"
    )
    parser.add_argument("--steps", type=int, default=3, help="measured steps of each profile")
    parser.add_argument("--rounds", type=int, default=3, help="profiles of each stage")
    parser.add_argument(
        "--profiles", type=Path, default=PROFILES, help="where they are kept; made ones are not repeated"
    )
    arguments = parser.parse_args()
    for part in arguments.only:
        if part == "paper":
            measured = paper_figures()
        elif part == "simulation":
            measured = simulated_figures()
        else:
            measured = mini_figures(profiled(arguments.mini_run, arguments.steps, arguments.rounds, arguments.profiles))
        print(f"{part}:\n{json.dumps(measured, indent=2)}", file=sys.stderr)
        add_figures(SCALE, "scale_plan.py", measured)


if __name__ == "__main__":
    main()
