"""A profile in the terminal: a table of the step's parts, and a sentence on where most of the time goes.

Lines and colours only where there is a terminal; a file or a pipe gets plain columns. Left out: measuring
(``thinkery.profiling``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from thinkery.report.figures import percent, percent_or_dash, plain

_WIDTH = 100  # columns where there is no terminal to ask


def show_profile(figures: Mapping[str, Any], console: Console) -> None:
    """Prints what ``profile_recipe`` found."""
    if not console.is_terminal:
        console.width = _WIDTH
    for line in _heading(figures):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print(_table(figures, console.is_terminal))
    console.print(verdict(figures), markup=False, highlight=False, soft_wrap=True)


def verdict(figures: Mapping[str, Any]) -> str:
    """Which part takes the most time, and how near it comes to the peaks."""
    name, part = max(figures["parts"].items(), key=lambda item: item[1]["seconds"])
    seconds = plain(figures["step"]["seconds"])
    said = f"Most of the time goes to {name}: {percent(part['share'])} of a step of {seconds} s"
    if part["flop_share"] is None or part["byte_share"] is None:
        return f"{said}."
    return (
        f"{said}, at {percent(part['flop_share'])} of the peak of matrix products and {percent(part['byte_share'])} of "
        "the memory's."
    )


def _heading(figures: Mapping[str, Any]) -> list[str]:
    machine, peaks = figures["machine"], figures["peaks"]
    facts = [f"{machine['processor']}, {machine['cores']} cores", *machine["gpus"]]
    return [
        f"{figures['recipe']}, stage {figures['stage']} ({figures['kind']}) on {figures['device']} in "
        f"{figures['dtype']}: mean of {figures['steps']} steps",
        f"{'; '.join(facts)}; measured peaks: bf16 {plain(peaks['bfloat16_flop_per_s'] / 1e9)} GFLOP/s, "
        f"fp32 {plain(peaks['float32_flop_per_s'] / 1e9)} GFLOP/s, memory {plain(peaks['bytes_per_s'] / 1e9)} GB/s",
    ]


def _table(figures: Mapping[str, Any], lines: bool) -> Table:
    table = Table(box=SIMPLE_HEAD if lines else None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("part")
    for heading in ("seconds", "share", "tokens/s", "GFLOP/s", "of peak", "GB/s", "of peak"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, part in [*figures["parts"].items(), ("whole step", figures["step"])]:
        table.add_row(
            name,
            plain(part["seconds"]),
            percent(part["share"]),
            plain(part["tokens_per_s"]),
            _billions(part["flops_per_s"]),
            percent_or_dash(part["flop_share"]),
            _billions(part["bytes_per_s"]),
            percent_or_dash(part["byte_share"]),
        )
    return table


def _billions(value: float | None) -> str:
    return plain(None if value is None else value / 1e9)
