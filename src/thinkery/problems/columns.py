"""From rows to problems: which convention a file follows, and what its common columns mean.

The first row decides the convention; every other row must follow it. A recipe's ``columns`` says otherwise:
``columns: {prompt: question, answer: final}`` names the file's column for one of ours, and ``{level: null}`` says that
the file's column of that name is something else. Columns that nothing takes travel on to the reward functions. Left
out: the conventions themselves (``conventions``), reading files (``files.py``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from thinkery.problems.conventions.base import CALLS, Convention, Fields, shown
from thinkery.problems.conventions.layouts import CONVENTIONS, PLAIN
from thinkery.problems.conventions.plain import NONE
from thinkery.problems.files import Row
from thinkery.problems.gym import require_named
from thinkery.problems.labels import Columns, Labels
from thinkery.problems.overlap import Item
from thinkery.types import Problem, UserError

_ARGUMENTS = ("prompts", "completions", "completion_ids")  # positional arguments of reward functions: no column's names
# What a row may ask for that nothing here does: a problem without it would be another problem.
_UNREAD = {
    **dict.fromkeys(("image", "images", "video", "videos", "audio"), "only text is read"),
    **dict.fromkeys(CALLS, "no template here writes tools and calls"),
    **dict.fromkeys(
        ("checker", "checker_code", "generated_checker", "interactor", "interaction_format", "test_setup",
         "test_setup_code", "test_imports"),
        "its tests would not be run with it",
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ColumnLayout:
    """A convention with its columns settled."""

    convention: Convention
    prompt: str
    answer: str
    name: str  # of the source, for ids
    columns: Columns = field(default_factory=dict)
    verifier: str | None = None  # for all problems; None: as each row or the convention says

    def __str__(self) -> str:
        reference = self.convention.says.format(answer=self.answer)
        if self.verifier == NONE:
            reference = "checked by no rule"
        return f"{self.convention.name}: prompt = {self.prompt}, {reference}"

    def problem(self, row: Row) -> Problem:
        """The row as a problem. Raises ``UserError`` with file, line and field."""
        fields = Fields(row.place, row.values(), self.prompt, self.answer)
        if fields.values.get(self.answer) is None:  # this row may have a worked solution where others have an answer
            present = {key: value for key, value in fields.values.items() if value is not None}
            fields.answer = next(iter(_answers(self.convention, present, self.columns)), self.answer)
        labels = Labels(self.name, self.columns)
        identity = labels.id(fields, row.number)
        level, language = labels.level(fields), labels.language(fields)
        domain = labels.short_text(fields, "domain")
        fields.verifier = self.verifier or labels.short_text(fields, "verifier")
        if not isinstance(fields.values.get(self.prompt), str | list):
            expected = "must be text or a list of messages"
            raise fields.error(self.prompt, f"{expected}, not {shown(fields.values.get(self.prompt))}")
        task = self.convention.read(fields)
        verifier = fields.verifier or task.verifier
        if verifier == "gym":
            require_named(fields)
        for column in _UNREAD.keys() & fields.values.keys():
            if fields.values[column] and column not in self.columns.values():
                raise fields.error(column, f"can't be honoured: {_UNREAD[column]}; leave such rows out, or drop it")
        if isinstance(task.prompt, str):  # with what was taken from other columns; messages are checked one by one
            fields.checked(self.prompt, task.prompt)
        fields.checked(self.answer, task.reference)
        free = {key: value for key, value in fields.values.items() if key not in _ARGUMENTS}
        return Problem(
            id=identity,
            prompt=task.prompt,
            reference=task.reference,
            domain=domain or ("general" if verifier == NONE else verifier),
            level=level,
            language=language or self.convention.language,
            verifier=verifier,
            columns=free | dict(task.columns),
        )


def recognise(row: Row, name: str, columns: Columns | None = None, verifier: str | None = None) -> ColumnLayout:
    """The layout that a first row shows. ``name`` is the source's, for ids.

    Raises ``UserError`` if no convention fits, or if two do, with what to write.
    """
    columns = columns or {}
    values = {key: value for key, value in row.values().items() if value is not None}
    for ours in ("prompt", "answer"):
        column = columns.get(ours)
        if column is not None and column not in values:
            raise UserError(f"{row.place}: columns: {{{ours}: {column}}}: there is no such field; {_has(values)}")
    fitting = [convention for convention in CONVENTIONS if _fits(convention, values, columns)]
    most = max(map(_weight, fitting), default=0)
    left = [convention for convention in fitting if _weight(convention) == most]
    if not left and (verifier or values.get("verifier")) == NONE and (prompts := _prompts(PLAIN, values, columns)):
        return ColumnLayout(PLAIN, _only(row, "prompt", prompts, values), "answer", name, columns, verifier)
    if not left:
        raise UserError(f"{row.place}: {_why_none(values, columns)}")
    if len(left) > 1:
        first, second = left[:2]
        answers = [_answers(convention, values, columns)[0] for convention in (first, second)]
        raise UserError(
            f"{row.place}: could be {first.name} or {second.name}; say which with "
            f"columns: {{answer: {answers[0]}}} or columns: {{answer: {answers[1]}}}"
        )
    prompt = _only(row, "prompt", _prompts(left[0], values, columns), values)
    answer = _only(row, "answer", _answers(left[0], values, columns), values)
    return ColumnLayout(left[0], prompt, answer, name, columns, verifier)


def _weight(convention: Convention) -> int:
    """How much a row must have to fit: who asks for more knows the row better."""
    return len(convention.needs) + (not convention.any_columns) + (convention.name == "gsm8k")


def _fits(convention: Convention, values: Mapping[str, Any], columns: Columns) -> bool:
    answers = _answers(convention, values, columns)
    return bool(
        answers
        and _prompts(convention, values, columns)
        and all(any(column in values for column in either.split("|")) for either in convention.needs)
        and convention.fits(values, answers[0])
    )


def _prompts(convention: Convention, values: Mapping[str, Any], columns: Columns) -> list[str]:
    """The columns that may hold the prompt."""
    chosen = columns.get("prompt")
    if chosen:
        return [chosen]
    firsts = (next((name for name in names.split(" > ") if name in values), "") for names in convention.prompt)
    return [column for column in firsts if column]


def _answers(convention: Convention, values: Mapping[str, Any], columns: Columns) -> list[str]:
    """The columns that may hold the answer: those of the first group that is there at all."""
    chosen = columns.get("answer")
    if chosen:
        if chosen not in values:
            return []
        return [chosen] if convention.any_columns or chosen in convention.answer_columns else []
    groups = ([column for column in group if column in values] for group in convention.answer)
    return next((group for group in groups if group), [])


def _only(row: Row, ours: str, candidates: Sequence[str], values: Mapping[str, Any]) -> str:
    first = candidates[0]
    for other in candidates[1:]:
        if values[other] != values[first]:
            raise UserError(
                f"{row.place}: the {ours} could be {first} or {other}; say which with columns: {{{ours}: {first}}} "
                f"or columns: {{{ours}: {other}}}"
            )
    return first


def _why_none(values: Mapping[str, Any], columns: Columns) -> str:
    lacking = [
        ours
        for ours, usual in {"prompt": ("prompt", "question", "problem"), "answer": ("answer", "solution")}.items()
        if not columns.get(ours) and not any(name in values for name in usual)
    ]
    named = f"field {lacking[0]} is" if len(lacking) == 1 else "fields prompt and answer are"
    example = ", ".join(f"{ours}: ..." for ours in lacking or ("prompt", "answer"))
    return f"the {named} missing; {_has(values)}; say which to take with columns: {{{example}}}"


def _has(values: Mapping[str, Any]) -> str:
    names = list(values)
    return f"the row has {', '.join(names[:12]) or 'no fields'}" + (", ..." if len(names) > 12 else "")


@dataclass
class Ids:
    """Refuses a second problem of the same id: verdicts and records go by ids."""

    seen: dict[str, str] = field(default_factory=dict)

    def check(self, problem: Problem, place: str) -> Problem:
        """The problem, if its id is new. Raises ``UserError`` with both places."""
        first = self.seen.setdefault(problem.id, place)
        if first != place:
            raise UserError(
                f"{place}: the id {problem.id!r} is that of {first}; ids must differ: correct them, or number the rows "
                "with columns: {id: null}"
            )
        return problem


def problems_of(
    rows: Iterator[Row], name: str, columns: Columns | None = None, verifier: str | None = None
) -> tuple[ColumnLayout, Iterator[tuple[Row, Problem]]]:
    """The layout of rows, and the rows with their problems. Raises ``UserError`` at the first row that is wrong."""
    first = next(rows)
    layout = recognise(first, name, columns, verifier)
    ids = Ids()
    return layout, ((row, ids.check(layout.problem(row), row.place)) for row in chain([first], rows))


def item_of(row: Row, prompt: str, answer: str | None = None) -> Item:
    """What of a row is compared with other rows: its prompt as written, without what a convention adds; its answer."""
    values = row.values()
    texts = [_compared(values.get(column)) for column in (prompt, answer) if column is not None]
    return Item(row.place, tuple(text for text in texts if text))


def _compared(value: object) -> str:
    """Text as it is; of messages those of the user; nothing else."""
    if isinstance(value, list):
        messages = [message for message in value if isinstance(message, dict) and message.get("role") == "user"]
        value = "\n".join(str(message.get("content") or "") for message in messages)
    return value if isinstance(value, str) else ""


def text_columns(row: Row, columns: Columns | None = None) -> tuple[str, str | None]:
    """The columns of the prompt and, if there is one, of the answer. A benchmark without answers will do.

    Raises ``UserError`` if it is not plain which column holds the prompt.
    """
    try:
        layout = recognise(row, "", columns)
        return layout.prompt, layout.answer
    except UserError:
        values = row.values()
        chosen = (columns or {}).get("prompt")
        usual = dict.fromkeys(column for convention in CONVENTIONS for column in _prompts(convention, values, {}))
        common = [column for column in usual if column in PLAIN.prompt] or list(usual)
        found = [column for column in common if values.get(column)] if chosen is None else [chosen]
        if len(found) != 1 or found[0] not in values:
            raise
        return found[0], None
