"""Where a stage's problems come from: the miniature world or a file, behind one interface.

A source hands out problems by position, so that a resumed run draws what the interrupted one would have drawn.
Left out: parquet, the Hub and procedural libraries.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Literal, Protocol

from thinkery.problems.mini import mini_problem
from thinkery.recipe import ProblemSpec
from thinkery.types import Problem, UserError


class ProblemSource(Protocol):
    """Problems by position."""

    def draw(self, start: int, count: int) -> list[Problem]:
        """Problems ``start`` to ``start + count - 1`` of an endless sequence without repeats within ``count``."""
        ...

    def fixed(self, count: int | None) -> list[Problem]:
        """The first ``count`` different problems (None: all), the same in every call."""
        ...


class MiniSource:
    """The endless miniature world."""

    def __init__(
        self,
        split: Literal["train", "test"],
        levels: Sequence[int] = (),
        languages: Mapping[str, float] | None = None,
        seed: int = 0,
    ) -> None:
        self.split, self.levels, self.languages, self.seed = split, levels, languages, seed

    def _problem(self, index: int) -> Problem:
        return mini_problem(index, self.split, levels=self.levels, languages=self.languages, seed=self.seed)

    def draw(self, start: int, count: int) -> list[Problem]:
        """Problems by position; the world is so large that repeats are rare, and none is in the other split."""
        return [self._problem(index) for index in range(start, start + count)]

    def fixed(self, count: int | None) -> list[Problem]:
        """The first ``count`` problems that differ in their text."""
        if count is None:
            raise UserError("problems.n: the miniature world is endless, say how many problems, for example n: 512")
        problems: dict[object, Problem] = {}
        for index in range(20 * count):
            problem = self._problem(index)
            problems.setdefault(problem.prompt, problem)
            if len(problems) == count:
                return list(problems.values())
        raise UserError(f"problems.n = {count}: the miniature world's {self.split} split has only {len(problems)} such")


class FileSource:
    """Problems of a file, in epochs: each a new permutation that depends on (seed, epoch) alone."""

    def __init__(self, path: Path, seed: int = 0, levels: Sequence[int] = (), languages: Sequence[str] = ()) -> None:
        kept = read_jsonl(path)
        kept = [p for p in kept if (not levels or p.level in levels) and (not languages or p.language in languages)]
        if not kept:
            raise UserError(f"{path}: no problem has the levels {list(levels)} and languages {list(languages)}")
        self.path, self.seed, self.problems = path, seed, kept

    def draw(self, start: int, count: int) -> list[Problem]:
        """Problems ``start`` to ``start + count - 1`` of the endless sequence of epochs."""
        size = len(self.problems)
        orders: dict[int, list[int]] = {}
        drawn = []
        for position in range(start, start + count):
            epoch, offset = divmod(position, size)
            if epoch not in orders:
                orders[epoch] = Random(f"epoch/{self.seed}/{epoch}").sample(range(size), size)
            drawn.append(self.problems[orders[epoch][offset]])
        return drawn

    def fixed(self, count: int | None) -> list[Problem]:
        """The file's first ``count`` problems."""
        if count is not None and count > len(self.problems):
            raise UserError(f"problems.n = {count}: {self.path} has {len(self.problems)} problems")
        return self.problems[:count]


def read_jsonl(path: Path) -> list[Problem]:
    """Reads problems: one JSON object a line with ``prompt`` and ``answer`` (or ``solution``), and free columns.

    Raises ``UserError`` with file, line and what was expected.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as text: {error}") from None
    problems = [_problem_of(path, number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    if not problems:
        raise UserError(f"{path}: empty; write one JSON object a line with the fields prompt and answer")
    return problems


def _problem_of(path: Path, number: int, line: str) -> Problem:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise UserError(f"{path}, line {number}, column {error.colno}: not JSON: {error.msg}") from None
    if not isinstance(row, dict):
        raise UserError(f'{path}, line {number}: write an object like {{"prompt": ..., "answer": ...}}')
    prompt = row.pop("prompt", None)
    reference = row.pop("answer", None)
    reference = row.pop("solution", None) if reference is None else reference
    if not isinstance(prompt, str | list) or not prompt:
        raise UserError(f"{path}, line {number}: the field prompt must be text or a list of messages")
    if not isinstance(reference, str | int | float):
        raise UserError(f"{path}, line {number}: the field answer (or solution) must be text or a number")
    level = row.pop("level", 0)
    if not isinstance(level, int):
        raise UserError(f"{path}, line {number}: the field level must be a whole number, not {level!r}")
    return Problem(
        id=str(row.pop("id", f"{path.stem}-{number}")),
        prompt=prompt if isinstance(prompt, str) else tuple(prompt),
        reference=str(reference),
        domain=str(row.pop("domain", "math")),
        level=level,
        language=str(row.pop("language", "en")),
        verifier=str(row.pop("verifier", "math")),
        columns=row,
    )


def open_source(spec: ProblemSpec) -> ProblemSource:
    """The source that a recipe names."""
    if spec.source == "mini":
        return MiniSource(spec.split, spec.levels, spec.languages, spec.seed)
    return FileSource(Path(spec.source), spec.seed, spec.levels, list(spec.languages))
