"""The domains of the miniature world by name, and the drawing of tasks from one side of the split.

Left out: how often a domain occurs: the corpus and the recipes say so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import TypeVar

from thinkery.mini import code, general, logic, math, stem
from thinkery.mini.world import WorldTask, held_out

K = TypeVar("K")

DOMAINS: Mapping[str, Callable[[Random, int], WorldTask]] = {
    "math": math.draw,
    "code": code.draw,
    "stem": stem.draw,
    "logic": logic.draw,
    "general": general.draw,
}
REASONING = {"math": 0.5, "code": 0.15, "stem": 0.2, "logic": 0.15}  # where a recipe doesn't choose


def draw_task(rng: Random, domain: str, level: int, *, test: bool = False) -> WorldTask:
    """A task of a domain and a level, on one side of the split."""
    task = DOMAINS[domain](rng, level)
    while held_out(task) != test:
        task = DOMAINS[domain](rng, level)
    return task


def weighted(rng: Random, weights: Mapping[K, float]) -> K:
    """One of the keys, by weight."""
    return rng.choices(list(weights), list(weights.values()))[0]
