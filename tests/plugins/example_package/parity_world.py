"""A small world: which numbers are even? Its problems and demonstrations, and who verifies, rewards and judges.

Left out: a kind of stage (``parity_selection.py``) and a rollout backend (``parity_rollout.py``), which need no world.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from thinkery.models.template import Template
from thinkery.problems.source import EndlessSource
from thinkery.recipe import DataSpec, ProblemSpec
from thinkery.recipe.verification import Verification
from thinkery.rewards.interfaces import ModelText, Values, completion_with_answer, text_of
from thinkery.types import Demonstration, Outcome, Problem, Verdict

WORDS = {"even": "even", "odd": "odd", "gerade": "even", "ungerade": "odd"}


class ParitySource(EndlessSource):
    """Numbers, endless: those of the test split end in another digit than those of the train split may."""

    def __init__(self, spec: ProblemSpec) -> None:
        super().__init__(f"the parity world's {spec.split} split")
        self._spec = spec

    def problem(self, index: int) -> Problem:
        """The problem of an index; the same in every call."""
        split, seed = self._spec.split, self._spec.seed
        number = 10 * Random(f"{seed}/{split}/{index}").randrange(1, 1000) + (index % 2 + (8 if split == "test" else 0))
        return Problem(
            id=f"parity-{split}-{seed}-{index}",
            prompt=f"Is {number} even or odd?",
            reference="odd" if number % 2 else "even",
            domain="parity",
            verifier="parity",
        )


class ParityWorld:
    """A ``ProblemPlugin`` that writes demonstrations too."""

    def problems(self, spec: ProblemSpec) -> ParitySource:
        """What ``problems: {source: parity}`` means."""
        return ParitySource(spec)

    def demonstrations(self, spec: DataSpec) -> list[Demonstration]:
        """What ``data: [{source: parity, n: 32}]`` means."""
        source = ParitySource(ProblemSpec(source="parity", seed=spec.seed))
        return [
            Demonstration(problem.id, problem.prompt, "The last digit decides.", problem.reference, problem.domain)
            for problem in source.draw(0, spec.n or 0)
        ]


WORLD = ParityWorld()


class ParityVerifier:
    """A ``Verifier``: the answer is one of the two words, in English or German."""

    def __init__(self, template: Template, verification: Verification) -> None:
        self._template = template

    def begin(self, completion: str, problem: Problem) -> Verdict:
        """The verdict, at once."""
        said = (self._template.parse(completion).answer or "").strip().strip(".").lower()
        if said not in WORDS:
            return Verdict(Outcome.NO_ANSWER, "neither even nor odd")
        right = WORDS[said] == problem.reference
        return Verdict(Outcome.CORRECT if right else Outcome.WRONG, answer=WORDS[said])

    def reference_completion(self, problem: Problem) -> str:
        """A completion that must be accepted."""
        return completion_with_answer(self._template, problem.reference, boxed=False)

    def close(self) -> None:
        """Nothing was started."""


def brief_reward(completions: Sequence[ModelText], *, words: int = 20) -> Values:
    """1 for at most so many ``words``, the recipe's option, else 0."""
    return [float(len(text_of(completion).split()) <= words) for completion in completions]


class ParityJudge:
    """A ``Judge`` who likes the response with the right word, whatever the seed."""

    concurrency = 1

    def compare(self, problem: Problem, first: str, second: str, *, seed: int) -> int:
        """The five-way verdict: -2 (the first is much better) to 2."""
        return 2 * (self.matches(problem, second, seed=seed) - self.matches(problem, first, seed=seed))

    def matches(self, problem: Problem, response: str, *, seed: int) -> bool:
        """Whether the right word is there and the wrong one is not."""
        return {WORDS[word] for word in response.lower().strip(". ").split() if word in WORDS} == {problem.reference}

    def unsafe(self, problem: Problem, response: str, *, seed: int) -> bool:
        """Numbers do no harm."""
        return False
