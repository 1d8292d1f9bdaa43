"""Where a stage's problems come from, behind one interface: the miniature world, files, data sets, reasoning-gym.

A source hands out problems by position, so that a resumed run draws what the interrupted one would have drawn. Left
out: how files are read (``files.py``, ``hub.py``) and what their columns mean (``columns.py``).
"""

from __future__ import annotations

import importlib.metadata
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from random import Random
from typing import Literal, Protocol

from thinkery.files import sha256_of
from thinkery.mini import mini_problem
from thinkery.problems.columns import item_of, problems_of, text_columns
from thinkery.problems.files import SUFFIXES, Row, has_known_suffix, read_rows
from thinkery.problems.gym import GYM, GymProblems, require_gym
from thinkery.problems.hub import folder_rows, hub_rows, is_hub_name, require_datasets
from thinkery.problems.labels import Columns
from thinkery.problems.overlap import CHARACTERS, WORDS, Benchmarks, Item, contamination
from thinkery.recipe import ProblemSpec
from thinkery.types import Problem, UserError

Split = Literal["train", "test"]
_SPARE = 10**9  # distance from a position to those that stand in for it


class ProblemSource(Protocol):
    """Problems by position. ``notes`` say what a user should know about them, one line each."""

    notes: Sequence[str]

    def draw(self, start: int, count: int) -> list[Problem]:
        """Problems ``start`` to ``start + count - 1`` of an endless sequence; the same in every such call.

        They differ, unless ``count`` is more than there are.
        """
        ...

    def fixed(self, count: int | None) -> list[Problem]:
        """The first ``count`` different problems (None: all), the same in every call."""
        ...

    def exclude(self, ids: Collection[str]) -> None:
        """Leaves out problems from now on. A resumed run must leave out the same before it draws."""
        ...


class EndlessSource(ABC):
    """Problems made on demand, one for every position; an excluded one has another stand in for it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.notes: Sequence[str] = ()
        self._excluded: set[str] = set()

    @abstractmethod
    def problem(self, index: int) -> Problem:
        """The problem of an index."""

    def draw(self, start: int, count: int) -> list[Problem]:
        """Problems by position; repeats are rare where the world is large."""
        return [self._at(position) for position in range(start, start + count)]

    def fixed(self, count: int | None) -> list[Problem]:
        """The first ``count`` problems that differ in their text."""
        if count is None:
            raise UserError(f"problems.n: {self.name} is endless, say how many problems, for example n: 512")
        problems: dict[object, Problem] = {}
        for position in range(20 * count):
            problem = self._at(position)
            problems.setdefault(problem.prompt, problem)
            if len(problems) == count:
                return list(problems.values())
        raise UserError(f"problems.n = {count}: {self.name} has only {len(problems)} such problems that differ")

    def exclude(self, ids: Collection[str]) -> None:
        """Leaves out problems from now on."""
        self._excluded.update(ids)

    def _at(self, position: int) -> Problem:
        for attempt in range(100):
            problem = self.problem(position + attempt * _SPARE)
            if problem.id not in self._excluded:
                return problem
        raise UserError(f"{self.name}: 100 problems that could stand at position {position} are all left out")


class MiniSource(EndlessSource):
    """The endless miniature world."""

    def __init__(
        self,
        split: Split,
        levels: Sequence[int] = (),
        languages: Mapping[str, float] | None = None,
        domains: Mapping[str, float] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(f"the miniature world's {split} split")
        self.split, self.levels, self.languages, self.domains, self.seed = split, levels, languages, domains, seed

    def problem(self, index: int) -> Problem:
        """The problem of an index; none is in the other split."""
        return mini_problem(
            index, self.split, levels=self.levels, languages=self.languages, domains=self.domains, seed=self.seed
        )


class GymSource(EndlessSource):
    """Families of reasoning-gym, one after the other by position."""

    def __init__(self, families: Sequence[str], split: Split, seed: int = 0) -> None:
        super().__init__(f"{GYM}{','.join(families)} ({split})")
        self._problems = GymProblems(families, split, seed)

    def problem(self, index: int) -> Problem:
        """The problem of an index; none is in the other split."""
        return self._problems[index]


class FileSource:
    """Problems that are all there, in epochs: each a new permutation that depends on (seed, epoch) alone."""

    def __init__(self, name: str, problems: Sequence[Problem], seed: int = 0, notes: Sequence[str] = ()) -> None:
        self.name, self.seed, self.problems, self.notes = name, seed, list(problems), notes

    def draw(self, start: int, count: int) -> list[Problem]:
        """Problems ``start`` to ``start + count - 1`` of the endless sequence of epochs.

        Where an epoch ends within them, what the next one would repeat gives way to what it has after them; only more
        problems than there are repeat.
        """
        size = len(self.problems)
        orders: dict[int, list[int]] = {}
        drawn: list[int] = []
        taken: set[int] = set()
        for position in range(start, start + count):
            epoch, offset = divmod(position, size)
            if epoch not in orders:
                orders[epoch] = Random(f"epoch/{self.seed}/{epoch}").sample(range(size), size)
            index = orders[epoch][offset]
            if index in taken and count <= size:
                after = (start + count - 1) % size + 1
                index = next(other for other in orders[epoch][after:] if other not in taken)
            taken.add(index)
            drawn.append(index)
        return [self.problems[index] for index in drawn]

    def fixed(self, count: int | None) -> list[Problem]:
        """The first ``count`` problems, in the order of the file."""
        if count is not None and count > len(self.problems):
            raise UserError(f"problems.n = {count}: {self.name} has {len(self.problems):,} problems")
        return self.problems[:count]

    def exclude(self, ids: Collection[str]) -> None:
        """Leaves out problems from now on. Raises ``UserError`` if none is left."""
        excluded = set(ids)
        self.problems = [problem for problem in self.problems if problem.id not in excluded]
        if not self.problems:
            raise UserError(f"{self.name}: every problem was left out")


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


def open_source(spec: ProblemSpec) -> ProblemSource:
    """The source that a recipe names, with those mixed in. ``UserError`` says what is wrong with it and where."""
    if not spec.also:
        return _one_source(spec)
    return MixedSource([(_one_source(one), one.share) for one in spec.all])


def _one_source(spec: ProblemSpec) -> ProblemSource:
    split: Split = "test" if spec.split == "test" else "train"
    if spec.source == "mini":
        return MiniSource(split, spec.levels, spec.languages, spec.domains, spec.seed)
    if spec.source.startswith(GYM):
        for field in ("levels", "languages"):
            if getattr(spec, field):
                raise UserError(f"problems.{field}: reasoning-gym has none; leave this out")
        return GymSource(spec.source.removeprefix(GYM).split(","), split, spec.seed)
    return _file_source(spec)


def _file_source(spec: ProblemSpec) -> FileSource:
    name, rows = open_rows(spec.source, spec.split)
    layout, found = problems_of(rows, name, spec.columns, spec.verifier)
    benchmarks = read_benchmarks(spec.decontaminate) if spec.decontaminate else None
    problems: dict[str, Problem] = {}
    items: list[Item] = []
    total = 0
    for row, problem in found:
        total += 1
        if spec.levels and problem.level not in spec.levels:
            continue
        if spec.languages and problem.language not in spec.languages:
            continue
        problems[row.place] = _preferred(problem, spec)
        if benchmarks is not None:
            items.append(item_of(row, layout.prompt))
    notes = [f"{spec.source}: {total:,} problems; {layout}"]
    if not problems:
        raise UserError(f"{spec.source}: no problem has the levels {spec.levels} and languages {[*spec.languages]}")
    if benchmarks is not None:
        overlaps = contamination(items, benchmarks)
        notes.append(f"{spec.source}: left out for {overlaps.summary()}")
        for match in overlaps.matches:
            del problems[match.place]
        if not problems:
            raise UserError(f"{spec.source}: every problem overlaps with one of {', '.join(spec.decontaminate)}")
    return FileSource(spec.source, list(problems.values()), spec.seed, notes)


def _preferred(problem: Problem, spec: ProblemSpec) -> Problem:
    """The problem with the set that the recipe says it belongs to."""
    if spec.preference is None:
        return problem
    return replace(problem, columns={**problem.columns, "preference": spec.preference})


def read_benchmarks(
    sources: Sequence[str], *, words: int = WORDS, characters: int = CHARACTERS, answers: bool = False
) -> Benchmarks:
    """The texts of benchmarks: their prompts, and their answers as written if ``answers``."""
    items = {source: read_items(source, answers=answers) for source in sources}
    return Benchmarks(items, words=words, characters=characters)


def read_items(
    source: str, split: str = "test", columns: Columns | None = None, *, answers: bool = False
) -> Iterator[Item]:
    """The texts of a source's rows, in their order."""
    for row, prompt, answer in read_texts(source, split, columns):
        yield item_of(row, prompt, answer if answers else None)


def read_texts(source: str, split: str, columns: Columns | None = None) -> Iterator[tuple[Row, str, str | None]]:
    """A source's rows with the columns of their prompts and, if they have them, of their answers."""
    _, rows = open_rows(source, split)
    first = next(rows)
    prompt, answer = text_columns(first, columns)
    for row in chain([first], rows):
        yield row, prompt, answer


def open_rows(source: str, split: str = "train") -> tuple[str, Iterator[Row]]:
    """A short name and the rows of a file, a folder or a data set. Files have no splits."""
    path = Path(source)
    name = path.name
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        name = name.removesuffix(suffix)
    if path.is_dir():
        return name, folder_rows(path, split)
    if path.is_file() or has_known_suffix(source):
        return name, read_rows(path)
    if is_hub_name(source):
        return name, hub_rows(source, split)
    raise UserError(f"{source}: no such file or folder, and not the name of a data set of the Hub (owner/name)")


def require_source(field: str, spec: ProblemSpec) -> None:
    """Raises ``UserError`` if a recipe's sources, or what they are held against, are not there. Reads nothing."""
    for i, other in enumerate(spec.also):
        require_source(f"{field}.also[{i}]", other)
    if spec.source == "mini":
        return
    if spec.source.startswith(GYM):
        require_gym(f"{field}.source = {spec.source!r}")
        return
    require_file(f"{field}.source", spec.source)
    for i, source in enumerate(spec.decontaminate):
        require_file(f"{field}.decontaminate[{i}]", source)


def require_file(field: str, source: str) -> None:
    """Raises ``UserError`` unless a source is a file, a folder or may be a data set of the Hub. Reads nothing."""
    if Path(source).is_dir() or (is_hub_name(source) and not has_known_suffix(source)):
        require_datasets(f"{field} = {source!r}")
    elif not Path(source).is_file():
        raise UserError(f"{field} = {source!r}: no such file in {Path.cwd()}")


def source_fingerprint(spec: ProblemSpec) -> dict[str, str]:
    """What a source's problems depend on beside its spec: the hash of every file, the version of every library.

    A data set of the Hub goes by its name alone: only the Hub knows whether it has changed.
    """
    if spec.also:
        return {
            name: mark
            for one in spec.all
            for name, mark in source_fingerprint(one.model_copy(update={"also": []})).items()
        }
    if spec.source.startswith(GYM):
        return {spec.source: f"reasoning-gym {importlib.metadata.version('reasoning-gym')}"}
    named = [source for source in (spec.source, *spec.decontaminate) if source != "mini"]
    return {source: sha256_of(Path(source)) if Path(source).exists() else source for source in named}
