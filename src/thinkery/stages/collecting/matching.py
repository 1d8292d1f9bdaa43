"""Where no rule can check: a judge says whether a sample's answer agrees with the reference.

The judge reads what the reader would read, without the thinking. Left out: the judges themselves (``rewards``,
``problems/mini``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import compress

from thinkery.recipe import CollectStage
from thinkery.rewards.judges import NoVerdict
from thinkery.rewards.unchecked import NONE
from thinkery.stages.collecting.samples import Reason, Sample
from thinkery.stages.judging import ask_all, open_judge
from thinkery.types import Judge, Problem, UserError


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

    def match(self, samples: Sequence[Sample]) -> list[Sample]:
        """The samples, those dropped that don't agree with their reference. What a rule checks passes."""
        open_to_doubt = [sample.unchecked and sample.matched != sample.answer for sample in samples]
        judge = self._judge
        if not any(open_to_doubt) or judge is None:
            return list(samples)

        def matched(sample: Sample) -> Sample:
            try:
                agrees = judge.matches(sample.problem, sample.answer, seed=sample.seed(self._seed, self._stage))
            except NoVerdict as error:
                return sample.settled(Reason.MISMATCHED, str(error))
            return replace(sample, matched=sample.answer) if agrees else sample.settled(Reason.MISMATCHED)

        asked = ask_all(judge, matched, list(compress(samples, open_to_doubt)))
        return [next(asked) if doubted else sample for sample, doubted in zip(samples, open_to_doubt, strict=True)]
