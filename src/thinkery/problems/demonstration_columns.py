"""From rows to demonstrations: the layouts in which people publish solutions to learn from.

``messages`` (TRL; the last turn is the completion), ``conversations`` (ShareGPT), ``prompt`` with ``completion``,
``instruction`` (and ``input``) or ``input`` alone with ``output`` or ``response``, ``question`` or ``problem`` with
``answer`` or ``solution``. The first row decides; ``columns`` says otherwise: ``{prompt: question, thinking: trace,
answer: final}``. A completion that holds its thinking in tags is taken apart. Turns that call tools, and what is no
text, are refused: no template writes them. Left out: reading files (``files.py``), templates, and whether what a
demonstration says is right.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from thinkery.problems.bad_rows import BadRows, layout_of
from thinkery.problems.conventions.base import CALLS, Fields, prompt_of, shown
from thinkery.problems.files import Row
from thinkery.problems.labels import Columns, Labels
from thinkery.types import Demonstration, Message, UserError

KNOWN = (
    "TRL messages, TRL prompt and completion, OpenR1-Math messages, Mixture-of-Thoughts, OpenThoughts-114k, "
    "OpenThoughts-114k metadata, OpenThoughts3, s1K-1.1, AceReason-SFT, Alpaca, SYNTHETIC-1-SFT"
)  # data sets whose rows are read, each with one in tests/problems/layout_rows.jsonl
COLUMNS = ("prompt", "thinking", "answer", "system", "input", "id", "domain", "language", "level")
CONVERSATIONS = ("messages", "conversations")
PROMPTS = ("prompt", "instruction", "question", "problem", "query")
# The first group that a row has counts. DeepSeek's are OpenThoughts' and s1K's, beside a reference solution.
ANSWERS = (("completion", "response", "output", "deepseek_solution", "deepseek_attempt"), ("answer", "solution"))
THINKINGS = ("thinking", "reasoning_content", "reasoning", "deepseek_reasoning", "deepseek_thinking_trajectory")
# How people mark thinking and answer: DeepSeek-R1, and OpenThoughts with its kin.
_THINKING_TAGS = (("<think>", "</think>"), ("<|begin_of_thought|>", "<|end_of_thought|>"))
_ANSWER_TAGS = (("<answer>", "</answer>"), ("<|begin_of_solution|>", "<|end_of_solution|>"))
_UNREAD = {*CALLS, "image", "images", "video", "videos", "audio"}
_ROLES = {"human": "user", "gpt": "assistant", "model": "assistant", "bot": "assistant"}  # ShareGPT's -> ours


def demonstrations_of(
    rows: Iterator[Row], name: str, columns: Columns | None = None, bad: BadRows | None = None
) -> Iterator[Demonstration]:
    """Rows as demonstrations. ``name`` is the source's, for ids.

    Rows that are wrong are noted in ``bad``; without it, ``UserError`` at the first.
    """
    if bad is not None:
        layout, rows = layout_of(rows, lambda row: _recognise(row, name, columns or {}), bad)
        return (demonstration for _, demonstration in bad.sift(rows, layout.demonstration))
    first = next(rows)
    layout = _recognise(first, name, columns or {})
    return (layout.demonstration(row) for row in chain([first], rows))


def require_demonstration(row: Row, columns: Columns) -> None:
    """Raises ``UserError`` unless a row has the columns of a demonstration, whatever is wrong inside."""
    _recognise(row, "", columns)


def split_thinking(text: str) -> tuple[str, str]:
    """A completion as its thinking ("" for none) and its answer, without the tags around them."""
    for opening, closing in _THINKING_TAGS:
        before, closed, after = text.partition(closing)
        if closed:
            return before.strip().removeprefix(opening).strip(), _untagged(after.strip())
    return "", _untagged(text)


@dataclass(frozen=True, slots=True)
class _Layout:
    """Which columns hold what. ``answer`` None: the prompt's column holds the whole conversation."""

    prompt: str
    answer: str | None
    labels: Labels

    def demonstration(self, row: Row) -> Demonstration:
        """The row as a demonstration. Raises ``UserError`` with file, line and field."""
        fields = Fields(row.place, row.values(), self.prompt, self.answer or self.prompt)
        labels = self.labels
        identity, level, language = labels.id(fields, row.number), labels.level(fields), labels.language(fields)
        domain = labels.short_text(fields, "domain")
        for column in _UNREAD & fields.values.keys():
            if fields.values[column] and column not in labels.columns.values():
                raise fields.error(column, "can't be honoured: no template here writes tools, or anything but text")
        extra = _optional(fields, labels.column(fields, "input")) if self.prompt != "input" else ""
        system = _optional(fields, labels.column(fields, "system"))
        thinking = _optional(fields, labels.column(fields, "thinking", *THINKINGS))
        if self.answer is None:
            *turns, last = _turns(fields, self.prompt)
            found, answer = _last(fields, self.prompt, last)
        else:
            found, answer = _completion(fields, self.answer)
            turns = _prompt(fields, self.prompt, extra)
        if not answer.strip():
            raise fields.error(self.answer or self.prompt, "must hold an answer, and has none after its thinking")
        if system and not (turns and turns[0]["role"] == "system"):
            turns = [{"role": "system", "content": system}, *turns]
        if not any(turn["content"].strip() for turn in turns):
            raise fields.error(self.prompt, "must hold what was asked, and is empty before the last turn")
        return Demonstration(
            id=identity,
            prompt=_shortest(turns),
            thinking=_thinking_of(thinking) if thinking.strip() else found,
            answer=answer,
            domain=domain or "general",
            language=language or "en",
            level=level,
        )


def _recognise(row: Row, name: str, columns: Columns) -> _Layout:
    """The layout that a first row shows. Raises ``UserError`` if it shows none, or two, with what to write."""
    for ours in columns:
        if ours not in COLUMNS:
            raise UserError(f"columns.{ours}: demonstrations have no such column; allowed: {', '.join(COLUMNS)}")
    values = {key: value for key, value in row.values().items() if value is not None}
    for ours in ("prompt", "answer"):
        column = columns.get(ours)
        if column is not None and column not in values:
            raise UserError(f"{row.place}: columns: {{{ours}: {column}}}: there is no such field; {_has(values)}")
    labels = Labels(name, columns)
    prompt, answer = columns.get("prompt"), columns.get("answer")
    if answer is None:
        talks = [column for column in ([prompt] if prompt else CONVERSATIONS) if _is_whole(values.get(column))]
        if talks:
            return _Layout(talks[0], None, labels)
        groups = ([column for column in group if column in values] for group in ANSWERS)
        answer = _only(row, "answer", next((group for group in groups if group), []), values)
    prompts = [column for column in PROMPTS if column in values] or [
        column for column in ("input",) if column in values
    ]
    prompt = prompt or _only(row, "prompt", prompts, values)
    return _Layout(prompt, answer, labels)


def _is_whole(value: Any) -> bool:
    """Whether a value is a conversation that ends with the assistant's turn, or should be one."""
    if not isinstance(value, list):
        return False
    last = value[-1] if value else None
    return not isinstance(last, Mapping) or _role(last) in ("assistant", None)


def _only(row: Row, ours: str, candidates: Sequence[str], values: Mapping[str, Any]) -> str:
    if not candidates:
        usual = ("messages", *PROMPTS) if ours == "prompt" else ("messages", *chain(*ANSWERS))
        raise UserError(
            f"{row.place}: no field for the {ours} of a demonstration (usual are {', '.join(usual)}); {_has(values)}; "
            f"say which to take with columns: {{{ours}: ...}}"
        )
    first, *others = candidates
    if others:
        raise UserError(
            f"{row.place}: the {ours} could be {first} or {others[0]}; say which with columns: {{{ours}: {first}}} "
            f"or columns: {{{ours}: {others[0]}}}"
        )
    return first


def _has(values: Mapping[str, Any]) -> str:
    names = list(values)
    return f"the row has {', '.join(names[:12]) or 'no fields'}" + (", ..." if len(names) > 12 else "")


def _optional(fields: Fields, column: str | None) -> str:
    return "" if column is None else fields.optional_text(column)


def _prompt(fields: Fields, column: str, extra: str) -> list[Message]:
    """The turns of a prompt; ``extra`` is Alpaca's input, which follows the instruction."""
    if isinstance(fields.values.get(column), list):
        return _turns(fields, column)
    text = fields.text(column)
    return [{"role": "user", "content": f"{text}\n\n{extra}" if extra.strip() else text}]


def _completion(fields: Fields, column: str) -> tuple[str, str]:
    """Thinking and answer of a completion: text, or a list of the one turn that is the assistant's."""
    if not isinstance(fields.values.get(column), list):
        return _split(fields, column, fields.text(column))
    turns = _turns(fields, column)
    if len(turns) != 1:
        raise fields.error(column, f"must be text or one turn of the assistant's, not {len(turns)} turns")
    return _last(fields, column, turns[0])


def _turns(fields: Fields, column: str) -> list[Message]:
    """A conversation, ShareGPT's names made ours. Earlier answers lose their thinking: nobody sends it back.

    The last turn keeps the thinking that came beside its content, under ``thinking``.
    """
    written = fields.values.get(column)
    if not isinstance(written, list) or not written:
        raise fields.error(column, f"must be a list of turns that is not empty, not {shown(written)}")
    fields.values[column] = [_ours(turn) if isinstance(turn, Mapping) else turn for turn in written]
    turns = prompt_of(replace(fields, prompt=column))
    assert not isinstance(turns, str)
    *earlier, last = turns
    beside = next((written[-1][key] for key in THINKINGS if isinstance(written[-1].get(key), str)), "")
    return [*map(_without_thinking, earlier), {**last, "thinking": beside}]


def _ours(turn: Mapping[str, Any]) -> dict[str, Any]:
    called = {key: turn[key] for key in CALLS if turn.get(key)}
    return {"role": _role(turn), "content": turn.get("content", turn.get("value")), **called}


def _role(turn: Mapping[str, Any]) -> Any:
    role = turn.get("role", turn.get("from"))
    return _ROLES.get(role, role) if isinstance(role, str) else role


def _without_thinking(turn: Message) -> Message:
    if turn["role"] != "assistant":
        return turn
    return {"role": "assistant", "content": split_thinking(turn["content"])[1]}


def _last(fields: Fields, column: str, turn: Message) -> tuple[str, str]:
    """Thinking and answer of a turn that must be the assistant's."""
    if turn["role"] != "assistant":
        raise fields.error(column, f"must end with the assistant's turn, and ends with one of {turn['role']}")
    thinking, answer = _split(fields, column, turn["content"])
    return turn["thinking"] or thinking, answer


def _split(fields: Fields, column: str, text: str) -> tuple[str, str]:
    for opening, closing in _THINKING_TAGS:
        if text.lstrip().startswith(opening) and closing not in text:
            raise fields.error(column, f"opens {opening} and never closes it; leave out what was cut off")
    return split_thinking(text)


def _thinking_of(thinking: str) -> str:
    """The thinking of a column of its own, which may carry its tags all the same."""
    for opening, closing in _THINKING_TAGS:
        if thinking.lstrip().startswith(opening):
            return thinking.strip().removeprefix(opening).removesuffix(closing).strip()
    return thinking


def _untagged(answer: str) -> str:
    for opening, closing in _ANSWER_TAGS:
        inside = answer.strip()
        if inside.startswith(opening) and inside.endswith(closing):
            return inside.removeprefix(opening).removesuffix(closing).strip()
    return answer


def _shortest(turns: Sequence[Message]) -> str | tuple[Message, ...]:
    """A prompt of one user's turn is its text."""
    if len(turns) == 1 and turns[0]["role"] == "user":
        return turns[0]["content"]
    return tuple({"role": turn["role"], "content": turn["content"]} for turn in turns)
