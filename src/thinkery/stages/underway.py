"""Problems under way: drawn, being sampled, and not yet learnt from.

In one process a step's problems are sampled to the end before it learns. On a cluster sampling may run ahead: the next
step's problems are sampled while this one's are learnt from (one step off-policy), and more problems than a step needs
may be under way, of which it takes those that are complete first (as partial rollouts in Kimi k1.5, arXiv 2501.12599,
section 2.6.2). What is not finished then goes on in the next step from the tokens that it has. All of it is part of
the stage's checkpoint, so no problem is lost or sampled twice. Left out: grading, and who samples.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from thinkery.models.loading import Policy
from thinkery.problems.source import ProblemSource
from thinkery.recipe import Ahead
from thinkery.rollout.pieces import Piece, fresh
from thinkery.stages.engines import ResumableRollout
from thinkery.types import Completion, Problem, Sampling

State = dict[str, Any]  # as JSON has it

_FILE = "sampler.json"


@dataclass
class Open:
    """A problem under way. ``drawn`` is how to draw it again: the place within a call of the source's ``draw``."""

    problem: Problem
    drawn: tuple[int, int, int]  # start, count, place
    pieces: list[Piece] = field(default_factory=list)  # what is not finished
    completions: list[Completion] = field(default_factory=list)


class UnderWay:
    """The problems under way in one stage, in the order in which they were drawn.

    ``drawn`` counts all that were drawn. A problem that is drawn again while it is under way waits for its turn: its
    completions could not be told apart.
    """

    def __init__(
        self,
        rollout: ResumableRollout,
        policy: Policy,
        source: ProblemSource,
        sampling: Sampling,
        ahead: Ahead,
        *,
        seed: int,
        stage: str,
    ) -> None:
        self.drawn = 0
        self._rollout, self._policy, self._source, self._sampling = rollout, policy, source, sampling
        self._ahead, self._seed, self._stage = ahead, seed, stage
        self._open: dict[str, Open] = {}
        self._waiting: list[Open] = []
        self._flow: Iterator[Completion] | None = None
        self._version = 0  # the policy's, when the flow began
        self._is_cut = False

    def __len__(self) -> int:
        return len(self._open)

    @property
    def complete(self) -> int:
        """How many of them are complete."""
        return sum(not one.pieces for one in self._open.values())

    def problem(self, problem_id: str) -> Problem:
        """One of them."""
        return self._open[problem_id].problem

    def fill(self, step: int, needed: int, wanted: int) -> None:
        """Draws until ``wanted`` problems are under way, or ``needed`` where no more differ.

        What is new belongs to ``step``, and so do its random numbers.
        """
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            self._admit(one, step)
        before = -1
        while len(self._open) < wanted and not before == len(self._open) >= needed:
            before, missing = len(self._open), wanted - len(self._open)
            for place, problem in enumerate(self._source.draw(self.drawn, missing)):
                self._admit(Open(problem, (self.drawn, missing, place)), step)
            self.drawn += missing

    def begin(self) -> None:
        """Has what is under way sampled, if that does not go on already. On a cluster it goes on by itself."""
        if self._flow is not None:
            return
        unfinished = [one for one in self._open.values() if one.pieces]
        self._version, self._is_cut = self._policy.version, False
        self._flow = self._rollout.go_on(
            [one.problem for one in unfinished],
            [piece for one in unfinished for piece in one.pieces],
            self._sampling,
            seed=self._seed,
            stage=self._stage,
        )

    def completions(self, count: int) -> Iterator[Completion]:
        """What finishes, until ``count`` problems are complete; what else is under way is then cut short."""
        if self._flow is not None and self._ahead.partial and self._policy.version != self._version:
            self._cut()  # to go on under the new weights
        while self._flow is not None or self.complete < count:
            self.begin()
            yield from self._finish(count)

    def settle(self) -> Iterator[Completion]:
        """What finishes until nothing is being sampled: all of it, or what was done before it could be cut short."""
        if self._flow is not None:
            if self._ahead.partial:
                self._cut()
            yield from self._finish(len(self._open) + 1)

    def take(self, count: int) -> list[Problem]:
        """The first ``count`` complete problems, which are no longer under way."""
        done = [one.problem for one in self._open.values() if not one.pieces][:count]
        for problem in done:
            del self._open[problem.id]
        return done

    def state(self) -> State:
        """All of it, settled."""
        assert self._flow is None, "settle first: what is on its way can't be written"
        return {"drawn": self.drawn} | {name: [_row(one) for one in some] for name, some in self._lists().items()}

    def save(self, folder: Path) -> None:
        """Writes its state; ``folder`` does not exist yet."""
        write_state(self.state(), folder)

    def load(self, folder: Path) -> list[Completion]:
        """Restores what ``save`` wrote; gives the completions of problems that are under way."""
        state = json.loads((folder / _FILE).read_text())
        self.drawn = state["drawn"]
        self._open = {one.problem.id: one for one in map(self._read, state["open"])}
        self._waiting = list(map(self._read, state["waiting"]))
        return [completion for one in self._open.values() for completion in one.completions]

    def _admit(self, one: Open, step: int) -> None:
        if one.problem.id in self._open:
            self._waiting.append(one)
            return
        one.pieces = fresh([one.problem], self._sampling.num_generations, step)
        self._open[one.problem.id] = one

    def _cut(self) -> None:
        self._is_cut = True
        self._rollout.cut()

    def _finish(self, count: int) -> Iterator[Completion]:
        """Reads the flow to its end, and cuts it short when ``count`` problems are complete."""
        assert self._flow is not None
        for completion in self._flow:
            one = self._open[completion.problem_id]
            one.pieces = [piece for piece in one.pieces if piece.index != completion.index]
            one.completions.append(completion)
            if not one.pieces and not self._is_cut and len(self._open) > self.complete >= count:
                self._cut()
            yield completion
        self._flow = None
        left = {(piece.problem_id, piece.index): piece for piece in self._rollout.left}
        for one in self._open.values():
            one.pieces = [left.get((piece.problem_id, piece.index), piece) for piece in one.pieces]
        if left and not self._is_cut:
            raise RuntimeError(f"{self._stage}: sampling ended by itself, with {len(left)} completions missing")

    def _lists(self) -> dict[str, list[Open]]:
        return {"open": list(self._open.values()), "waiting": self._waiting}

    def _read(self, row: dict[str, Any]) -> Open:
        start, count, place = row["drawn"]
        problem = self._source.draw(start, count)[place]
        pieces = [Piece(**_tuples(piece)) for piece in row["pieces"]]
        completions = [Completion(problem_id=problem.id, **_tuples(one)) for one in row["completions"]]
        return Open(problem, (start, count, place), pieces, completions)


def write_state(state: State, folder: Path) -> None:
    """Writes what ``UnderWay.load`` restores; ``folder`` does not exist yet."""
    folder.mkdir()
    (folder / _FILE).write_text(json.dumps(state))


def _row(one: Open) -> dict[str, Any]:
    completions = [asdict(completion) for completion in one.completions]
    for completion in completions:
        del completion["problem_id"]
    return {"drawn": one.drawn, "pieces": [asdict(piece) for piece in one.pieces], "completions": completions}


def _tuples(row: dict[str, Any]) -> dict[str, Any]:
    """JSON has lists where the house has tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}
