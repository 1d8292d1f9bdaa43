"""Rows that can't be used: all of them are found before anything is made of the others.

What is known of a row is known before the first step; whether the others go on without it is the user's word
(``on_bad_row``). Left out: what makes a row bad (the readers, and the ``vet`` that a stage brings).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import TypeVar

from thinkery.problems.files import Row
from thinkery.recipe.data import OnBadRow
from thinkery.types import UserError

SHOWN = 20  # bad rows told in full

_VALUES = re.compile(r"'[^']*'|\"[^\"]*\"|\b\d[\d.,]*\b")
_Read = TypeVar("_Read")


@dataclass(frozen=True, slots=True)
class BadRow:
    """Where it stands and what is wrong with it; ``said`` is all of it, perhaps with a column."""

    place: str
    reason: str
    said: str

    @classmethod
    def of(cls, place: str, error: UserError) -> BadRow:
        """From an error that says the place itself."""
        return cls(place, str(error).removeprefix(place).lstrip(",: "), str(error))


@dataclass
class BadRows:
    """The bad rows of a source, of ``total`` so far."""

    source: str
    rows: list[BadRow] = field(default_factory=list)
    total: int = 0

    def sift(self, rows: Iterable[Row], read: Callable[[Row], _Read]) -> Iterator[tuple[Row, _Read]]:
        """The rows that can be read, each with what was read; the others are noted."""
        for row in rows:
            self.total += 1
            try:
                value = read(row)
            except UserError as error:
                self.rows.append(BadRow.of(row.place, error))
                continue
            yield row, value

    def settle(self, on_bad_row: OnBadRow) -> list[str]:
        """Notes for whoever watches. Raises ``UserError`` if there are any and they must not be skipped."""
        if not self.rows:
            return []
        left = self.total - len(self.rows)
        if on_bad_row == "skip" and left:
            return [f"{self.source}: {len(self.rows):,} of {self.total:,} rows left out:", *described(self.rows)]
        advice = f"set on_bad_row: skip to go on with the other {left:,}" if left else "no row is left"
        if len(self.rows) == 1:
            raise UserError(f"{self.rows[0].said}; {advice}")
        head = f"{self.source}: {len(self.rows):,} of {self.total:,} rows can't be used; correct them, or {advice}:"
        raise UserError("\n".join([head if left else head.replace("; correct them, or", ","), *described(self.rows)]))


def layout_of(rows: Iterator[Row], recognise: Callable[[Row], _Read], bad: BadRows) -> tuple[_Read, Iterator[Row]]:
    """The layout that the first readable row shows, and the rows from there on; those before it are noted in ``bad``.

    Raises ``UserError``, the first row's, if none shows any.
    """
    first_error: UserError | None = None
    for row in rows:
        try:
            return recognise(row), chain([row], rows)
        except UserError as error:
            first_error = first_error or error
            bad.rows.append(BadRow.of(row.place, error))
            bad.total += 1
    raise first_error or UserError(f"{bad.source}: no rows")


def described(rows: Sequence[BadRow], shown: int = SHOWN) -> list[str]:
    """The first rows in full, then how many there are more, by reason."""
    lines = [f"  {row.said}" for row in rows[:shown]]
    if len(rows) > shown:
        lines += [f"  and {len(rows) - shown:,} more; all of them by reason:", *by_reason([row.reason for row in rows])]
    return lines


def by_reason(reasons: Sequence[str]) -> list[str]:
    """How many there are of each reason, values aside; the most frequent first."""
    counts = Counter(_VALUES.sub("...", reason) for reason in reasons)
    lines = [f"  {count:,} x {reason}" for reason, count in counts.most_common(SHOWN)]
    return lines + ([f"  and {len(counts) - SHOWN:,} reasons more"] if len(counts) > SHOWN else [])
