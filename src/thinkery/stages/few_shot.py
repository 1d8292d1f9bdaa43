"""Few-shot prompting: solved problems put before the question as earlier turns of the conversation.

DeepSeek-R1 finds that this degrades the trained model; a held-out set with ``shots`` measures it. Left out: choosing
examples that resemble the question.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from thinkery.models.template import Template
from thinkery.problems.source import open_source
from thinkery.recipe import ProblemSpec
from thinkery.rewards.grader import Grader
from thinkery.types import Message, Problem, UserError

TRIED = 50  # problems looked at for each example: some hold nothing that could be shown


def examples(spec: ProblemSpec, count: int, grader: Grader, template: Template) -> list[tuple[Problem, str]]:
    """The first ``count`` problems of the source's train split that hold a solution, with that solution.

    They are the same for every question, in every run and for every model, as in the usual few-shot protocols. The
    solution is what the problem's own verifier must accept, as the reader sees it: the answer without any thinking.
    Raises ``UserError`` if the source has too few of them.
    """
    train = {"split": "train", "n": None}
    source = open_source(spec.model_copy(update=train | {"also": [one.model_copy(update=train) for one in spec.also]}))
    shown: dict[str, tuple[Problem, str]] = {}
    for problem in source.draw(0, TRIED * count):
        reference_completion = grader.verifier_of(problem).reference_completion(problem)
        answer = template.parse(reference_completion).answer if reference_completion is not None else None
        if answer:
            shown.setdefault(problem.id, (problem, answer))
        if len(shown) == count:
            return list(shown.values())
    raise UserError(f"shots = {count}: {spec.source} has only {len(shown)} problems with a solution to show")


def with_examples(problems: Iterable[Problem], shown: Sequence[tuple[Problem, str]]) -> list[Problem]:
    """The problems with the examples as earlier turns; a problem that is itself an example is left out."""
    turns: tuple[Message, ...] = ()
    for example, answer in shown:
        turns += (*_messages(example), {"role": "assistant", "content": answer})
    prompts = [example.prompt for example, _ in shown]
    asked = [problem for problem in problems if problem.prompt not in prompts]
    return [replace(problem, prompt=(*turns, *_messages(problem))) for problem in asked]


def _messages(problem: Problem) -> tuple[Message, ...]:
    if isinstance(problem.prompt, str):
        return ({"role": "user", "content": problem.prompt},)
    return problem.prompt
