"""A second look at what was rewritten: is it still well formed, still accepted, its summary without new steps?

Left out: samples that nobody rewrote, which were looked at when they were read.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence

from thinkery.models.template import Template
from thinkery.rewards.grader import Grader, settle
from thinkery.stages.collecting.samples import Reason, Sample
from thinkery.types import Verdict

_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_LISTED = re.compile(r"^\s*\d+[.)、]\s", re.MULTILINE)
_FENCED = re.compile(r"```.*?```|~~~.*?~~~", re.DOTALL)


class SecondLook:
    """Puts rewritten samples before the verifiers that accepted them; ``deadline_s`` is for all of one call."""

    def __init__(self, grader: Grader, template: Template, deadline_s: float) -> None:
        self._grader, self._template, self._deadline_s = grader, template, deadline_s

    def verify(self, samples: Sequence[Sample]) -> list[Sample]:
        """The samples, those dropped whose rewrite is not what it should be. Without a verifier the judge decides."""
        texts = [self._template.write(sample.thinking, sample.answer) for sample in samples]
        begun = [
            self._grader.verifier_of(sample.problem).begin(text, sample.problem)
            for sample, text in zip(samples, texts, strict=True)
        ]
        deadline = time.monotonic() + self._deadline_s
        verdicts = [settle(verdict, deadline) for verdict in begun]
        return [self._settled(*each) for each in zip(samples, texts, verdicts, strict=True)]

    def _settled(self, sample: Sample, text: str, verdict: Verdict) -> Sample:
        if not self._template.parse(text).well_formed:
            return sample.settled(Reason.UNREFINED, "the rewrite is not well formed")
        if not verdict.correct and not sample.unchecked:
            return sample.settled(Reason.CHANGED, f"{verdict.outcome}: {verdict.reason}")
        if adds_step(sample):
            return sample.settled(Reason.NEW_STEP)
        return sample


def adds_step(sample: Sample) -> bool:
    """Whether the summary has a number that stands neither in the question nor in what was thought and answered.

    Programs in blocks and the numbers of list items don't count.
    """
    summary = _LISTED.sub(" ", _FENCED.sub(" ", sample.answer))
    known = f"{sample.question} {sample.thinking} {sample.text}"
    return not set(_NUMBER.findall(summary)) <= set(_NUMBER.findall(known))
