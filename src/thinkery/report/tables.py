"""The tables of the page: models by benchmark as the paper's Table 3, collected data, reward models.

Each is made of what the run folder holds and is empty where that is missing. Left out: how they look (the template).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from thinkery.report.figures import Card
from thinkery.report.runfiles import RunFiles

BASE = "base"
DOMAINS = {"math": "Math", "code": "Code", "stem": "STEM", "logic": "Logic", "general": "General"}  # in this order


@dataclass(frozen=True)
class Cell:
    """A figure of a model in [0, 1], with its interval; ``best`` if no model of the row has more."""

    value: float
    interval: Sequence[float] | None
    best: bool


@dataclass(frozen=True)
class Benchmark:
    """A held-out set's rows: label, and a cell for every model (None: not measured)."""

    name: str
    note: str
    rows: Sequence[tuple[str, Sequence[Cell | None]]]


@dataclass(frozen=True)
class StageTable:
    """Models by benchmark, in the order of the ladder."""

    models: Sequence[str]
    benchmarks: Sequence[Benchmark]


def cards_of(run: RunFiles) -> dict[str, dict[str, Card]]:
    """Evaluation set -> model -> report card; models in the order of the ladder."""
    models = {BASE: run.summary.get(BASE) or {}} | (run.summary.get("stages") or {})
    found: dict[str, dict[str, Card]] = {}
    for model, entry in models.items():
        for name, card in (entry.get("eval") or {}).items():
            found.setdefault(name, {})[model] = card
    return found


def stage_table(cards: Mapping[str, Mapping[str, Card]]) -> StageTable | None:
    """The table of all sets and models; None while fewer than two models are measured."""
    models = list(dict.fromkeys(model for by_model in cards.values() for model in by_model))
    if len(models) < 2:
        return None
    return StageTable(models, [_benchmark(name, by_model, models) for name, by_model in cards.items()])


def _benchmark(name: str, cards: Mapping[str, Card], models: Sequence[str]) -> Benchmark:
    some = next(iter(cards.values()))
    domains = sorted({domain for card in cards.values() for domain in card.get("by_domain") or {}}, key=_place)
    checked = [d for d in domains if any("pass@1" in _domain(card, d) for card in cards.values())]
    vote = f"cons@{some.get('k')}"
    rows = [("pass@1", [(card, "pass@1") for card in _in_order(cards, models)])]
    if len(checked) > 1:
        for domain in checked:
            parts = [_domain(card, domain) for card in _in_order(cards, models)]
            rows.append((DOMAINS.get(domain, domain), [(part, "pass@1") for part in parts]))
    for label, key in ((f"majority of {some.get('k')}", vote), ("win rate", "preference"), ("safe", "safe")):
        rows.append((label, [(card, key) for card in _in_order(cards, models)]))
    made = [(label, _cells(figures)) for label, figures in rows]
    kept = [(label, cells) for label, cells in made if any(cells)]
    return Benchmark(name, f"{some.get('n')} problems, {some.get('k')} samples each", kept)


def _in_order(cards: Mapping[str, Card], models: Sequence[str]) -> list[Card]:
    return [cards.get(model, {}) for model in models]


def _domain(card: Card, domain: str) -> Card:
    part: Card = (card.get("by_domain") or {}).get(domain) or {}
    return part


def _place(domain: str) -> tuple[int, str]:
    return ([*DOMAINS].index(domain) if domain in DOMAINS else len(DOMAINS), domain)


def _cells(figures: Sequence[tuple[Card, str]]) -> list[Cell | None]:
    known = [card[key] for card, key in figures if card.get(key) is not None]
    return [
        Cell(card[key], card.get(f"{key}_ci95"), best=round(card[key], 3) == round(max(known), 3))
        if card.get(key) is not None
        else None
        for card, key in figures
    ]


def reward_models(run: RunFiles) -> list[tuple[str, Mapping[str, Any]]]:
    """Name and held-out report of every reward model that is done."""
    kinds = {stage.get("name"): stage.get("kind") for stage in run.recipe.get("stages") or []}
    stages = run.summary.get("stages") or {}
    return [(name, report) for name, report in stages.items() if kinds.get(name) == "reward_model"]
