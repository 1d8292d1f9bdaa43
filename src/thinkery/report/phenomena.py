"""The paper's phenomena, as far as one run's held-out evaluation can show them: what the paper saw, what was seen here.

Works on the evaluation report cards of ``summary.json``. Phenomena that need several runs are left to the benchmarks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Card = Mapping[str, Any]


@dataclass(frozen=True)
class Seen:
    """A phenomenon's row. ``seen`` says whether this run moved in the paper's direction."""

    number: str
    what: str
    paper: str
    here: str
    seen: bool


def phenomena(before: Card, after: Card) -> list[Seen]:
    """P1 to P7, those for which both report cards have the numbers."""
    rows = [
        _pass_at_1(before, after),
        _majority_vote(after),
        _maj_over_pass(before, after),
        _length(before, after),
        _hard_levels(before, after),
        _reflection(before, after),
        _thinking_by_level(after),
    ]
    return [row for row in rows if row is not None]


def percent(value: float) -> str:
    """``0.731`` as ``73.1%``."""
    return f"{100 * value:.1f}%"


def by_part(card: Card, part: str, metric: str) -> dict[str, float]:
    """One number a level or language (``part`` "by_level" or "by_language"), from easy to hard."""
    values = {str(key): value.get(metric) for key, value in (card.get(part) or {}).items()}
    return {key: float(values[key]) for key in sorted(values, key=lambda k: (len(k), k)) if values[key] is not None}


def _points(value: float) -> str:
    return f"{100 * value:+.1f} points"


def _pass_at_1(before: Card, after: Card) -> Seen | None:
    if "pass@1" not in before or "pass@1" not in after:
        return None
    low = after.get("pass@1_ci95", [after["pass@1"]])[0]
    high = before.get("pass@1_ci95", [before["pass@1"]])[-1]
    here = f"{percent(before['pass@1'])} → {percent(after['pass@1'])}"
    return Seen("P1", "Pure reinforcement learning lifts pass@1", "15.6% → 71.0% on AIME 2024", here, low > high)


def _majority_vote(after: Card) -> Seen | None:
    vote = f"cons@{after.get('k')}"
    if vote not in after or "pass@1" not in after:
        return None
    here = f"{percent(after['pass@1'])} → {percent(after[vote])}, {vote}"
    return Seen("P2", "A majority vote adds on top", "71.0% → 86.7%, cons@64", here, after[vote] > after["pass@1"])


def _maj_over_pass(before: Card, after: Card) -> Seen | None:
    vote, best = f"cons@{after.get('k')}", f"pass@{after.get('k')}"
    if not all(name in card for name in (vote, best) for card in (before, after)):
        return None
    gain, best_gain = after[vote] - before[vote], after[best] - before[best]
    here = f"{vote} {_points(gain)}, {best} {_points(best_gain)}"
    paper = "DeepSeekMath: maj@k rises, pass@k hardly does"
    return Seen("P3", "The vote gains more than pass@k", paper, here, gain > best_gain)


def _length(before: Card, after: Card) -> Seen | None:
    name = "mean_thinking_length"
    if not before.get(name) or name not in after:
        return None
    ratio = after[name] / before[name]
    here = f"{before[name]:,.0f} → {after[name]:,.0f} tokens, ×{ratio:.1f}"
    return Seen("P4", "Thinking grows longer, unrewarded", "a steady rise", here, ratio > 1)


def _hard_levels(before: Card, after: Card) -> Seen | None:
    old, new = by_part(before, "by_level", "pass@1"), by_part(after, "by_level", "pass@1")
    levels = [level for level in new if level in old]
    if len(levels) < 2:
        return None
    gains = {level: new[level] - old[level] for level in levels}
    easy, hard = levels[0], levels[-1]
    here = f"level {easy} {_points(gains[easy])}, level {hard} {_points(gains[hard])}"
    paper = "level 5 .55 → .90, levels 1 to 3 early"
    return Seen("P5", "Hard levels gain the most", paper, here, gains[hard] > gains[easy])


def _reflection(before: Card, after: Card) -> Seen | None:
    if "reflection" not in before or "reflection" not in after:
        return None
    here = f"{percent(before['reflection'])} → {percent(after['reflection'])} of completions"
    if before["reflection"] > 0:
        here += f", ×{after['reflection'] / before['reflection']:.1f}"
    seen = after["reflection"] > before["reflection"]
    return Seen("P6", "Reflection words grow", "5 to 7 times as many", here, seen)


def _thinking_by_level(after: Card) -> Seen | None:
    lengths = by_part(after, "by_level", "mean_thinking_length")
    if len(lengths) < 2:
        return None
    (easy, short), *_, (hard, long) = lengths.items()
    here = f"level {easy} {short:,.0f}, level {hard} {long:,.0f} tokens"
    paper = "under 100 tokens for 1+1, over 18,000 for the hardest"
    return Seen("P7", "Easy questions get less thinking", paper, here, long > short)
