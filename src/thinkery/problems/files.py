"""Rows out of files: JSON lines and CSV (also gzipped), a JSON list, parquet. Every mistake says where it is.

Rows come one at a time, so a file may be larger than the memory (a JSON list excepted, which is read as a whole), and a
line that is not JSON spoils that row alone: it is found out when the row's ``values`` are asked for. Left out: what the
columns mean (``columns.py``; CSV has no types, so a number there is text), data sets of the Hub (``hub.py``).
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thinkery.files import require_regular
from thinkery.types import UserError

SEPARATORS = {".csv": ",", ".tsv": "\t"}
SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet")
EXAMPLE = '{"prompt": "What is 2+2?", "answer": "4"}'

_SPACE = re.compile(r"[ \t\r\n]*")
_UTF8_BOM = b"\xef\xbb\xbf"
_OTHER_BOMS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16", b"\x00\x00\xfe\xff": "UTF-32"}
_BATCH = 256  # rows of parquet read at once
_LONGEST_CELL = 2**31 - 1  # characters; the csv module's own limit, 131,072, is shorter than some thoughts


@dataclass(frozen=True, slots=True)
class Row:
    """A row and where it stands: ``train.jsonl, line 3``.

    ``line`` holds the bytes of a JSON line, its line break included, and is None where the file has no lines;
    ``parsed`` is what another format gave; ``offset`` is where the line begins, in bytes.
    """

    place: str
    number: int  # from 1
    line: bytes | None = None
    parsed: Any = None
    offset: int = 0

    def values(self) -> dict[str, Any]:
        """The row's fields. Raises ``UserError`` with file, line and column."""
        value = self.parsed if self.line is None else self._parse(self.line)
        if not isinstance(value, dict):
            raise UserError(f"{self.place}: write an object like {EXAMPLE}, not {kind_of(value)}")
        return dict(value)

    def text(self, line: bytes) -> str:
        """A line as text. Raises ``UserError`` for bytes that are none."""
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            byte, at = line[error.start], self.offset + error.start
            raise UserError(
                f"{self.place}: not UTF-8: byte 0x{byte:02x} at offset {at} of the file; save the file as UTF-8"
            ) from None
        if "\0" in text:
            where = f"{self.place}, column {text.index(chr(0)) + 1}"
            raise UserError(f"{where}: a NUL byte; the file is binary, or was damaged when its writer was killed")
        return text

    def _parse(self, line: bytes) -> Any:
        try:
            return json.loads(self.text(line).rstrip("\r\n"))
        except (ValueError, RecursionError) as error:
            why = _why_not_json(error)
            column = f", column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
            cut = "" if line.endswith(b"\n") else "; the file ends within this line, so it may have been cut off"
            raise UserError(f"{self.place}{column}: not JSON: {why}{cut}") from None


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of a file, in order. Raises ``UserError`` for a file that can't be read or has no rows."""
    rows = 0
    try:
        for row in _reader(path):
            rows += 1
            yield row
    except (OSError, EOFError, zlib.error) as error:
        after = f" after row {rows}" if rows else ""
        raise UserError(f"{path}: cannot be read{after}: {_why_unreadable(error)}") from None
    if not rows:
        raise UserError(f"{path}: empty; write one object a row, like {EXAMPLE}, or in CSV a row under the names")


def has_known_suffix(name: str) -> bool:
    """Whether a file's name says that this module can read it."""
    return name.endswith(SUFFIXES)


def kind_of(value: object) -> str:
    """A JSON value's kind, for a person."""
    kinds: Mapping[type, str] = {
        dict: "an object", list: "a list", str: "text", bool: "true or false", int: "a number", float: "a number",
        type(None): "null", bytes: "bytes",
    }  # fmt: skip
    return kinds.get(type(value), type(value).__name__)


def _reader(path: Path) -> Iterator[Row]:
    if path.is_dir():
        raise UserError(f"{path}: a folder, where a file is expected")
    if not path.exists():
        raise UserError(f"{path}: no such file")
    require_regular(path)
    name = path.name
    suffix = next((suffix for suffix in (".jsonl", *SEPARATORS) if name.removesuffix(".gz").endswith(suffix)), None)
    if suffix is not None:
        with gzip.open(path, "rb") if name.endswith(".gz") else path.open("rb") as file:
            yield from _table(path, file, SEPARATORS[suffix]) if suffix in SEPARATORS else _lines(path, file)
    elif name.endswith(".json"):
        yield from _json(path)
    elif name.endswith(".parquet"):
        yield from _parquet(path)
    else:
        raise UserError(f"{path}: a file of problems ends in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")


def _lines(path: Path, file: Iterable[bytes], blank: bool = False) -> Iterator[Row]:
    """The lines of a file, each a row; empty ones only if ``blank``."""
    offset = 0
    for number, line in enumerate(file, start=1):
        start, offset = offset, offset + len(line)
        if number == 1:
            _refuse_other_encodings(path, line)
            start += len(line) - len(line.removeprefix(_UTF8_BOM))
            line = line.removeprefix(_UTF8_BOM)
        if blank or line.strip():
            yield Row(f"{path}, line {number}", number, line, offset=start)


def _table(path: Path, file: Iterable[bytes], separator: str) -> Iterator[Row]:
    """The rows of CSV under the names in its first line. Every cell is text; an empty one says nothing."""
    csv.field_size_limit(_LONGEST_CELL)
    reader = csv.reader(_texts(path, file), delimiter=separator, strict=True)
    names: list[str] = []
    number = 0
    while True:
        place = f"{path}, line {reader.line_num + 1}"
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise UserError(f"{place}: not CSV: {str(error).partition(' - ')[0]}") from None
        if cells is None:
            return
        if cells and not names:
            names = _names(place, cells, separator)
        elif cells:
            if len(cells) != len(names):
                raise UserError(
                    f"{place}: {len(cells)} cells under {len(names)} names; write double quotes around a cell that "
                    f"holds {separator!r}, quotes or a line break"
                )
            number += 1
            named = zip(names, cells, strict=True)
            yield Row(place, number, parsed={name: cell or None for name, cell in named if name})


def _texts(path: Path, file: Iterable[bytes]) -> Iterator[str]:
    """The lines of a file as text, with their line breaks."""
    for row in _lines(path, file, blank=True):
        assert row.line is not None
        yield row.text(row.line)


def _names(place: str, cells: list[str], separator: str) -> list[str]:
    """The names of the columns; one without a name, such as a table's index, is not read."""
    names = [cell.strip() for cell in cells]
    twice = next((name for name in names if name and names.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"{place}: two columns are called {twice!r}; call one of them something else")
    other = next((sign for sign in ",;\t" if sign in names[0] and sign != separator), None)
    if len(names) == 1 and other is not None:
        raise UserError(f"{place}: its columns seem to be separated by {other!r}; here it must be {separator!r}")
    return names


def _refuse_other_encodings(path: Path, start: bytes) -> None:
    for mark, name in _OTHER_BOMS.items():
        if start.startswith(mark):
            raise UserError(f"{path}: written in {name}, by the mark at its beginning; save the file as UTF-8")


def _json(path: Path) -> Iterator[Row]:
    """A list of objects, an object that holds one such list, or, as many data sets name them, JSON lines."""
    content = path.read_bytes()
    _refuse_other_encodings(path, content)
    content = content.removeprefix(_UTF8_BOM)
    start = content.lstrip()[:1]
    if start == b"{":
        wrapped = _wrapped(content)
        if wrapped is None:
            yield from _lines(path, io.BytesIO(content))
        for number, value in enumerate(wrapped or [], start=1):
            yield Row(f"{path}, item {number}", number, parsed=value)
    elif start == b"[":
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError as error:
            byte = content[error.start]
            raise UserError(f"{path}: not UTF-8: byte 0x{byte:02x} at offset {error.start}; save it as UTF-8") from None
        yield from _items(path, text)
    elif start:
        raise UserError(f"{path}: write a list of objects, like [{EXAMPLE}, ...], or one object a line")


def _wrapped(content: bytes) -> list[Any] | None:
    """The one list of objects that an object of several lines holds, as ``{"version": 1, "data": [...]}``."""
    first = content.lstrip().partition(b"\n")[0]
    try:
        whole = None if _is_json(first) else json.loads(content)
    except (ValueError, RecursionError):
        return None
    values = whole.values() if isinstance(whole, dict) else ()
    lists = [value for value in values if isinstance(value, list) and value and isinstance(value[0], dict)]
    return lists[0] if len(lists) == 1 else None


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _items(path: Path, text: str) -> Iterator[Row]:
    """The items of a JSON list one by one, each with the line on which it begins."""
    decoder = json.JSONDecoder()
    position = _skip(text, text.index("[") + 1)
    line, counted, number = 1, 0, 0
    ended = text[position : position + 1] == "]"
    while not ended:
        line, counted = line + text.count("\n", counted, position), position
        try:
            value, position = decoder.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            raise _list_error(path, text, position, error) from None
        number += 1
        yield Row(f"{path}, line {line} (item {number})", number, parsed=value)
        position = _skip(text, position)
        ended = text[position : position + 1] == "]"
        if not ended and text[position : position + 1] != ",":
            raise _list_error(path, text, position, json.JSONDecodeError("Expecting ',' or ']'", text, position))
        if not ended:
            position = _skip(text, position + 1)
    end = _skip(text, position + 1)
    if end < len(text):
        raise _list_error(path, text, end, json.JSONDecodeError("Something follows the list", text, end))


def _list_error(path: Path, text: str, position: int, error: ValueError | RecursionError) -> UserError:
    at = json.JSONDecodeError("", text, error.pos if isinstance(error, json.JSONDecodeError) else position)
    cut = "" if text.rstrip().endswith("]") else "; the list does not end, so the file may have been cut off"
    return UserError(f"{path}, line {at.lineno}, column {at.colno}: not JSON: {_why_not_json(error)}{cut}")


def _skip(text: str, position: int) -> int:
    space = _SPACE.match(text, position)
    return space.end() if space else position


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_BATCH):
                for values in batch.to_pylist():
                    number += 1
                    yield Row(f"{path}, row {number}", number, parsed=values)
    except (pyarrow.ArrowException, ValueError, OverflowError) as error:
        raise UserError(f"{path}: not a parquet file that can be read: {str(error).splitlines()[0][:200]}") from None


def _why_not_json(error: ValueError | RecursionError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return error.msg
    return "nested too deeply" if isinstance(error, RecursionError) else "a number with too many digits"


def _why_unreadable(error: BaseException) -> str:
    if isinstance(error, EOFError | zlib.error | gzip.BadGzipFile):
        return f"damaged gzip data, or none at all ({error})"
    return str(error)
