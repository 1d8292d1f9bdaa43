"""Does every problem's own answer pass its verifier? Asked before anything is learnt or measured.

A reference that can't be read is masked: its problem is left out and named. A reference that can be read and is not
accepted is a mistake in the data or in the verifier, and stops the stage.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from thinkery.rewards.grader import Grader, settle
from thinkery.rewards.interfaces import PendingVerdict
from thinkery.rewards.unchecked import NONE
from thinkery.types import Outcome, Problem, UserError, Verdict

DEADLINE_S = 600.0  # for one portion of the reference answers: programs with their tests take longer than numbers
PORTION = 512  # begun together, so that workers and sandboxes are kept busy without holding everything in memory

Judged = tuple[Problem, Verdict]
Place = Callable[[str], str]  # by id


@dataclass(frozen=True, slots=True)
class ReferenceReport:
    """What became of the reference answers; the rest, ``checked`` less these, was accepted.

    Problems that no rule can check are not among them.
    """

    checked: int
    refused: Sequence[Judged]  # wrong, no answer or out of time
    unparseable: Sequence[Judged]
    without: Sequence[Problem]  # nothing to check with: code without a solution

    @property
    def masked(self) -> frozenset[str]:
        """The ids of the problems that can't be graded."""
        return frozenset(problem.id for problem, _ in self.unparseable)

    def require(self, place: Place = str, skips: Callable[[str], bool] = lambda identity: False) -> frozenset[str]:
        """The ids of refused problems that the user goes on without, by ``skips``; ``place`` says where one stands.

        Raises ``UserError`` with the first reference answers that are refused otherwise, or if no problem is left.
        """
        refused = [judged for judged in self.refused if not skips(judged[0].id)]
        if refused:
            head = f"{len(refused)} of {self.checked} problems have a reference that their verifier does not accept;"
            advice = "correct or remove them, or set on_bad_row: skip to go on without them:"
            raise UserError("\n".join([f"{head} {advice}", *_lines(refused, place, 20)]))
        if self.checked and len(self.unparseable) + len(self.refused) == self.checked:
            lines = _lines([*self.unparseable, *self.refused], place)
            raise UserError("\n".join(["no problem has a reference that can be read:", *lines]))
        return frozenset(problem.id for problem, _ in self.refused)

    def notes(self, place: Place = str) -> list[str]:
        """What a reader of the run should know, one line each; empty if all is well."""
        notes = []
        if self.unparseable:
            head = f"{len(self.unparseable)} of {self.checked} references can't be read; their problems are left out:"
            notes += [head, *_lines(self.unparseable, place)]
        if self.refused:
            head = f"{len(self.refused)} of {self.checked} references are not accepted by their verifier:"
            notes += [head, *_lines(self.refused, place)]
        if self.without:
            notes.append(f"{len(self.without)} problems hold no solution, so their tests could not be checked")
        return notes


def check_references(
    grader: Grader, problems: Iterable[Problem], progress: Callable[[int], None] = lambda done: None
) -> ReferenceReport:
    """Puts every problem's own answer through its verifier. ``progress`` is told how many are done.

    Problems that no rule can check are passed over.
    """
    checked, without = 0, []
    refused: list[Judged] = []
    unparseable: list[Judged] = []
    remaining = (problem for problem in problems if problem.verifier != NONE)
    while portion := list(islice(remaining, PORTION)):
        for problem, verdict in _judge(grader, portion):
            checked += 1
            if verdict is None:
                without.append(problem)
            elif verdict.outcome is Outcome.REFERENCE_UNPARSEABLE:
                unparseable.append((problem, verdict))
            elif not verdict.correct:
                refused.append((problem, verdict))
        progress(checked)
    return ReferenceReport(checked, refused, unparseable, without)


def _judge(grader: Grader, problems: Sequence[Problem]) -> Iterator[tuple[Problem, Verdict | None]]:
    begun: list[tuple[Problem, Verdict | PendingVerdict | None]] = []
    for problem in problems:
        verifier = grader.verifier_of(problem)
        reference_completion = verifier.reference_completion(problem)
        begun.append((problem, None if reference_completion is None else verifier.begin(reference_completion, problem)))
    deadline = time.monotonic() + DEADLINE_S
    for problem, verdict in begun:
        yield problem, None if verdict is None else settle(verdict, deadline)


def _lines(judged: Sequence[Judged], place: Place, shown: int = 5) -> list[str]:
    lines = [f"  {p.id}: {short(p.reference)} ({v.outcome}: {v.reason}){_at(p, place)}" for p, v in judged[:shown]]
    return lines + ([f"  and {len(judged) - shown} more"] if len(judged) > shown else [])


def _at(problem: Problem, place: Place) -> str:
    where = place(problem.id)
    return "" if where == problem.id else f", in {where}"


def short(text: str) -> str:
    """A reference for a message: in one line, and not all of a long one."""
    return repr(text if len(text) <= 80 else text[:77] + "...")
