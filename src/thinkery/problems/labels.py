"""The columns that problems and demonstrations have in common: id, level, language, domain.

Left out: what is asked and answered (``columns.py``, ``demonstrations.py``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from thinkery.problems.conventions.base import Fields, shown

Columns = Mapping[str, str | None]  # ours -> the file's

_ID = ("id", "task_id", "unique_id")
_PROGRAMMING = {"python", "python3", "py", "cpp", "c++", "c", "java", "javascript", "rust", "go"}
_LEVEL = re.compile(r"(?:Level )?(\d{1,4}|\?)")  # MATH writes "Level 5"; "Level ?" is no level
_CODE = re.compile(r"[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{2,8})*")  # ISO 639, perhaps with a country or a script
_NAMED = {
    "arabic": "ar", "bengali": "bn", "chinese": "zh", "czech": "cs", "dutch": "nl", "english": "en", "finnish": "fi",
    "french": "fr", "german": "de", "greek": "el", "hebrew": "he", "hindi": "hi", "indonesian": "id", "italian": "it",
    "japanese": "ja", "korean": "ko", "persian": "fa", "polish": "pl", "portuguese": "pt", "russian": "ru",
    "spanish": "es", "swahili": "sw", "swedish": "sv", "thai": "th", "turkish": "tr", "ukrainian": "uk", "urdu": "ur",
    "vietnamese": "vi",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Labels:
    """Reads a row's labels. ``name`` is the source's, for ids; ``columns`` are the user's names for ours.

    Every method raises ``UserError`` with file, line and field for a value that can't be what the column says.
    """

    name: str
    columns: Columns = field(default_factory=dict)

    def column(self, fields: Fields, ours: str, *usual: str) -> str | None:
        """The row's column for one of ours, if it has it; ``usual`` are the names it may have if nobody says."""
        if ours in self.columns:
            chosen = self.columns[ours]
            if chosen is not None and chosen not in fields.values:
                raise fields.error(chosen, f"is missing, which columns: {{{ours}: {chosen}}} asks for")
            return chosen
        return next((name for name in usual or (ours,) if fields.values.get(name) is not None), None)

    def id(self, fields: Fields, number: int) -> str:
        """The row's id; without a column for it the source's name and the row's number."""
        column = self.column(fields, "id", *_ID)
        if column is None:
            return f"{self.name}-{number}"
        value = fields.take(column)
        if isinstance(value, bool) or not isinstance(value, str | int | float) or not str(value).strip():
            raise fields.error(column, f"must be text or a number, not {shown(value)}")
        return fields.checked(column, str(value))

    def level(self, fields: Fields) -> int:
        """How hard it is; 0 where nothing says so."""
        column = self.column(fields, "level")
        if column is None:
            return 0
        value = fields.take(column)
        if isinstance(value, float) and value.is_integer():
            value = int(value)  # what parquet makes of whole numbers where some are missing
        written = _LEVEL.fullmatch(value) if isinstance(value, str) else None
        if written:
            value = 0 if (level := written[1] or written[2]) == "?" else int(level)
        if isinstance(value, bool) or not isinstance(value, int):
            advice = "if it is no level, write columns: {level: null}"
            raise fields.error(column, f"must be a whole number, not {shown(value)}; {advice}")
        return value

    def language(self, fields: Fields) -> str | None:
        """The language that people speak, as its ISO 639 code; a programming language's name is left a free column."""
        column = self.column(fields, "language")
        value = None if column is None else fields.values[column]
        if isinstance(value, str) and value.lower() in _PROGRAMMING and "language" not in self.columns:
            return None
        text = self.short_text(fields, "language")
        if text is None or _CODE.fullmatch(text.strip()):
            return text
        if text.strip().casefold() not in _NAMED:
            advice = "if it is no language of people, write columns: {language: null}"
            raise fields.error(
                str(column), f"must be an ISO 639 code such as en, zh or pt, not {shown(text)}; {advice}"
            )
        return _NAMED[text.strip().casefold()]

    def short_text(self, fields: Fields, ours: str) -> str | None:
        """A short text such as a domain; what is no text is left a free column."""
        column = self.column(fields, ours)
        value = None if column is None else fields.values[column]
        if column is None or not isinstance(value, str) or not value.strip():
            return None
        return fields.checked(column, str(fields.take(column)))
