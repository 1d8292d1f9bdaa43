"""How figures are written, on the page and in the terminal, and how report cards are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Card = Mapping[str, Any]


def percent(value: float) -> str:
    """``0.731`` as ``73.1%``."""
    return f"{100 * value:.1f}%"


def percent_or_dash(value: float | None) -> str:
    """The same, and a dash for what isn't known."""
    return "–" if value is None else percent(value)


def plain(value: float | None, signed: bool = False) -> str:
    """A figure with three significant digits, large ones in full: ``0.613``, ``41.2``, ``12,034``."""
    if value is None:
        return "–"
    if abs(value) >= 1000:
        return f"{value:+,.0f}" if signed else f"{value:,.0f}"
    text = f"{value:+.3g}" if signed else f"{value:.3g}"
    return text if "e" not in text else f"{value:.4f}"


def by_part(card: Card, part: str, metric: str) -> dict[str, float]:
    """One number a level or language (``part`` "by_level" or "by_language"), from easy to hard."""
    values = {str(key): value.get(metric) for key, value in (card.get(part) or {}).items()}
    return {key: float(values[key]) for key in sorted(values, key=lambda k: (len(k), k)) if values[key] is not None}


def format_value(value: float, style: str) -> str:
    """A figure in few characters."""
    if value != value:
        return "nan"
    if style == "share":
        return f"{100 * value:.1f}%"
    if style == "count":
        return f"{value:,.0f}"
    if style == "rate":
        return f"{value:,.0f}" if value < 10_000 else f"{value / 1000:,.1f}k"
    return "0" if value == 0 else f"{value:.3f}" if 0.001 <= abs(value) < 1000 else f"{value:.1e}"


def format_seconds(seconds: float) -> str:
    """``4:05``, or ``2:04:05`` from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
