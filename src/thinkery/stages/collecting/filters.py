"""Which samples are kept: readable by rule, in agreement with the reference by a judge, still right once rewritten.

DeepSeek-R1's filters of the cold start and of rejection sampling. Left out: verdicts of rules (``rewards``).
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import compress

from thinkery.models.template import Template
from thinkery.recipe import CollectStage, ReadableSpec
from thinkery.rewards.builtin import ends_in_loop, repetition_share
from thinkery.rewards.grader import Grader, settle
from thinkery.rewards.judges import NoVerdict
from thinkery.rewards.language import language_proportion
from thinkery.rewards.unchecked import NONE
from thinkery.stages.collecting.samples import CollectedSample, Reason
from thinkery.stages.pairs import ask_all, open_judge
from thinkery.types import Judge, Problem, UserError, Verdict

FENCES = ("```", "~~~")


def fault(
    spec: ReadableSpec, thinking: str, length: int, language: str, *, any_language: bool = False
) -> tuple[Reason, str] | None:
    """The first thing that makes a thinking of ``length`` tokens unfit, with a word on how far; None if it is fit.

    ``any_language``: its language doesn't count yet, because it is going to be translated.
    """
    if length < spec.min_length or (spec.max_length is not None and length > spec.max_length):
        return Reason.LENGTH, f"{length} tokens of thinking"
    if spec.max_repetition is not None:
        repeated = repetition_share(thinking)
        if repeated > spec.max_repetition:
            return Reason.REPETITION, f"{repeated:.2f} of it"
        if ends_in_loop(thinking):
            return Reason.REPETITION, "ends in a loop"
    if spec.max_paragraph is not None:
        longest = max(map(len, thinking.split("\n")))
        if longest > spec.max_paragraph:
            return Reason.PARAGRAPH, f"{longest} characters"
    if not spec.code_blocks and any(fence in thinking for fence in FENCES):
        return Reason.CODE, ""
    share = None if any_language else native_share(spec, thinking, language)
    if share is not None:
        return Reason.LANGUAGE, f"{share:.2f} of the words are {language}"
    return None


def native_share(spec: ReadableSpec, thinking: str, language: str) -> float | None:
    """The share of the thinking's words that are in the question's language, where it is too small; else None."""
    if spec.min_language is None:
        return None
    share = language_proportion(thinking, language)
    return share if share is not None and share < spec.min_language else None


class Matcher:
    """Asks the stage's judge about unchecked samples, several at once. ``tell`` hears of its outages.

    Raises ``UserError`` if a problem needs a judge and the stage has none.
    """

    def __init__(
        self, stage: CollectStage, seed: int, problems: Sequence[Problem], tell: Callable[[str], None]
    ) -> None:
        self._seed, self._stage = seed, stage.name
        unchecked = [problem for problem in problems if problem.verifier == NONE]
        if unchecked and stage.judge is None:
            raise UserError(
                f"{stage.name}.judge: {len(unchecked)} of {len(problems)} problems have an answer that no rule can "
                f"check, the first is {unchecked[0].id}; name who compares with the reference, for example judge: mini "
                "or judge: {source: http://host/v1, model: m}, or choose problems with a verifier"
            )
        self._judge: Judge | None = open_judge(stage.judge, tell) if unchecked and stage.judge is not None else None

    def match(self, samples: Sequence[CollectedSample]) -> list[CollectedSample]:
        """The samples, those dropped that don't agree with their reference. What a rule checks passes."""
        open_to_doubt = [sample.unchecked and sample.matched != sample.answer for sample in samples]
        judge = self._judge
        if not any(open_to_doubt) or judge is None:
            return list(samples)

        def matched(sample: CollectedSample) -> CollectedSample:
            try:
                agrees = judge.matches(sample.problem, sample.answer, seed=sample.seed(self._seed, self._stage))
            except NoVerdict as error:
                return sample.settled(Reason.MISMATCHED, str(error))
            return replace(sample, matched=sample.answer) if agrees else sample.settled(Reason.MISMATCHED)

        asked = ask_all(judge, matched, list(compress(samples, open_to_doubt)))
        return [next(asked) if doubted else sample for sample, doubted in zip(samples, open_to_doubt, strict=True)]


_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_LISTED = re.compile(r"^\s*\d+[.)、]\s", re.MULTILINE)
_FENCED = re.compile(r"```.*?```|~~~.*?~~~", re.DOTALL)


class SecondLook:
    """Puts rewritten samples before the verifiers that accepted them; ``deadline_s`` is for all of one call."""

    def __init__(self, grader: Grader, template: Template, deadline_s: float) -> None:
        self._grader, self._template, self._deadline_s = grader, template, deadline_s

    def verify(self, samples: Sequence[CollectedSample]) -> list[CollectedSample]:
        """The samples, those dropped whose rewrite is not what it should be. Without a verifier the judge decides."""
        texts = [self._template.write(sample.thinking, sample.answer) for sample in samples]
        begun = [
            self._grader.verifier_of(sample.problem).begin(text, sample.problem)
            for sample, text in zip(samples, texts, strict=True)
        ]
        deadline = time.monotonic() + self._deadline_s
        verdicts = [settle(verdict, deadline) for verdict in begun]
        return [self._settled(*each) for each in zip(samples, texts, verdicts, strict=True)]

    def _settled(self, sample: CollectedSample, text: str, verdict: Verdict) -> CollectedSample:
        if not self._template.parse(text).well_formed:
            return sample.settled(Reason.UNREFINED, "the rewrite is not well formed")
        if not verdict.correct and not sample.unchecked:
            return sample.settled(Reason.CHANGED, f"{verdict.outcome}: {verdict.reason}")
        if adds_step(sample):
            return sample.settled(Reason.NEW_STEP)
        return sample


def adds_step(sample: CollectedSample) -> bool:
    """Whether the summary has a number that stands neither in the question nor in what was thought and answered.

    Programs in blocks and the numbers of list items don't count.
    """
    summary = _LISTED.sub(" ", _FENCED.sub(" ", sample.answer))
    known = f"{sample.question} {sample.thinking} {sample.text}"
    return not set(_NUMBER.findall(summary)) <= set(_NUMBER.findall(known))
