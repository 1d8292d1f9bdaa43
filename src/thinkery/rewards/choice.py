r"""Is a completion's choice among options the reference? For science and logic questions; the verdict comes at once.

The answer stands after the thinking: in the answer tag, else in the last box, else stated in plain text. The
reference is a letter from A to J, several (``A, C``, which need exactly that set), or an option's whole text, where the
problem has a column ``choices`` or ``options``. Left out: how options are read (``options``).
"""

from __future__ import annotations

from thinkery.models.template import Template
from thinkery.recipe.verification import Verification
from thinkery.rewards.answers.extraction import written_answer
from thinkery.rewards.answers.options import Options, mentions, read_choice, read_reference, spell
from thinkery.rewards.interfaces import completion_with_answer
from thinkery.types import Outcome, Problem, Verdict

MAX_ANSWER = 2000  # characters of a tag or a box
MAX_TEXT = 4000  # characters of plain text that are searched, from the end


class ChoiceVerifier:
    """Judges choices (a ``Verifier``)."""

    def __init__(self, template: Template, verification: Verification) -> None:
        self._template = template

    def begin(self, completion: str, problem: Problem) -> Verdict:
        """The verdict; ``reference_unparseable`` if the reference is none of the options."""
        try:
            options = Options.of(problem.columns)
        except ValueError as error:
            return Verdict(Outcome.REFERENCE_UNPARSEABLE, f"the problem can't be read: {error}")
        expected = read_reference(problem.reference, options)
        if expected is None:
            return Verdict(
                Outcome.REFERENCE_UNPARSEABLE,
                f"the reference {problem.reference[:80]!r} is neither a letter ({options.letters[0]} to "
                f"{options.letters[-1]}) nor the text of an option; write an index as its letter",
            )
        return self._judge(completion, expected, options)

    def reference_completion(self, problem: Problem) -> str | None:
        """A completion that chooses the reference: in its own words where they are an answer, else by its letters."""
        try:
            options = Options.of(problem.columns)
        except ValueError:
            return completion_with_answer(self._template, problem.reference)
        letters = read_reference(problem.reference, options)
        said = read_choice(problem.reference, options, statement_only=False)
        return completion_with_answer(
            self._template, spell(letters) if letters and said != letters else problem.reference
        )

    def close(self) -> None:
        """Nothing was started."""

    def _judge(self, completion: str, expected: frozenset[str], options: Options) -> Verdict:
        written = written_answer(completion, prefilled_think=self._template.prefilled_think)
        if written.reason:
            return Verdict(Outcome.NO_ANSWER, written.reason)
        marked = written.tag if written.boxed is None else written.boxed
        plain = marked is None
        answer = (written.plain or "")[-MAX_TEXT:] if marked is None else marked
        if not answer.strip():
            return Verdict(Outcome.NO_ANSWER, "the answer is empty")
        if not plain and len(answer) > MAX_ANSWER:
            return Verdict(Outcome.WRONG, f"the answer is longer than {MAX_ANSWER} characters", answer[:MAX_ANSWER])
        chosen = read_choice(answer, options, statement_only=plain)
        if chosen is None and written.tag is None and written.after and not mentions(answer):
            answer = written.after[-MAX_TEXT:]  # a formula in a box, and the choice stated below it
            chosen = read_choice(answer, options, statement_only=True)
        if chosen is None:
            if plain:
                return Verdict(Outcome.NO_ANSWER, "no plain statement of one choice")
            return Verdict(Outcome.WRONG, "no option is clearly chosen", answer.strip())
        if chosen == expected:
            return Verdict(Outcome.CORRECT, "the same choice", spell(chosen))
        return Verdict(Outcome.WRONG, "another choice", spell(chosen))
