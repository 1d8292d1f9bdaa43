"""What reward models learn from, read from a judge stage or from users' files: preference pairs and safety labels.

Pairs are ``prompt``, ``chosen``, ``rejected`` (TRL); without ``prompt`` the two are conversations with the same
beginning, or HH-RLHF's texts that begin with ``Human:``. Labels are ``prompt``, ``response`` (or ``completion``) and
``safe`` (or ``label``): true or false, 1 or 0. A response is text, with its thinking in tags if it has any; messages,
of which the last counts; or the object ``{"thinking", "answer"}``. ``columns`` gives the file's names for ours. Left
out: templates and tokens (``models/reward_model.py``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from thinkery.problems.bad_rows import BadRows
from thinkery.problems.conventions.base import Fields, prompt_of, shown
from thinkery.problems.demonstration_columns import split_thinking
from thinkery.problems.files import Row
from thinkery.problems.source import open_rows
from thinkery.recipe import DataSpec
from thinkery.types import Message, UserError

Prompt = str | tuple[Message, ...]
Columns = Mapping[str, str | None]
Resolve = Callable[[str], str]
Note = Callable[[str], object]

# Data sets whose rows are read, each with one in tests/problems/layout_rows.jsonl.
KNOWN_PAIRS, KNOWN_LABELS = "TRL pairs, UltraFeedback binarized, HH-RLHF", "this project's labels, BeaverTails"
_NAMES = {
    "prompt": ("prompt", "question", "instruction"),
    "chosen": ("chosen",),
    "rejected": ("rejected",),
    "response": ("response", "completion"),
    "safe": ("safe", "is_safe", "label"),
}
_HUMAN, _ASSISTANT = "\n\nHuman:", "\n\nAssistant:"  # HH-RLHF's marks before a turn
# 1 and 0 are equal to the first; CSV has the texts.
_TRUTHS: Mapping[Any, bool] = {
    **dict.fromkeys((True, "safe", "true", "1"), True),
    **dict.fromkeys((False, "unsafe", "false", "0"), False),
}


@dataclass(frozen=True, slots=True)
class Response:
    """What was answered; ``thinking`` is "" where there is none."""

    thinking: str
    answer: str


@dataclass(frozen=True, slots=True)
class PreferencePair:
    """Two responses to a prompt, one of them preferred."""

    prompt: Prompt
    chosen: Response
    rejected: Response


@dataclass(frozen=True, slots=True)
class SafetyLabel:
    """A response to a prompt, and whether it is safe."""

    prompt: Prompt
    response: Response
    safe: bool


Judged = PreferencePair | SafetyLabel
_Judged = TypeVar("_Judged", PreferencePair, SafetyLabel)


def read_pairs(specs: Sequence[DataSpec], resolve: Resolve, note: Note = lambda text: None) -> list[PreferencePair]:
    """The pairs of all sources. ``resolve`` gives an earlier stage's folder; ``note`` is told what is left out.

    Raises ``UserError`` with every row that is no pair, by file and line.
    """
    return _read(specs, resolve, pair_of, note)


def read_labels(specs: Sequence[DataSpec], resolve: Resolve, note: Note = lambda text: None) -> list[SafetyLabel]:
    """The labels of all sources. ``resolve`` gives an earlier stage's folder; ``note`` is told what is left out.

    Raises ``UserError`` with every row that is no label, by file and line.
    """
    return _read(specs, resolve, label_of, note)


def pair_of(row: Row, columns: Columns) -> PreferencePair:
    """A row as a pair. Raises ``UserError`` with file, line and field."""
    fields = Fields(row.place, row.values(), "prompt", "chosen")
    for side in ("chosen", "rejected"):
        if isinstance(fields.values.get(side), str) and fields.values[side].startswith(_HUMAN):
            fields.values[side] = _dialogue(fields.values[side])
    names = {ours: _column(fields, ours, columns) for ours in ("chosen", "rejected")}
    chosen, rejected = (_response(fields, name) for name in names.values())
    if chosen == rejected:
        raise fields.error(names["rejected"], "is the same as the chosen response: nothing can be learnt from it")
    prompt_column = _column(fields, "prompt", columns, required=False)
    if prompt_column is not None:
        return PreferencePair(_prompt(fields, prompt_column), chosen, rejected)
    prompts = [_turns_before(fields, name) for name in names.values()]
    if not prompts[0] or prompts[0] != prompts[1]:
        raise fields.error(
            "prompt", "is missing; without it chosen and rejected must be messages that differ in the last one alone"
        )
    return PreferencePair(prompts[0], chosen, rejected)


def label_of(row: Row, columns: Columns) -> SafetyLabel:
    """A row as a label. Raises ``UserError`` with file, line and field."""
    fields = Fields(row.place, row.values(), "prompt", "safe")
    safe_column = _column(fields, "safe", columns)
    value = fields.values[safe_column]
    value = value.lower() if isinstance(value, str) else value
    if not isinstance(value, bool | int | str) or value not in _TRUTHS:
        raise fields.error(safe_column, f"must be true (safe) or false, not {shown(value)}")
    if {"thinking", "answer"} <= fields.values.keys() and "response" not in columns:  # a judge stage's own
        response = _object(fields, "answer", {name: fields.values[name] for name in ("thinking", "answer")})
    else:
        response = _response(fields, _column(fields, "response", columns))
    prompt = _prompt(fields, _column(fields, "prompt", columns))
    return SafetyLabel(prompt, response, _TRUTHS[value])


def _read(
    specs: Sequence[DataSpec], resolve: Resolve, read: Callable[[Row, Columns], _Judged], note: Note
) -> list[_Judged]:
    """What every source holds: all of it, ``n`` of it, or so many that they are ``share`` of the whole."""
    found = [_of(spec, resolve, read, note) for spec in specs]
    whole = sum(len(own) for spec, own in zip(specs, found, strict=True) if spec.share is None and spec.n is None)
    whole += sum(spec.n for spec in specs if spec.n is not None)
    total = whole / (1 - sum(spec.share or 0.0 for spec in specs))
    chosen: list[_Judged] = []
    for spec, own in zip(specs, found, strict=True):
        count = len(own) if spec.n is None else spec.n
        if spec.share is not None:
            count = max(1, round(spec.share * total))
        if count > len(own):
            raise UserError(
                f"{spec.source}: {count:,} rows are asked for, by n or by its share of the whole, and it has "
                f"{len(own):,}; ask for fewer"
            )
        indices: Sequence[int] = range(len(own))
        if count < len(own):
            indices = sorted(Random(f"preferences/{spec.seed}").sample(range(len(own)), count))
        chosen += [own[index] for index in indices]
    return chosen


def _of(spec: DataSpec, resolve: Resolve, read: Callable[[Row, Columns], _Judged], note: Note) -> list[_Judged]:
    bad = BadRows(spec.source)
    found = [judged for _, judged in bad.sift(_open(spec, resolve), lambda row: read(row, spec.columns))]
    for line in bad.settle(spec.on_bad_row):
        note(line)
    return found


def _open(spec: DataSpec, resolve: Resolve) -> Iterator[Row]:
    is_stage = "/" not in spec.source and "." not in spec.source
    place = str(Path(resolve(spec.source)) / "data.jsonl") if is_stage else spec.source
    yield from open_rows(place, spec.split)[1]


def _column(fields: Fields, ours: str, columns: Columns, *, required: bool = True) -> Any:
    """The row's column for one of ours. ``None`` only where it isn't required."""
    chosen = columns.get(ours)
    usual = _NAMES[ours] if chosen is None else (chosen,)
    for name in usual:
        if fields.values.get(name) is not None:
            return name
    if not required and chosen is None:
        return None
    has = ", ".join(list(fields.values)[:12]) or "no fields"
    raise fields.error(
        chosen or ours, f"is missing; the row has {has}; say which to take with columns: {{{ours}: ...}}"
    )


def _prompt(fields: Fields, column: str) -> Prompt:
    fields.prompt = column
    return prompt_of(fields)


def _dialogue(text: str) -> list[dict[str, str]]:
    """HH-RLHF's text as messages."""
    parts = re.split(f"({_HUMAN}|{_ASSISTANT})", text)[1:]
    roles = {_HUMAN: "user", _ASSISTANT: "assistant"}
    return [{"role": roles[mark], "content": said.strip()} for mark, said in zip(parts[::2], parts[1::2], strict=True)]


def _response(fields: Fields, column: str) -> Response:
    value = fields.values[column]
    if isinstance(value, dict) and "answer" in value:
        return _object(fields, column, value)
    if isinstance(value, list):
        value = _last(fields, column, value)
    if not isinstance(value, str) or not value.strip():
        raise fields.error(column, f"must be text, messages, or an object with thinking and answer, not {shown(value)}")
    return Response(*split_thinking(fields.checked(column, value)))


def _object(fields: Fields, column: str, value: Mapping[str, Any]) -> Response:
    thinking, answer = value.get("thinking") or "", value["answer"]
    if not isinstance(thinking, str) or not isinstance(answer, str):
        raise fields.error(column, "must have thinking and answer as text")
    return Response(fields.checked(column, thinking), fields.checked(column, answer))


def _last(fields: Fields, column: str, messages: Sequence[Any]) -> Any:
    """What the last message says."""
    last = messages[-1] if messages else None
    if not isinstance(last, dict) or last.get("role") != "assistant":
        raise fields.error(column, "must end in a message with the role assistant")
    return last.get("content")


def _turns_before(fields: Fields, column: str) -> Prompt:
    """The messages before the response; nothing where the column holds no conversation."""
    value = fields.values[column]
    if not isinstance(value, list) or len(value) < 2:
        return ()
    turns = Fields(fields.place, {column: value[:-1]}, column, column)
    return prompt_of(turns)
