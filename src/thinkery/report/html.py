"""The run as one HTML page: models by benchmark, what was written, data, curves, a reader.

``write_report`` reads the run folder's files and nothing else, so a page can be made again from any run, also from one
that is still going on. The page needs no network: styles, script, data and the chart library (plotly) are inside, and
its content security policy forbids loading anything. Left out: the parts that installed
packages bring (``parts.py``).

Model output is hostile text. The template escapes everything; the data travels as JSON in which ``<`` is escaped, and
the script puts it on the page as text only.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from thinkery.files import write_text_atomic
from thinkery.report.charts import charts_for
from thinkery.report.figures import Card, by_part, format_seconds, percent, percent_or_dash, plain
from thinkery.report.parts import Measured, render_parts
from thinkery.report.runfiles import Row, RunFiles, read_run
from thinkery.report.tables import BASE, cards_of, reward_models, stage_table

ASSETS = PackageLoader("thinkery.report", "assets")
PAIRS = 8  # of completions from the first and the last step
CHIEF = "r1"  # the model that the stages lead to; the last one where there is no such stage


def write_report(run_folder: Path, measured: Measured | None = None, output: Path | None = None, runs: int = 1) -> Path:
    """Writes the page of a run and returns its path: ``report.html`` in its folder, or ``output``.

    ``measured`` is what the parts found on ``runs`` runs together; None takes what the run's ``summary.json`` lists.
    Raises ``UserError`` if there is no such run.
    """
    run = read_run(run_folder)
    path = output or run_folder / "report.html"
    write_text_atomic(path, render(run, run.summary if measured is None else measured, runs))
    return path


def render(run: RunFiles, measured: Measured, runs: int = 1) -> str:
    """The page as text."""
    environment = Environment(
        loader=ASSETS, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"percent": percent, "percent_or_dash": percent_or_dash, "plain": plain}
    cards = cards_of(run)
    evaluations = [_evaluation(name, by_model) for name, by_model in cards.items()]
    charts = {stage: charts_for(columns) for stage, columns in run.metrics.items()}
    return environment.get_template("report.html").render(
        name=run.recipe.get("name") or run.manifest.get("name") or run.folder.name,
        facts=_facts(run),
        unfinished=_unfinished(run),
        hero=_hero(run, evaluations),
        table=stage_table(cards),
        parts=render_parts(measured, runs),
        collected=run.collected,
        reward_models=reward_models(run),
        evaluations=evaluations,
        sides=_sides(run),
        charts=charts,
        has_completions=bool(run.completions),
        recipe=run.recipe_text,
        manifest=json.dumps(run.manifest, indent=2, ensure_ascii=False) if run.manifest else "",
        data=_embedded(run, charts),
        css=_asset("report.css"),
        script=_asset("report.js"),
        plotly=Markup(get_plotlyjs()),
    )


def _asset(name: str) -> Markup:
    return Markup(ASSETS.get_source(Environment(), name)[0])


def _embedded(run: RunFiles, charts: Mapping[str, Mapping[str, Sequence[Any]]]) -> Markup:
    """The data for the page's script, safe inside a script element: no ``<``, so no tag can begin."""
    stages = {
        stage: {"metrics": columns, "charts": [asdict(chart) for part in charts[stage].values() for chart in part]}
        for stage, columns in run.metrics.items()
    }
    completions = {
        stage: [{"step": step, "rows": rows} for step, rows in steps] for stage, steps in run.completions.items()
    }
    data = {"stages": stages, "completions": completions, "pairs": _pairs(run)}
    return Markup(json.dumps(data, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c"))


# --- what the run is -------------------------------------------------------------------------------------------------


def _facts(run: RunFiles) -> list[str]:
    """What stands under the title: when, on what, from which seed and commit."""
    manifest, hardware = run.manifest, run.manifest.get("hardware") or {}
    facts = []
    if manifest.get("created"):
        facts.append(f"{datetime.fromisoformat(manifest['created']):%-d %B %Y}")
    if run.recipe.get(BASE):
        facts.append(f"from {run.recipe[BASE]}")
    if hardware.get("gpus"):
        facts += [f"{count} × {name}" for name, count in Counter(hardware["gpus"]).items()]
    elif hardware.get("cores"):
        facts.append(f"{hardware['cores']} CPU cores")
    if manifest.get("seed") is not None:
        facts.append(f"seed {manifest['seed']}")
    if manifest.get("commit"):
        facts.append(f"commit {manifest['commit'][:10]}")
    return facts


def _unfinished(run: RunFiles) -> str:
    """How far a run in progress is; empty if all its stages are done."""
    records = run.manifest.get("stages") or {}
    for stage in run.recipe.get("stages") or []:
        name, steps = stage["name"], stage.get("steps")
        if records.get(name, {}).get("status") == "done":
            continue
        if name not in run.metrics:
            return f"{name} has not begun"
        done = int(run.metrics[name]["step"][-1] or 0)
        return f"{name}: step {done} of {steps}" if steps else f"{name}: step {done}"
    return ""


# --- evaluation ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Evaluation:
    """The report cards of one evaluation set, the base model's first."""

    name: str
    cards: dict[str, Card]

    @property
    def k(self) -> int:
        """Samples a problem."""
        return int(self.last.get("k", 1))

    @property
    def first(self) -> Card:
        """The card of the model that the run started from."""
        return next(iter(self.cards.values()))

    @property
    def last_name(self) -> str:
        """The model that the run was made for."""
        return CHIEF if CHIEF in self.cards else list(self.cards)[-1]

    @property
    def last(self) -> Card:
        """Its card."""
        return self.cards[self.last_name]


def _evaluation(name: str, cards: dict[str, Card]) -> dict[str, Any]:
    """An evaluation set as the template shows it."""
    evaluation = Evaluation(name, cards)
    first, last = evaluation.first, evaluation.last
    parts = {
        label: _dumbbells(first, last, part, prefix)
        for label, part, prefix in (("By level", "by_level", "level "), ("By language", "by_language", ""))
    }
    return {
        "name": name,
        "k": evaluation.k,
        "n": last.get("n"),
        "cards": cards,
        "first": first,
        "last": last,
        "last_name": evaluation.last_name,
        "changed": len(cards) > 1,
        "parts": {label: rows for label, rows in parts.items() if rows},
    }


def _dumbbells(first: Card, last: Card, part: str, prefix: str) -> list[tuple[str, float, float]]:
    """Label, pass@1 of the first and of the last model, for every level or language."""
    old, new = by_part(first, part, "pass@1"), by_part(last, part, "pass@1")
    return [(prefix + key, old[key], new[key]) for key in new if key in old]


def _hero(run: RunFiles, evaluations: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The one number of the run: held-out pass@1 before and after, or the training accuracy while there is none."""
    for evaluation in evaluations:
        first, last = evaluation["first"], evaluation["last"]
        if evaluation["changed"] and "pass@1" in first and "pass@1" in last:
            what = f"pass@1 on {evaluation['n']} held-out problems, {evaluation['k']} samples each"
            return {"before": first["pass@1"], "after": last["pass@1"], "what": what, "time": _time(run)}
    accuracies = [v for columns in run.metrics.values() for v in columns.get("accuracy", []) if v is not None]
    if len(accuracies) < 2:
        return None
    what = "accuracy on training problems, first and latest step"
    return {"before": accuracies[0], "after": accuracies[-1], "what": what, "time": _time(run)}


def _time(run: RunFiles) -> str:
    """What the stages took together, evaluations apart; empty if that isn't known."""
    stages = (run.manifest.get("stages") or {}).items()
    seconds = sum(record.get("seconds") or 0.0 for name, record in stages if not name.endswith(".eval"))
    unit = "seconds" if seconds < 60 else "minutes" if seconds < 3600 else "hours"
    return f"after {format_seconds(seconds) if seconds >= 60 else round(seconds)} {unit} of training" if seconds else ""


# --- before and after ------------------------------------------------------------------------------------------------


def _ends(run: RunFiles) -> Iterator[tuple[str, int, list[Row]]]:
    """Stage, step and rows of the first and the last step with completions, if they are two."""
    steps = [(stage, step, rows) for stage, steps in run.completions.items() for step, rows in steps if rows]
    if len(steps) > 1:
        yield steps[0]
        yield [one for one in steps if one[0] == CHIEF][-1] if CHIEF in run.completions else steps[-1]


def _share_right(rows: Sequence[Row]) -> float:
    return sum(bool(row["correct"]) for row in rows) / len(rows)


def _sides(run: RunFiles) -> list[dict[str, Any]]:
    """The headings of the two columns: where they come from and how many of the step's answers were right."""
    return [{"stage": stage, "step": step, "right": _share_right(rows)} for stage, step, rows in _ends(run)]


def _pairs(run: RunFiles) -> list[tuple[Row, Row]]:
    """Typical completions of the first and the last step side by side, the hardest level first.

    Typical: it ended as most of its step's did, right or wrong, and its length is near the step's mean. Both are of
    the same level, and of the same problem if the two steps share one.
    """
    ends = [rows for _, _, rows in _ends(run)]
    if not ends:
        return []
    first, last = ends
    shared = {row["problem_id"] for row in first} & {row["problem_id"] for row in last}
    if shared:
        first, last = ([row for row in rows if row["problem_id"] in shared] for rows in ends)
    key = "problem_id" if shared else "level"
    kinds = {row[key]: row["level"] or 0 for row in last}
    usual = tuple(_share_right(rows) >= 0.5 for rows in ends)
    queues: list[list[tuple[Row, Row]]] = []
    for kind in sorted(kinds, key=lambda k: (-kinds[k], str(k))):
        old, new = ([row for row in rows if row[key] == kind] for rows in (first, last))
        queues.append(list(zip(_typical(old, usual[0]), _typical(new, usual[1]), strict=False)))
    # One pair of every kind, then the second pairs: the reader goes through the levels instead of staying in one.
    longest = max(len(queue) for queue in queues)
    pairs = [queue[i] for i in range(longest) for queue in queues if i < len(queue)]
    typical = [pair for pair in pairs if tuple(bool(row["correct"]) for row in pair) == usual]
    return (typical or pairs)[:PAIRS]


def _typical(rows: Sequence[Row], right: bool) -> list[Row]:
    """The rows, the most typical first."""
    mean = sum(row["length"] or 0 for row in rows) / max(len(rows), 1)
    return sorted(rows, key=lambda row: (bool(row["correct"]) != right, abs((row["length"] or 0) - mean)))
