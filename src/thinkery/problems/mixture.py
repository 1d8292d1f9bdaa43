"""Several sources of problems drawn from as one, in proportion to their shares.

Left out: the sources themselves (``source.py``).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from thinkery.types import Problem

if TYPE_CHECKING:
    from thinkery.problems.source import ProblemSource


class MixedSource:
    """Several sources, drawn from in proportion to their shares.

    Which source stands at a position depends on the shares alone (the largest remainder first), so every stretch of
    positions holds nearly the shares, and a resumed run draws what the interrupted one would have drawn. An id ends in
    the number of its source, ``+0`` of the first: two sources may have the same ids.
    """

    def __init__(self, parts: Sequence[tuple[ProblemSource, float]]) -> None:
        self.parts = [source for source, _ in parts]
        self.notes: Sequence[str] = [note for part in self.parts for note in part.notes]
        total = sum(share for _, share in parts)
        self._shares = [share / total for _, share in parts]
        self._order: list[tuple[int, int]] = []  # position -> (part, position within the part)
        self._taken = [0] * len(parts)

    def draw(self, start: int, count: int) -> list[Problem]:
        """Problems by position; those of one part are drawn together."""
        self._extend(start + count)
        places = self._order[start : start + count]
        drawn: dict[tuple[int, int], Problem] = {}
        for part, source in enumerate(self.parts):
            positions = [position for owner, position in places if owner == part]
            if positions:  # they follow one another
                problems = _numbered(part, source.draw(positions[0], len(positions)))
                drawn |= {(part, position): problem for position, problem in zip(positions, problems, strict=True)}
        return [drawn[place] for place in places]

    def fixed(self, count: int | None) -> list[Problem]:
        """The first ``count`` problems, each part's in proportion (None: all of all parts)."""
        if count is None:
            return [problem for i, part in enumerate(self.parts) for problem in _numbered(i, part.fixed(None))]
        self._extend(count)
        owners = [part for part, _ in self._order[:count]]
        sizes = [(i, part, owners.count(i)) for i, part in enumerate(self.parts)]
        return [problem for i, part, size in sizes if size for problem in _numbered(i, part.fixed(size))]

    def exclude(self, ids: Collection[str]) -> None:
        """Leaves out problems from now on."""
        for i, part in enumerate(self.parts):
            end = _end(i)
            part.exclude([name.removesuffix(end) for name in ids if name.endswith(end)])

    def place(self, identity: str) -> str:
        """As its part says."""
        part, name = self._part(identity)
        return self.parts[part].place(name)

    def skips(self, identity: str) -> bool:
        """As its part says."""
        part, name = self._part(identity)
        return self.parts[part].skips(name)

    def _part(self, identity: str) -> tuple[int, str]:
        name, _, part = identity.rpartition("+")
        return int(part), name

    def _extend(self, size: int) -> None:
        while len(self._order) < size:
            due = [
                share * (len(self._order) + 1) - taken for share, taken in zip(self._shares, self._taken, strict=True)
            ]
            part = due.index(max(due))
            self._order.append((part, self._taken[part]))
            self._taken[part] += 1


def _numbered(part: int, problems: Sequence[Problem]) -> list[Problem]:
    """The problems of a mixture's part, under ids that no other part has."""
    return [replace(problem, id=problem.id + _end(part)) for problem in problems]


def _end(part: int) -> str:
    return f"+{part}"
