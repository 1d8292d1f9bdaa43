"""A grid of charts with logarithmic axes as one SVG, readable on light and dark pages; no library draws it.

Left out: the data (``speed_scaling.py``, ``scale_plan.py``); any chart but points, lines between them and the exponent
beside each.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 250, 190  # of a panel's frame
LEFT, TOP, RIGHT, BOTTOM = 52, 30, 14, 46  # around it
HEAD = 44  # above all panels, for title and legend

STYLE = """
  .page { fill: #ffffff } .frame { fill: none; stroke: #c9cdd4 } .grid { stroke: #eceef1 }
  .text { fill: #3b4252 } .faint { fill: #7b8494 } .linear { stroke: #a3aab6; stroke-dasharray: 3 4 }
  .c0 { stroke: #2563b0; fill: #2563b0 } .c1 { stroke: #c2571a; fill: #c2571a }
  .c2 { stroke: #2b8a57; fill: #2b8a57 }
  .line { fill: none; stroke-width: 2 } .label { stroke: none }
  text { font: 12px system-ui, sans-serif } .title { font-weight: 600; font-size: 15px }
  @media (prefers-color-scheme: dark) {
    .page { fill: #14171c } .frame { stroke: #444b57 } .grid { stroke: #262b33 }
    .text { fill: #d8dde6 } .faint { fill: #949dac } .linear { stroke: #6b7380 }
    .c0 { stroke: #6fb1f5; fill: #6fb1f5 } .c1 { stroke: #f2995c; fill: #f2995c }
    .c2 { stroke: #63c78f; fill: #63c78f }
    .line { fill: none } .label { stroke: none }
  }
"""


@dataclass(frozen=True)
class Curve:
    """Positive points, and the exponent that was fitted to them, if one was."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    exponent: float | None = None


@dataclass(frozen=True)
class Panel:
    """Curves over one axis."""

    x_title: str
    y_title: str
    curves: Sequence[Curve]
    proportion: bool = True  # whether a line shows it


def draw(panels: Sequence[Panel], *, columns: int, title: str = "How time and memory of a step grow") -> str:
    """The SVG's text. All panels have the same curves, named once above; a dashed line shows exact proportion."""
    cell_width, cell_height = LEFT + WIDTH + RIGHT, TOP + HEIGHT + BOTTOM
    width, height = columns * cell_width, HEAD + math.ceil(len(panels) / columns) * cell_height
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">',
        f"<title>{escape(title)}</title>",
        f"<style>{STYLE}</style>",
        f'<rect class="page" width="{width}" height="{height}"/>',
        f'<text class="text title" x="{LEFT}" y="28">{escape(title)}</text>',
        *_legend([curve.name for curve in panels[0].curves], width),
    ]
    for number, panel in enumerate(panels):
        row, column = divmod(number, columns)
        parts.append(f'<g transform="translate({column * cell_width + LEFT},{HEAD + row * cell_height + TOP})">')
        parts += [*_panel(panel), "</g>"]
    return "\n".join([*parts, "</svg>\n"])


def _legend(names: Sequence[str], width: int) -> Iterator[str]:
    widths = [max(90, 22 + 7 * len(name)) for name in names]
    x = width - 100 - sum(widths)
    for number, (name, own) in enumerate(zip(names, widths, strict=True)):
        yield f'<circle class="c{number}" cx="{x}" cy="24" r="4"/>'
        yield f'<text class="text" x="{x + 10}" y="28">{escape(name)}</text>'
        x += own
    yield f'<line class="linear" x1="{x}" x2="{x + 22}" y1="24" y2="24"/>'
    yield f'<text class="text" x="{x + 28}" y="28">proportion</text>'


@dataclass(frozen=True)
class _Scale:
    """From values to pixels, by logarithm."""

    low: float
    high: float
    pixels: float

    def __call__(self, value: float) -> float:
        return self.pixels * math.log(value / self.low) / math.log(self.high / self.low)


def _panel(panel: Panel) -> Iterator[str]:
    xs = [value for curve in panel.curves for value in curve.x]
    ys = [value for curve in panel.curves for value in curve.y]
    x, y = _Scale(min(xs) / 1.25, max(xs) * 1.25, WIDTH), _Scale(min(ys) / 1.6, max(ys) * 2.2, HEIGHT)
    for tick in ticks(y.low, y.high):
        at = HEIGHT - y(tick)
        yield f'<line class="grid" x1="0" x2="{WIDTH}" y1="{at:.1f}" y2="{at:.1f}"/>'
        yield f'<text class="faint" x="-6" y="{at + 4:.1f}" text-anchor="end">{short(tick)}</text>'
    for tick in _spaced(sorted(set(xs)), x):
        yield f'<line class="grid" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="0" y2="{HEIGHT}"/>'
        yield f'<text class="faint" x="{x(tick):.1f}" y="{HEIGHT + 16}" text-anchor="middle">{short(tick)}</text>'
    yield f'<rect class="frame" width="{WIDTH}" height="{HEIGHT}"/>'
    yield f'<text class="text" x="{WIDTH / 2}" y="{HEIGHT + 34}" text-anchor="middle">{escape(panel.x_title)}</text>'
    yield f'<text class="text" x="0" y="-8">{escape(panel.y_title)}</text>'
    if panel.proportion:
        yield _proportion(panel.curves[-1], x, y)
    for number, curve in enumerate(panel.curves):
        places = [(x(a), HEIGHT - y(b)) for a, b in zip(curve.x, curve.y, strict=True)]
        line = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
        yield f'<polyline class="c{number} line" points="{line}"/>'
        yield from (f'<circle class="c{number}" cx="{a:.1f}" cy="{b:.1f}" r="3"/>' for a, b in places)
        if curve.exponent is not None:
            label = f"{escape(curve.name)}: exponent {curve.exponent:.2f}"
            yield f'<text class="c{number} label" x="8" y="{17 + 15 * number}">{label}</text>'


def _proportion(curve: Curve, x: _Scale, y: _Scale) -> str:
    """A line of exponent 1 from a curve's first point, as far as the frame goes."""
    first_x, first_y = curve.x[0], curve.y[0]
    reach = min(x.high / first_x, y.high / first_y)
    ends = (x(first_x), HEIGHT - y(first_y), x(first_x * reach), HEIGHT - y(first_y * reach))
    return '<line class="linear" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>'.format(*ends)


def ticks(low: float, high: float) -> list[float]:
    """Round numbers between two: powers of ten, with 2 and 5 between them where there are few."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1,), (1, 3), (1, 2, 5)):
        found = [step * 10.0**power for power in powers for step in steps if low <= step * 10.0**power <= high]
        if len(found) >= 3:
            break
    return found


def _spaced(values: Sequence[float], scale: _Scale) -> list[float]:
    """Those values whose labels don't touch."""
    kept: list[float] = []
    for value in values:
        if not kept or scale(value) - scale(kept[-1]) >= 34:
            kept.append(value)
    return kept


def short(value: float) -> str:
    """``0.05``, ``2048``, ``150k``, ``3.1M``."""
    if value == round(value) and value < 10_000:
        return f"{value:.0f}"
    for unit, letter in ((1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:.3g}{letter}"
    return f"{value:.3g}"
