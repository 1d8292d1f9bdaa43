"""A plan in the terminal: what each stage takes, what a GPU must hold, and everything that was assumed.

Lines and colours only where there is a terminal; a file or a pipe gets plain columns. Left out: planning
(``thinkery.plan``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from thinkery.report.figures import plain

_WIDTH = 160  # columns where there is no terminal to ask
_PARTS = ("rollout", "grading", "reference", "update", "hand-over")
_MEMORY = ("weights", "optimizer", "gradients", "reference", "activations")


def show_plan(figures: Mapping[str, Any], console: Console) -> None:
    """Prints what ``plan_recipe`` found."""
    if not console.is_terminal:
        console.width = _WIDTH
    _say(console, _heading(figures))
    console.print(_times(figures, console.is_terminal))
    rows = [stage for stage in figures["stages"] if stage.get("memory")]
    if rows:
        _say(
            console, "GiB a GPU by part, and the most that fits: tokens a microbatch, completions a replica at a time:"
        )
        console.print(_memory(rows, console.is_terminal))
        for stage in rows:
            _say(console, *_warnings(stage))
    _say(console, "assumed:")
    _say(console, *(f"  {name} = {value}: {why}" for name, value, why in figures["assumptions"]))
    _say(console, "efficiencies:", *(f"  {source}" for source in figures["sources"]))


def _heading(figures: Mapping[str, Any]) -> str:
    machine, total = figures["machine"], figures["total"]
    took = f"{figures['recipe']}: {plain(total['hours'])} hours"
    if machine is None:
        return f"{took} on this machine"
    return (
        f"{took} on {machine['gpus']} {machine['gpu']}, {plain(total['gpu_hours'])} GPU-hours, "
        f"${plain(total['usd'])} at ${machine['usd_per_hour']:g} an hour{' (assumed)' if machine['assumed'] else ''}"
    )


def _times(figures: Mapping[str, Any], lines: bool) -> Table:
    table = _table(lines, "stage", "kind")
    for heading in ("steps", "s/step", *_PARTS, "hours", *(("GPU-hours", "$") if figures["machine"] else ())):
        table.add_column(heading, justify="right", no_wrap=True)
    for stage in figures["stages"]:
        cells = [plain(stage["steps"]), plain(stage["step_seconds"])]
        cells += [plain(stage["parts"].get(part)) for part in _PARTS]
        cells += [plain(stage[name]) for name in ("hours", "gpu_hours", "usd") if name in stage]
        table.add_row(stage["stage"], stage["kind"], *cells)
    return table


def _memory(rows: Sequence[Mapping[str, Any]], lines: bool) -> Table:
    table = _table(lines, "stage")
    for heading in (*_MEMORY, "learning", "sampling", "cache", "microbatch", "at a time"):
        table.add_column(heading, justify="right", no_wrap=True)
    for stage in rows:
        memory = stage["memory"]
        learning, sampling = memory["learning"], memory["sampling"]
        sizes = [*(learning[part] for part in _MEMORY), sum(learning.values()), sampling["weights"], sampling["cache"]]
        fits = [f"{memory['largest_microbatch']:,}", f"{memory['largest_slots']:,}"]
        table.add_row(stage["stage"], *(plain(size / 2**30) for size in sizes), *fits)
    return table


def _warnings(stage: Mapping[str, Any]) -> list[str]:
    memory, name = stage["memory"], stage["stage"]
    room, largest = plain(memory["limit"] / 2**30), memory["largest_microbatch"]
    said = []
    if not memory["fits"]:
        said += [
            f"{name} does not fit into {room} GiB as the recipe asks: set {name}.microbatch_tokens to {largest} or "
            "less, or take more GPUs"
        ]
    if memory["longest"] > largest:
        said += [
            f"{name}: its longest sequence has {memory['longest']:,} tokens, more than a GPU has room for: this plan "
            "cuts it over the GPUs of a node, which the learner doesn't do"
        ]
    return said


def _table(lines: bool, *headings: str) -> Table:
    table = Table(box=SIMPLE_HEAD if lines else None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in headings:
        table.add_column(heading, no_wrap=True)
    return table


def _say(console: Console, *lines: str) -> None:
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
