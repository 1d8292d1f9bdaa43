"""What a person sees while a run goes on: a live view in a terminal, plain lines everywhere else.

A view only shows. It knows metric names and nothing of what they mean to a stage; it keeps no files (the run folder
does) and never reads keys. Completions are model output, so control characters are taken out before they are printed.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Protocol

from rich.cells import cell_len, chop_cells
from rich.columns import Columns
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.padding import Padding
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from thinkery.report.figures import format_seconds, format_value

END_THINK = "</think>"
BLOCKS = "▁▂▃▄▅▆▇█"
TREND_STEPS = 4096  # of the sparkline; a longer stage shows its last ones
PACE_STEPS = 20  # the time left is told from the pace of this many steps


@dataclass(frozen=True)
class Shown:
    """A metric on the screen: its name in ``metrics``, its label, and how its value is written."""

    metric: str
    label: str
    style: str  # "share" (0..1 as %), "count", "figure", "rate"


HEADLINES = (
    Shown("reward", "reward", "figure"),
    Shown("accuracy", "accuracy", "share"),
    Shown("format", "format", "share"),
    Shown("completions/mean_length", "length", "count"),
    Shown("completions/mean_thinking_length", "thinking", "count"),
    Shown("reflection", "reflection", "share"),
    Shown("probe/pass@1", "probe", "share"),
    Shown("rewards/helpful/mean", "helpful", "figure"),
    Shown("rewards/safety/mean", "safety", "share"),
    Shown("language", "language", "share"),
    Shown("loss", "loss", "figure"),
    Shown("entropy", "entropy", "figure"),
    Shown("kl", "KL", "figure"),
    Shown("tokens_per_second", "tokens/s", "rate"),
)
TRENDS = ("accuracy", "loss")  # the first that a stage logs becomes its sparkline


class View(Protocol):
    """Where a run tells what it does. Steps count from 1 to ``total_steps``."""

    def stage(self, name: str, kind: str, total_steps: int | None) -> None:
        """A stage begins (or goes on, after a resume). None: only the stage knows how many steps, see ``expect``."""

    def expect(self, total_steps: int) -> None:
        """The stage has found out how many steps it takes."""

    def step(self, step: int, metrics: Mapping[str, float]) -> None:
        """A step of the stage is done."""

    def completion(self, prompt: str, text: str, reward: float, correct: bool) -> None:
        """One completion worth reading."""

    def note(self, text: str) -> None:
        """A line to keep."""

    def progress(self, description: str, done: int, total: int) -> None:
        """How far a piece of work inside a stage is; gone from the screen when ``done`` reaches ``total``."""

    def stage_done(self, name: str, summary: Mapping[str, object]) -> None:
        """A stage has ended. Shows the numbers in ``summary`` and leaves out what is nested in it."""

    def close(self) -> None:
        """Gives the terminal back."""


def make_view(console: Console | None = None) -> View:
    """The live view for a terminal that can draw it, plain lines for a file, a pipe or a terminal without Unicode."""
    console = console or Console()
    if console.is_terminal and not console.is_dumb_terminal and console.encoding.lower().startswith("utf"):
        return RichView(console)
    return PlainView(console.file)


# --- writing numbers -------------------------------------------------------------------------------------------------


def sparkline(values: Sequence[float], width: int) -> str:
    """The values as at most ``width`` block characters, from the lowest to the highest; each averages its share."""
    finite = [value for value in values if abs(value) < float("inf")]
    if not finite or width < 1:
        return ""
    columns = min(width, len(finite))
    edges = [round(i * len(finite) / columns) for i in range(columns + 1)]
    means = [sum(finite[a:b]) / (b - a) for a, b in itertools.pairwise(edges)]
    low, high = min(means), max(means)
    scale = (len(BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(BLOCKS[round((mean - low) * scale)] for mean in means)


def printable(text: str) -> str:
    """Without control characters, which a model could use to write all over the terminal."""
    return "".join(c if c == "\n" or c.isprintable() else " " for c in text)


def split_thinking(text: str) -> tuple[str, str]:
    """A completion's thinking, with its tags, and what follows it. All is thinking if the thinking never ends."""
    thinking, closed, rest = text.partition(END_THINK)
    return thinking + closed, rest


def _figures(metrics: Mapping[str, float]) -> list[tuple[str, str]]:
    """Label and value of every headline metric that was logged."""
    return [(s.label, format_value(metrics[s.metric], s.style)) for s in HEADLINES if s.metric in metrics]


def _summary_line(summary: Mapping[str, object]) -> str:
    parts = []
    for key, value in summary.items():
        if key == "seconds" and isinstance(value, int | float):
            parts.append(f"took {format_seconds(value)}")
        elif isinstance(value, float):
            parts.append(f"{key} {format_value(value, 'figure')}")
        elif isinstance(value, str | int):
            parts.append(f"{key} {value}")
    return "   ".join(parts)


class _Pace:
    """Where a stage stands, and how long it has yet to go."""

    def __init__(self, name: str, kind: str, total_steps: int | None) -> None:
        self.name, self.kind, self.total_steps = name, kind, total_steps
        self.step = 0
        self.metrics: dict[str, float] = {}
        self.trend: deque[float] = deque(maxlen=TREND_STEPS)
        self.trend_of: Shown | None = None
        self._times: deque[tuple[int, float]] = deque(maxlen=PACE_STEPS + 1)

    def advance(self, step: int, metrics: Mapping[str, float]) -> None:
        self.step, self.metrics = step, dict(metrics)
        self._times.append((step, time.monotonic()))
        if self.trend_of is None:
            name = next((metric for metric in TRENDS if metric in metrics), None)
            self.trend_of = next((shown for shown in HEADLINES if shown.metric == name), None)
        if self.trend_of is not None and self.trend_of.metric in metrics:
            self.trend.append(metrics[self.trend_of.metric])

    @property
    def time_left(self) -> str:
        """Empty until two steps have shown the pace, and where nobody knows how many there are."""
        if len(self._times) < 2 or self.total_steps is None:
            return ""
        (first, start), (last, end) = self._times[0], self._times[-1]
        return format_seconds((end - start) / max(last - first, 1) * (self.total_steps - last))

    @property
    def position(self) -> str:
        """The step, and of how many if that is known."""
        return f"{self.step}/{self.total_steps}" if self.total_steps is not None else f"{self.step}"


# --- plain lines -----------------------------------------------------------------------------------------------------


class PlainView:
    """One line a step, not more often than every ``interval`` seconds; the first and last step always."""

    def __init__(self, stream: IO[str] | None = None, *, interval: float = 5.0) -> None:
        self._stream = stream or sys.stdout
        self._interval = interval
        self._pace = _Pace("", "", None)
        self._next_line = self._next_progress = 0.0
        self._progress_lines: int | None = None  # printed of the work in progress

    def stage(self, name: str, kind: str, total_steps: int | None) -> None:
        """Prints a heading."""
        self._pace = _Pace(name, kind, total_steps)
        self._next_line, self._progress_lines = 0.0, None
        self._print(f"== {name} ({kind}, {total_steps} steps)" if total_steps is not None else f"== {name} ({kind})")

    def expect(self, total_steps: int) -> None:
        """Counts against them from the next line on."""
        self._pace.total_steps = total_steps

    def step(self, step: int, metrics: Mapping[str, float]) -> None:
        """Prints the headline figures and the time left."""
        self._pace.advance(step, metrics)
        now = time.monotonic()
        if now < self._next_line and step != self._pace.total_steps:
            return
        self._next_line = now + self._interval
        parts = [f"{self._pace.name} {self._pace.position}"]
        parts += [f"{label} {value}" for label, value in _figures(metrics)]
        if self._pace.time_left:
            parts.append(f"{self._pace.time_left} left")
        self._print("  ".join(parts))

    def completion(self, prompt: str, text: str, reward: float, correct: bool) -> None:
        """Prints prompt and completion in full."""
        self._print(f"-- {'right' if correct else 'wrong'}, reward {reward:.2f}: {prompt.strip()}")
        self._print("   " + text.strip().replace("\n", "\n   "))

    def note(self, text: str) -> None:
        """Prints the line."""
        self._print(text)

    def progress(self, description: str, done: int, total: int) -> None:
        """Prints where the work stands, as seldom as the steps; nothing for work that is done before the first line."""
        now = time.monotonic()
        if self._progress_lines is None:
            self._progress_lines, self._next_progress = 0, now + self._interval
        if now >= self._next_progress or (done >= total and self._progress_lines):
            self._progress_lines += 1
            self._next_progress = now + self._interval
            self._print(f"{description}: {done:,} of {total:,}")
        if done >= total:
            self._progress_lines = None

    def stage_done(self, name: str, summary: Mapping[str, object]) -> None:
        """Prints the summary's numbers."""
        self._print(f"== {name} done   {_summary_line(summary)}".rstrip())

    def close(self) -> None:
        """Leaves the stream open: it isn't the view's."""
        self._stream.flush()

    def _print(self, text: str) -> None:
        # A log file in a narrow encoding must not end the run over a completion in Chinese.
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        line = printable(text).encode(encoding, "replace").decode(encoding)
        print(line, file=self._stream, flush=True)


# --- the live view ---------------------------------------------------------------------------------------------------


class RichView:
    """A panel that follows the running stage, above it the notes and the stages that are done."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._pace: _Pace | None = None
        self._progress: tuple[str, int, int] | None = None
        self._completion: tuple[str, str, float, bool, int] | None = None
        self._live = Live(get_renderable=self._render, console=console, refresh_per_second=4, transient=True)

    def stage(self, name: str, kind: str, total_steps: int | None) -> None:
        """Starts the panel of a stage."""
        self._pace, self._completion, self._progress = _Pace(name, kind, total_steps), None, None
        self._live.start()

    def expect(self, total_steps: int) -> None:
        """Gives the bar its length."""
        if self._pace is not None:
            self._pace.total_steps = total_steps

    def step(self, step: int, metrics: Mapping[str, float]) -> None:
        """Updates the panel."""
        if self._pace is not None:
            self._pace.advance(step, metrics)

    def completion(self, prompt: str, text: str, reward: float, correct: bool) -> None:
        """Shows the completion under the panel until the next one comes."""
        step = self._pace.step if self._pace else 0
        self._completion = (printable(prompt).strip(), printable(text).strip(), reward, correct, step)

    def note(self, text: str) -> None:
        """Prints the line above the panel."""
        self._console.print(Text(printable(text), style="dim"))

    def progress(self, description: str, done: int, total: int) -> None:
        """Shows a second bar."""
        self._progress = None if done >= total else (printable(description), done, total)
        if self._progress:
            self._live.start()

    def stage_done(self, name: str, summary: Mapping[str, object]) -> None:
        """Prints the summary and the trend above; the panel goes."""
        line = Text.assemble(("✓ ", "green"), (name, "bold"), "  ", (printable(_summary_line(summary)), "dim"))
        self._console.print(line)
        if self._pace is not None:
            self._console.print(Padding(_Trend(self._pace), (0, 0, 0, 2)))
        self._pace = self._completion = self._progress = None

    def close(self) -> None:
        """Stops the panel; what was printed above it stays."""
        self._live.stop()

    def _render(self) -> RenderableType:
        # Called from the refreshing thread too: what it reads must not change between the look and the use.
        pace, completion, progress = self._pace, self._completion, self._progress
        parts: list[RenderableType] = []
        if pace is not None:
            parts.append(_stage_panel(pace))
        if completion is not None:
            parts.append(_CompletionView(*completion))
        if progress is not None:
            parts.append(_bar(*progress))
        return Group(*parts)


def _bar(description: str, done: int, total: int, left: str = "") -> Table:
    bar = Table.grid(expand=True, padding=(0, 1))
    bar.add_column(no_wrap=True)
    bar.add_column(ratio=1)
    bar.add_column(justify="right", no_wrap=True)
    position = Text(f"{done:,}/{total:,}")
    if left:
        position.append(f" · {left} left", "dim")
    bar.add_row(Text(description), ProgressBar(total=max(total, 1), completed=done), position)
    return bar


def _stage_panel(pace: _Pace) -> Panel:
    """Progress, the headline figures and the trend of a stage."""
    figures = [Text.assemble((f"{label} ", "dim"), (value, "bold")) for label, value in _figures(pace.metrics)]
    rows: list[RenderableType] = []
    if pace.total_steps is not None:
        rows.append(_bar("step", pace.step, pace.total_steps, pace.time_left))
    if figures:
        rows.append(Columns(figures, equal=True, padding=(0, 2)))
    if pace.trend:
        rows.append(_Trend(pace))
    title = Text.assemble((pace.name, "bold"), (f" · {pace.kind}", "dim"))
    return Panel(Group(*rows), title=title, title_align="left", border_style="cyan", padding=(0, 1))


class _Trend:
    """A sparkline as wide as the room it gets, between the first and the last value."""

    def __init__(self, pace: _Pace) -> None:
        self._trend, self._values = pace.trend_of, list(pace.trend)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self._trend is None or not self._values:
            return
        first, last = (format_value(value, self._trend.style) for value in (self._values[0], self._values[-1]))
        room = options.max_width - len(self._trend.label) - len(first) - len(last) - 3
        label, line = (f"{self._trend.label} ", "dim"), (sparkline(self._values, room), "cyan")
        yield Text.assemble(label, first, " ", line, " ", (last, "bold"), no_wrap=True)


def _tail(text: str, width: int) -> str:
    """The end of a line, where a prompt has its question, in ``width`` cells."""
    if cell_len(text) <= width:
        return text
    return "…" + chop_cells(text[::-1], max(width - 1, 1))[0][::-1]


class _CompletionView:
    """A completion with its thinking dimmed, cut to a third of the screen so that the panel never scrolls away."""

    def __init__(self, prompt: str, text: str, reward: float, correct: bool, step: int) -> None:
        self._prompt, self._text, self._step = prompt, text, step
        self._mark = ("✓ right", "bold green") if correct else ("✗ wrong", "bold red")
        self._reward = reward

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        thinking, answer = split_thinking(self._text)
        body = Text.assemble((thinking, "dim italic"), (answer, "bold"))
        lines = body.wrap(console, max(options.max_width - 2, 10))
        room = max(console.height // 3, 4)
        shown = list(lines)
        if len(shown) > room:
            # The beginning shows how the model thinks, the end what it answers.
            half = room // 2
            shown = [*shown[:half], Text("…", "dim"), *shown[len(shown) - half :]]
        head = Text.assemble(self._mark, (f" · reward {self._reward:.2f} · step {self._step}", "dim"))
        yield Rule(head, align="left", style="dim")
        yield Text(_tail(" ".join(self._prompt.split()), options.max_width), no_wrap=True)
        yield Padding(Group(*shown), (0, 0, 0, 2))
