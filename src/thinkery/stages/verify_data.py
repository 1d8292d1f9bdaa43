"""Is a set of demonstrations, preference pairs or safety labels fit to learn from? Behind ``thinkery verify`` as well.

Every row is read as the stage that learns from it would read it, a demonstration is written and read back under the
template, and what repeats an earlier row is told. Left out: problems (``verify.py``), lengths (which need a tokenizer),
and whether what is learnt is right.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from thinkery.models.template import TEMPLATES, Template
from thinkery.problems.bad_rows import SHOWN, BadRow, BadRows, described
from thinkery.problems.columns import recognise
from thinkery.problems.demonstration_columns import THINKINGS, demonstrations_of, require_demonstration
from thinkery.problems.files import Row
from thinkery.problems.labels import Columns
from thinkery.problems.preferences import Judged, Prompt, SafetyLabel, label_of, pair_of
from thinkery.problems.source import open_rows
from thinkery.types import Demonstration, UserError

Kind = Literal["problems", "demonstrations", "pairs", "labels"]
KINDS: tuple[Kind, ...] = ("problems", "demonstrations", "pairs", "labels")
_SAFE, _RESPONSES = {"safe", "is_safe", "label"}, {"response", "completion"}


@dataclass(frozen=True, slots=True)
class DataReport:
    """What was found. ``ok``: every row can be learnt from; what repeats is a warning."""

    source: str
    kind: Kind
    good: int
    total: int
    counts: Sequence[str]
    bad: Sequence[BadRow]
    duplicates: Sequence[tuple[str, str]]  # places: of a row, and of the first one that says the same

    @property
    def ok(self) -> bool:
        """Whether nothing has to be put right."""
        return not self.bad

    def render(self, shown: int = SHOWN) -> str:
        """The report as text, at most ``shown`` rows of each kind in full."""
        lines = [f"{self.source}: {self.good:,} of {self.total:,} rows are {self.kind}"]
        lines += [f"  {line}" for line in self.counts]
        if self.bad:
            lines += [f"rows that can't be used: {len(self.bad):,}", *described(self.bad, shown)]
            lines += ["on_bad_row: skip goes on without them"] if self.good else []
        if self.duplicates:
            lines.append(f"rows that repeat an earlier one: {len(self.duplicates):,}")
            lines += [f"  {place}: repeats {first}" for place, first in self.duplicates[:shown]]
            lines += [f"  and {len(self.duplicates) - shown:,} more"] if len(self.duplicates) > shown else []
        return "\n".join(lines)


def kind_named(name: str) -> Kind:
    """The kind of that name. Raises ``UserError`` with those that exist."""
    for kind in KINDS:
        if kind == name:
            return kind
    raise UserError(f"--kind {name}: allowed: {', '.join(KINDS)}")


def kind_of_source(source: str, split: str = "train", columns: Columns | None = None) -> Kind:
    """What a source's first readable row shows it to hold; problems where it may be more than one.

    Raises ``UserError`` for a source that can't be opened.
    """
    for row in open_rows(source, split)[1]:
        try:
            return _kind_of_row(row, columns or {})
        except UserError:
            continue
    return "problems"


def _kind_of_row(row: Row, columns: Columns) -> Kind:
    present = {name for name, value in row.values().items() if value is not None}
    if {columns.get("chosen") or "chosen", columns.get("rejected") or "rejected"} <= present:
        return "pairs"
    if present & {columns.get("safe") or "", *_SAFE} and present & {columns.get("response") or "", *_RESPONSES}:
        return "labels"
    if columns.get("thinking") or present & set(THINKINGS):
        return "demonstrations"
    try:
        recognise(row, "", columns)
    except UserError:
        require_demonstration(row, columns)
        return "demonstrations"
    return "problems"


def verify_data(
    source: str, kind: Kind, *, template: str = "r1-zero", split: str = "train", columns: Columns | None = None
) -> DataReport:
    """Checks a file, a folder or a data set of demonstrations, pairs or labels.

    Raises ``UserError`` if the source can't be read at all, or a name is wrong.
    """
    if template not in TEMPLATES:
        raise UserError(f"--template {template}: allowed: {', '.join(TEMPLATES)}")
    name, rows = open_rows(source, split)
    bad, items, counts = BadRows(source), list[_Item](), Counter[str]()
    if kind == "demonstrations":
        written, places = TEMPLATES[template], _Places(rows)
        for one in demonstrations_of(iter(places), name, columns, bad):
            why = _why_unwritable(one, written)
            if why:
                bad.rows.append(BadRow(places.last, why, f"{places.last}: {why}"))
                continue
            counts["with thinking" if one.thinking else "without thinking"] += 1
            items.append(_Item(places.last, (_text(one.prompt), one.answer)))
    else:
        read: Callable[[Row, Mapping[str, str | None]], Judged] = pair_of if kind == "pairs" else label_of
        for row, judged in bad.sift(rows, lambda row: read(row, columns or {})):
            if isinstance(judged, SafetyLabel):
                counts["safe" if judged.safe else "unsafe"] += 1
                items.append(_Item(row.place, (_text(judged.prompt), judged.response.answer)))
            else:
                longer = len(judged.chosen.answer) > len(judged.rejected.answer)
                counts["chosen is the longer one" if longer else "chosen is not the longer one"] += 1
                items.append(_Item(row.place, (_text(judged.prompt), judged.chosen.answer, judged.rejected.answer)))
    told = [f"{what}: {count:,}" for what, count in sorted(counts.items())]
    return DataReport(source, kind, len(items), bad.total, told, bad.rows, list(_repeated(items)))


class _Item(NamedTuple):
    place: str
    texts: tuple[str, ...]


def _repeated(items: Sequence[_Item]) -> Iterator[tuple[str, str]]:
    firsts: dict[tuple[str, ...], str] = {}
    for place, texts in items:
        first = firsts.setdefault(texts, place)
        if first != place:
            yield place, first


class _Places:
    """Rows on their way, with the place of the last one handed on."""

    def __init__(self, rows: Iterator[Row]) -> None:
        self._rows = rows
        self.last = ""

    def __iter__(self) -> Iterator[Row]:
        for row in self._rows:
            self.last = row.place
            yield replace(row)


def _why_unwritable(demonstration: Demonstration, template: Template) -> str | None:
    """Why a template would read something else than what the demonstration says; None if it would not."""
    parsed = template.parse(template.write(demonstration.thinking, demonstration.answer))
    said = (parsed.thinking or "").strip(), (parsed.answer or "").strip()
    if said == (demonstration.thinking.strip(), demonstration.answer.strip()):
        return None
    return (
        f"the template {template.name} would not read its thinking and answer back; take tags like </think> and "
        "<answer> out of its texts"
    )


def _text(prompt: Prompt) -> str:
    return prompt if isinstance(prompt, str) else "\n".join(message["content"] for message in prompt)
