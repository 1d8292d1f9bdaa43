"""Is a set of problems fit to learn from? Behind ``thinkery verify``.

Every problem's own answer is put through the verifier that training uses, and what is not accepted is listed by line.
Also told: rows that can't be read, the convention recognised, duplicates, prompts that give their answer away, and
wrong answers that are accepted, tried on a sample of pairs. Left out: whether an accepted reference is true, and sets
that are no problems (``verify_data.py``).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from random import Random
from typing import NamedTuple

from thinkery.models.checking import Window
from thinkery.models.template import TEMPLATES, Template
from thinkery.problems.bad_rows import by_reason
from thinkery.problems.columns import ColumnLayout, Ids, item_of, recognise
from thinkery.problems.conventions.plain import last_box
from thinkery.problems.files import Row
from thinkery.problems.labels import Columns
from thinkery.problems.overlap import Duplicate, Item, find_duplicates
from thinkery.problems.source import open_rows
from thinkery.recipe import RewardSpec
from thinkery.recipe.verification import Verification
from thinkery.rewards.fitness import why_unfit
from thinkery.rewards.grader import Grader, GraderSpec, settle
from thinkery.rewards.references import ReferenceReport, check_references, short
from thinkery.rewards.registry import require_verifier
from thinkery.types import Problem, UserError, Verdict

PAIRS = 500  # answers of other problems that are tried
PAIRS_DEADLINE_S = 120.0  # for all of them together
_PAIRS_OF = {"code": 20}  # programs take longer than numbers

Progress = Callable[[str, int, int], None]  # what, done, of how many


class Found(NamedTuple):
    """A problem with what is to be said of it."""

    place: str
    text: str


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What ``thinkery verify`` found. ``ok``: every row is a problem, and every reference to check was accepted."""

    source: str
    layout: ColumnLayout
    problems: Sequence[Problem]
    unreadable: Sequence[Found]
    refused: Sequence[Found]  # own answers that the verifier does not accept, or can't read
    unchecked: int  # problems that hold nothing to check with, such as code without a solution
    false_accepts: Sequence[Found]  # answers of other problems that are accepted
    pairs: int  # how many of those were tried
    revealing: Sequence[Found]  # prompts that hold their own answer
    duplicates: Sequence[Duplicate]

    @property
    def ok(self) -> bool:
        """Whether nothing has to be put right. Warnings (duplicates, revealing prompts, false accepts) don't count."""
        return not self.unreadable and not self.refused

    def render(self, shown: int = 20) -> str:
        """The report as text, at most ``shown`` lines of each kind."""
        accepted = len(self.problems) - len(self.refused) - self.unchecked
        lines = [
            f"{self.source}: {len(self.problems):,} problems",
            f"  {self.layout}",
            *(f"  {line}" for line in _counts(self.problems)),
            f"{accepted:,} of {len(self.problems):,} references are accepted by their verifier",
        ]
        if self.unchecked:
            lines.append(f"without a solution to check their tests with: {self.unchecked:,}")
        nearly = sum(not duplicate.exact for duplicate in self.duplicates)
        copies = [
            Found(d.place, f"repeats {d.first}" + ("" if d.exact else f" ({d.similarity:.0%} of its 5-grams)"))
            for d in self.duplicates
        ]
        for head, found in (
            ("rows that can't be read", self.unreadable),
            ("references that are not accepted", self.refused),
            (f"wrong answers that are accepted, of {self.pairs:,} tried", self.false_accepts),
            ("prompts that hold their own answer", self.revealing),
            (f"problems that repeat an earlier one ({nearly:,} nearly)", copies),
        ):
            if found:
                lines.append(f"{head}: {len(found):,}")
                lines += [f"  {place}: {text}" if text else f"  {place}" for place, text in found[:shown]]
                lines += [f"  and {len(found) - shown:,} more"] if len(found) > shown else []
                if len(found) > shown and found is self.unreadable:
                    lines += ["  all of them by reason:", *by_reason([text for _, text in found])]
        return "\n".join(lines)


def verify_problems(
    source: str,
    *,
    verifier: str | None = None,
    verification: Verification | None = None,
    template: str = "r1-zero",
    split: str = "train",
    columns: Columns | None = None,
    window: Window | None = None,
    pairs: int = PAIRS,
    progress: Progress = lambda what, done, total: None,
) -> VerifyReport:
    """Checks a file, a folder or a data set of problems.

    ``verifier`` judges all of them (None: as the columns say). ``template`` decides how answers are written. A prompt
    that leaves no room in the ``window`` of a model can't be used. ``pairs`` is how many wrong answers are tried.
    Raises ``UserError`` if the source can't be read at all, or a name is wrong.
    """
    if verifier is not None:
        require_verifier(verifier)
    if template not in TEMPLATES:
        raise UserError(f"--template {template}: allowed: {', '.join(TEMPLATES)}")
    read = _read(source, split, columns, verifier, window)
    problems = [problem for _, problem in read.problems.values()]
    with _grader(TEMPLATES[template], verification) as grader:
        references = check_references(
            grader, problems, lambda done: progress("checking references", done, len(problems))
        )
        wrong = list(_wrong_pairs([p for p in problems if p.id not in _not_accepted(references)], pairs))
        false_accepts = _false_accepts(grader, wrong)
    return VerifyReport(
        source=source,
        layout=read.layout,
        problems=problems,
        unreadable=read.unreadable,
        refused=_refused(references, read.problems),
        unchecked=len(references.without),
        false_accepts=[
            Found(read.problems[problem.id][0].place, f"{short(problem.reference)}: accepts {short(other.reference)}")
            for problem, other in false_accepts
        ],
        pairs=len(wrong),
        revealing=[Found(row.place, "") for row, problem in read.problems.values() if _reveals(problem)],
        duplicates=find_duplicates(read.items),
    )


@dataclass(slots=True)
class _Read:
    layout: ColumnLayout
    problems: dict[str, tuple[Row, Problem]] = field(default_factory=dict)  # by id
    items: list[Item] = field(default_factory=list)
    unreadable: list[Found] = field(default_factory=list)


def _read(source: str, split: str, columns: Columns | None, verifier: str | None, window: Window | None) -> _Read:
    """All rows. The first that can be read decides the convention; a bad one is noted, and the next one read."""
    name, rows = open_rows(source, split)
    layout, passed, unreadable = _recognise(rows, name, columns, verifier)
    read, ids = _Read(layout, unreadable=unreadable), Ids()
    for row in chain([passed], rows):
        try:
            problem = ids.check(layout.problem(row), row.place)
        except UserError as error:
            read.unreadable.append(_found(row, error))
            continue
        reason = why_unfit(problem) or (window.why_too_long(problem.prompt, 1) if window else None)
        if reason:
            read.unreadable.append(Found(row.place, reason))
            continue
        # What was read is held by the problem: the line itself would be a second copy.
        read.problems[problem.id] = Row(row.place, row.number), problem
        read.items.append(item_of(row, layout.prompt))
    return read


def _recognise(
    rows: Iterator[Row], name: str, columns: Columns | None, verifier: str | None
) -> tuple[ColumnLayout, Row, list[Found]]:
    """The layout, the row that shows it, and the rows before that can't be read."""
    unreadable: list[Found] = []
    first_error: UserError | None = None
    for row in rows:
        try:
            return recognise(row, name, columns, verifier), row, unreadable
        except UserError as error:
            first_error = first_error or error
            unreadable.append(_found(row, error))
    raise first_error or UserError(f"{name}: no rows")


def _found(row: Row, error: UserError) -> Found:
    """The message after its place, with the column where it names one."""
    return Found(row.place, str(error).removeprefix(row.place).lstrip(",: "))


def _grader(template: Template, verification: Verification | None) -> Grader:
    return Grader(GraderSpec(template, {"accuracy": RewardSpec()}, 1, verification or Verification()))


def _not_accepted(references: ReferenceReport) -> set[str]:
    judged = [problem.id for problem, _ in (*references.refused, *references.unparseable)]
    return {*judged, *(problem.id for problem in references.without)}


def _refused(references: ReferenceReport, problems: Mapping[str, tuple[Row, Problem]]) -> list[Found]:
    found = [
        (problems[problem.id][0], f"{short(problem.reference)}: {_said(verdict)}")
        for problem, verdict in (*references.refused, *references.unparseable)
    ]
    return [Found(row.place, text) for row, text in sorted(found, key=lambda pair: pair[0].number)]


def _said(verdict: Verdict) -> str:
    return f"{verdict.outcome}: {verdict.reason}" if verdict.reason else str(verdict.outcome)


def _wrong_pairs(problems: Sequence[Problem], count: int) -> Iterator[tuple[Problem, Problem]]:
    """Pairs of problems with different references, the same every time, of each verifier at most ``count``."""
    for verifier in dict.fromkeys(problem.verifier for problem in problems):
        own = [problem for problem in problems if problem.verifier == verifier]
        rng = Random(f"pairs/{verifier}")
        wanted = min(count, _PAIRS_OF.get(verifier, count)) if len(own) > 1 else 0
        for _ in range(wanted):
            problem, other = rng.sample(own, 2)
            if problem.reference.casefold().split() != other.reference.casefold().split():
                yield problem, other


def _false_accepts(grader: Grader, pairs: Sequence[tuple[Problem, Problem]]) -> list[tuple[Problem, Problem]]:
    """The pairs of which the first problem accepts the second's answer although the two answers differ in value.

    Answers that differ as text may still be equal (1/2 and 0.5): then each problem accepts the other's answer. What
    only one of the two accepts is accepted wrongly; so is what both accept of programs, which can't be equal.
    """
    one_way = _crosswise(grader, pairs)
    other_way = _crosswise(grader, [(other, problem) for problem, other in one_way])
    mutual = {(problem.id, other.id) for other, problem in other_way}
    return [
        (problem, other)
        for problem, other in one_way
        if problem.verifier == "code" or (problem.id, other.id) not in mutual
    ]


def _crosswise(grader: Grader, pairs: Sequence[tuple[Problem, Problem]]) -> list[tuple[Problem, Problem]]:
    """The pairs of which the first problem accepts the second's answer."""
    begun = []
    for problem, other in pairs:
        verifier = grader.verifier_of(problem)
        reference_completion = verifier.reference_completion(other)
        if reference_completion is not None:
            begun.append((problem, other, verifier.begin(reference_completion, problem)))
    deadline = time.monotonic() + PAIRS_DEADLINE_S
    return [(problem, other) for problem, other, verdict in begun if settle(verdict, deadline).correct]


def _reveals(problem: Problem) -> bool:
    """Whether the prompt holds the reference in a box or an answer tag, where a completion would put it."""
    prompt = problem.prompt if isinstance(problem.prompt, str) else "\n".join(m["content"] for m in problem.prompt)
    reference = problem.reference.strip()
    return bool(reference) and (last_box(prompt) == reference or f"<answer>{reference}</answer>" in prompt)


def _counts(problems: Sequence[Problem]) -> list[str]:
    """How many problems have which verifier, language and level; a level of 0 everywhere is no level."""
    lines = []
    for name in ("verifier", "language", "level"):
        counts = Counter(getattr(problem, name) for problem in problems)
        if counts and (name != "level" or set(counts) != {0}):
            listed = ", ".join(f"{value} {count:,}" for value, count in sorted(counts.items()))
            lines.append(f"{name}: {listed}")
    return lines
