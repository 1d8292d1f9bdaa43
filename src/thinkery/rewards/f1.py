"""How much of an answer's words are right: the F1 of reading tasks (Dua et al. 2019, DROP, arXiv 1903.00161).

The reference is JSON text, a list of accepted answers, each a list of its spans; a text alone is the one answer. Words
are compared without case, articles and punctuation, numbers by their value; spans are paired so that the sum is
largest, and a span whose numbers are all wrong is worth nothing. A verdict is ``correct`` where F1 is 1, and its score
is F1, which ``accuracy`` pays. Left out: synonyms, and numbers written as words.
"""

from __future__ import annotations

import json
import re
import string
from collections.abc import Sequence

from thinkery.models.template import Template
from thinkery.recipe.verification import Verification
from thinkery.rewards.answers.extraction import written_answer
from thinkery.rewards.interfaces import completion_with_answer
from thinkery.types import Outcome, Problem, Verdict

MAX_ANSWER = 2000  # characters
MAX_SPANS = 12

_LEAD_IN = re.compile(r"^.*?\b(?:answers?|result)\s*(?:is|are|:)\s*:?\s*", re.IGNORECASE | re.DOTALL)
_DRESS = re.compile(r"\\(?:text|textbf|mathrm)(?![A-Za-z])|[{}$`]|\*\*")
_ARTICLES = frozenset({"a", "an", "the"})
_PUNCTUATION = str.maketrans("", "", string.punctuation + "“”‘’«»。，、；：！？")
_FIRST_CUTS, _THEN_CUTS = re.compile(r"[;\n；]"), re.compile(r",(?!\d{3}\b)\s*(?:and\s+)?|\s+and\s+|、|和")

Bag = frozenset[str]


class F1Verifier:
    """Judges answers that are texts (a ``Verifier``)."""

    def __init__(self, template: Template, verification: Verification) -> None:
        self._template = template

    def begin(self, completion: str, problem: Problem) -> Verdict:
        """The verdict; ``reference_unparseable`` if the reference accepts nothing."""
        try:
            accepted = read_accepted(problem.reference)
        except ValueError as error:
            return Verdict(Outcome.REFERENCE_UNPARSEABLE, str(error))
        written = written_answer(completion, prefilled_think=self._template.prefilled_think)
        if written.reason:
            return Verdict(Outcome.NO_ANSWER, written.reason)
        marked = written.tag if written.boxed is None else written.boxed
        answer = _stated(written.plain or "") if marked is None else _DRESS.sub("", marked).strip()
        if not answer:
            return Verdict(Outcome.NO_ANSWER, "the answer is empty")
        if len(answer) > MAX_ANSWER:
            return Verdict(Outcome.WRONG, f"the answer is longer than {MAX_ANSWER} characters", answer[:200], 0.0)
        best = max(f1(answer, spans) for spans in accepted)
        outcome = Outcome.CORRECT if best == 1.0 else Outcome.WRONG
        return Verdict(outcome, f"F1 {best:.2f}", " ".join(sorted(_bag(answer))), best)

    def reference_completion(self, problem: Problem) -> str | None:
        """A completion that gives the first accepted answer."""
        try:
            spans = read_accepted(problem.reference)[0]
        except ValueError:
            spans = [problem.reference]
        return completion_with_answer(self._template, "; ".join(spans))

    def close(self) -> None:
        """Nothing was started."""


def read_accepted(reference: str) -> list[list[str]]:
    """The accepted answers, each as its spans. Raises ``ValueError`` if there is none, or one has no words."""
    accepted: object = [[reference]]
    if reference.lstrip().startswith("["):
        try:
            read = json.loads(reference)
        except (ValueError, RecursionError):
            read = None
        if isinstance(read, list):
            accepted = [[one] if isinstance(one, str) else one for one in read]
    if not isinstance(accepted, list) or not accepted:
        raise ValueError("the reference accepts no answer: write a text, or a JSON list of lists of texts")
    for spans in accepted:
        if not isinstance(spans, list) or not spans or not all(isinstance(span, str) and _bag(span) for span in spans):
            raise ValueError("the reference must hold lists of texts that have words or numbers")
        if len(spans) > MAX_SPANS:
            raise ValueError(f"the reference has an answer of more than {MAX_SPANS} spans")
    return accepted


def f1(answer: str, spans: Sequence[str]) -> float:
    """The F1 of an answer against the spans of one that is right: 1 if every word is, of every span."""
    references = [_bag(span) for span in spans]
    said = [_bag(part) for part in (_parts(answer) if len(spans) > 1 else [answer])]
    said = [bag for bag in said if bag]
    if not said or len(said) > 2 * MAX_SPANS:
        return 0.0
    return _paired(references, said) / max(len(references), len(said))


def _paired(references: Sequence[Bag], said: Sequence[Bag]) -> float:
    """The largest sum over pairs of a span with what was said, each used once; ``best`` is by the set of spans used."""
    best = {0: 0.0}
    for bag in said:
        for used, sum_so_far in list(best.items()):
            for i, gold in enumerate(references):
                if not used >> i & 1:
                    key = used | 1 << i
                    best[key] = max(best.get(key, 0.0), sum_so_far + _overlap(gold, bag))
    return max(best.values())


def _overlap(gold: Bag, said: Bag) -> float:
    numbers = {word for word in gold if _number(word) is not None}
    shared = len(gold & said)
    if not shared or (numbers and not numbers & said):
        return 0.0
    return 2 * shared / (len(gold) + len(said))


def _bag(text: str) -> Bag:
    """The words of a text as they are compared."""
    words = []
    for token in re.split(r"[\s\-–—]+", text.casefold()):
        bare = token.strip(string.punctuation.replace("-", "").replace(".", "") + "“”‘’$€£%").rstrip(".")
        number = _number(bare)
        words.append(number if number is not None else bare.translate(_PUNCTUATION))
    return frozenset(word for word in words if word and word not in _ARTICLES)


def _number(word: str) -> str | None:
    """A number in normal form; None for what is none."""
    if not re.fullmatch(r"(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?", word) or not re.search(r"\d", word):
        return None
    whole, dot, part = word.replace(",", "").partition(".")
    return (whole.lstrip("0") or "0") + (dot + part.rstrip("0") if part.rstrip("0") else "")


def _parts(answer: str) -> list[str]:
    first = [part for part in _FIRST_CUTS.split(answer) if part.strip()]
    return first if len(first) > 1 else _THEN_CUTS.split(answer)


def _stated(plain: str) -> str:
    """What a text without a box or a tag gives as its answer: its last line, without ``The answer is``."""
    lines = [line for line in plain.strip().splitlines() if line.strip()]
    return _LEAD_IN.sub("", _DRESS.sub("", lines[-1])).strip() if lines else ""
