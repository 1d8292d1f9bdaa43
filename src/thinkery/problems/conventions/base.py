"""What a convention is: which columns it needs, and how a row becomes a prompt and a reference.

Left out: the conventions themselves (``layouts.py``, read by the modules beside it) and choosing among them
(``columns.py``).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from thinkery.problems.files import kind_of
from thinkery.types import Message, UserError

ROLES = ("system", "developer", "user", "assistant", "tool")
CALLS = ("tool_calls", "function_call", "tools")  # of a message: what no template writes
_ROLES: Mapping[Any, str] = {"human": "user", "gpt": "assistant"}  # ShareGPT's


@dataclass(slots=True)
class Fields:
    """A row that is being read. What is taken from it does not travel on as a free column."""

    place: str  # where the row stands
    values: dict[str, Any]
    prompt: str  # the column that holds the prompt
    answer: str  # the column that holds what the verifier checks against
    verifier: str | None = None  # as the user said; None: as the convention says

    def error(self, column: str, expected: str) -> UserError:
        """A mistake in one field: what was expected, and what was found."""
        return UserError(f"{self.place}: the field {column} {expected}")

    def take(self, column: str) -> Any:
        """A column's value, which then is no free column any more; None if there is none."""
        return self.values.pop(column, None)

    def text(self, column: str) -> str:
        """Takes a column that must hold text."""
        value = self.take(column)
        if not isinstance(value, str) or not value.strip():
            raise self.error(column, f"must be text that is not empty, not {shown(value)}")
        return self.checked(column, value)

    def optional_text(self, column: str) -> str:
        """Takes a column that holds text, or nothing."""
        value = self.take(column)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise self.error(column, f"must be text, not {shown(value)}")
        return self.checked(column, value)

    def json(self, column: str) -> Any:
        """Takes a column that holds a JSON value, or the text of one."""
        value = self.take(column)
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            raise self.error(column, f"must be JSON, not {shown(value)}") from None

    def checked(self, column: str, text: str) -> str:
        """The text, if it can be written as UTF-8 and be handed to a program."""
        if "\0" in text:
            raise self.error(column, f"holds a NUL character, at character {text.index(chr(0)) + 1}")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise self.error(
                column, f"holds half of a character (a lone surrogate), at character {error.start + 1}"
            ) from None
        return text


@dataclass(frozen=True, slots=True)
class ParsedRow:
    """What a convention makes of a row. ``columns`` are added to the row's free ones."""

    prompt: str | tuple[Message, ...]
    reference: str
    verifier: str
    columns: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Convention:
    """A way to write problems, declared.

    ``prompt`` are the columns that may hold the prompt: more than one in a row is ambiguous. ``answer`` holds groups of
    columns: the first group of which the row has one counts, two of a group are ambiguous. ``needs`` are further
    columns (``a|b``: either); ``fits`` looks at the values and the answer's column. ``any_columns``: a user may name
    any column as the answer. A convention that needs more columns than another that fits as well is the one; ``known``
    are data sets that are written so, ``says`` tells a user what the reference is, ``language`` is the prompts' own.
    """

    name: str
    prompt: tuple[str, ...]
    answer: tuple[tuple[str, ...], ...]
    says: str
    read: Callable[[Fields], ParsedRow]
    needs: tuple[str, ...] = ()
    known: str = ""
    fits: Callable[[Mapping[str, Any], str], bool] = lambda values, answer: True
    any_columns: bool = False
    language: str = "en"

    @property
    def answer_columns(self) -> tuple[str, ...]:
        """All columns that may hold the answer."""
        return tuple(column for group in self.answer for column in group)


def prompt_of(fields: Fields) -> str | tuple[Message, ...]:
    """The prompt, as text or as chat messages ``{"role", "content"}``."""
    if not isinstance(fields.values.get(fields.prompt), list):
        return fields.text(fields.prompt)
    messages = fields.take(fields.prompt)
    turns = tuple(_turn(fields, number, message) for number, message in enumerate(messages, start=1))
    if not any(turn["content"].strip() for turn in turns):
        raise fields.error(fields.prompt, "must be text or messages, and is empty")
    return turns


def _turn(fields: Fields, number: int, message: Any) -> Message:
    where = f"must be text or messages; message {number}"
    if not isinstance(message, dict):
        raise fields.error(fields.prompt, f"{where} is {kind_of(message)}, not an object with role and content")
    role, content = message.get("role", _ROLES.get(message.get("from"))), message.get("content", message.get("value"))
    if role not in ROLES:
        raise fields.error(fields.prompt, f"{where} has the role {role!r}, not one of {', '.join(ROLES)}")
    called = next((key for key in CALLS if message.get(key)), None)
    if called:
        raise fields.error(
            fields.prompt, f"{where} has {called}, which no template here writes; leave out rows that call tools"
        )
    if isinstance(content, list):
        content = _parts(fields, where, content)
    if not isinstance(content, str):
        raise fields.error(fields.prompt, f"{where} has {kind_of(content)} as its content, not text")
    return {"role": role, "content": fields.checked(fields.prompt, content)}


def _parts(fields: Fields, where: str, parts: Sequence[Any]) -> str:
    """The text of a content in parts, as OpenAI's interface writes it; nothing but text can be read."""
    for part in parts:
        if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            kind = part.get("type") if isinstance(part, dict) else kind_of(part)
            raise fields.error(fields.prompt, f"{where} has a list as its content, not text (a part is {kind})")
    return "\n".join(part["text"] for part in parts)


def reference_of(fields: Fields) -> str:
    """The answer as text; numbers are written as text, a list of one is its item."""
    value = fields.take(fields.answer)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes) and len(value) == 1:
        value = value[0]
    finite = isinstance(value, str | int) or (isinstance(value, float | Decimal) and math.isfinite(value))
    if isinstance(value, bool) or not finite:
        advice = "; each item of a list is right with verifier: f1" if isinstance(value, list) else ""
        raise fields.error(fields.answer, f"must be text or a number, not {shown(value)}{advice}")
    try:
        return fields.checked(fields.answer, str(value))
    except ValueError:
        raise fields.error(fields.answer, "is a number with too many digits; write it as text") from None


def shown(value: object) -> str:
    """A value as a person sees it in a message: short, with its kind if that says more."""
    if value is None or isinstance(value, dict | list):
        return kind_of(value)
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
