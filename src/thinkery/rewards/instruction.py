"""Does an answer keep the constraints that its question states? For instructions that rules can check, as in IFEval.

A problem's column ``constraints`` lists them: ``thinkery.constraints`` says which there are; ``language`` is added
here, and so are IFEval's own (``ifeval.py``). What is judged is what the reader sees: the answer tag's content, or all
that follows the thinking. Every constraint must hold. Left out: whether the answer is any good beyond them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from thinkery.constraints import RULES, Rule, normal, read_rules
from thinkery.models.template import Template
from thinkery.recipe.verification import Verification
from thinkery.rewards.answers.extraction import after_thinking, written_answer
from thinkery.rewards.ifeval import IFEVAL, ResponseLanguage
from thinkery.rewards.interfaces import completion_with_answer
from thinkery.rewards.language import language_proportion
from thinkery.rewards.words import require_language
from thinkery.types import Outcome, Problem, UserError, Verdict

CONSTRAINTS = "constraints"
MAX_ANSWER = 1 << 14  # characters


class Language(Rule):
    """``share`` of the words, or more, are in the language ``value`` (an ISO 639 code)."""

    type: Literal["language"]
    value: str
    share: Annotated[float, Field(gt=0, le=1)] = 0.9

    def holds(self, text: str) -> bool:
        """Whether they are; a text without words has no language."""
        proportion = language_proportion(text, self.value)
        return proportion is not None and proportion >= self.share


ALL_RULES: Mapping[str, type[Rule]] = {**RULES, "language": Language, **IFEVAL}


class InstructionVerifier:
    """Judges answers by their problem's constraints (a ``Verifier``)."""

    def __init__(self, template: Template, verification: Verification) -> None:
        self._template = template

    def begin(self, completion: str, problem: Problem) -> Verdict:
        """The verdict. Raises ``UserError`` for a constraint that there isn't."""
        rules = rules_of(problem)
        written = written_answer(completion, prefilled_think=self._template.prefilled_think)
        if written.reason:
            return Verdict(Outcome.NO_ANSWER, written.reason)
        after = after_thinking(completion, prefilled_think=self._template.prefilled_think)
        answer = ((after or "") if written.tag is None else written.tag).strip()
        if not answer:
            return Verdict(Outcome.NO_ANSWER, "the answer is empty")
        if len(answer) > MAX_ANSWER:
            return Verdict(Outcome.WRONG, f"the answer is longer than {MAX_ANSWER} characters", normal(answer[:200]))
        broken = [str(rule) for rule in rules if not rule.holds(answer)]
        if broken:
            return Verdict(Outcome.WRONG, f"not kept: {'; '.join(broken)}", normal(answer))
        return Verdict(Outcome.CORRECT, "every constraint is kept", normal(answer))

    def reference_completion(self, problem: Problem) -> str | None:
        """A completion that gives the reference; None where there is none."""
        rules_of(problem)
        if not problem.reference:
            return None
        return completion_with_answer(self._template, problem.reference, boxed=False)

    def close(self) -> None:
        """Nothing was started."""


def rules_of(problem: Problem) -> list[Rule]:
    """The rules of a problem. Raises ``UserError`` for a constraint that there isn't."""
    try:
        rules = read_rules(problem.columns.get(CONSTRAINTS), ALL_RULES)
    except ValueError as error:
        raise UserError(f"problem {problem.id}: {error}") from None
    for rule in rules:
        if isinstance(rule, Language | ResponseLanguage):
            require_language(rule.value if isinstance(rule, Language) else rule.language)
    return rules
