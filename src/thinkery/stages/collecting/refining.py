"""Who rewrites kept samples into readable demonstrations, and what they can do for which problems.

Left out: the rewriting itself (``tidying``, ``few_shot``, ``endpoint``), and the second look at the answer
(``verifying``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from thinkery.models.loading import Policy
from thinkery.problems.mini import translation
from thinkery.recipe import CollectStage, JudgeSpec, ReadableSpec, RefineSpec
from thinkery.stages.collecting.asking import Asker
from thinkery.stages.collecting.endpoint import EndpointRewriter, EndpointTranslator
from thinkery.stages.collecting.few_shot import FewShotRewriter
from thinkery.stages.collecting.readable import foreign_share
from thinkery.stages.collecting.samples import Reason, Sample
from thinkery.stages.collecting.tidying import MINI, summarize, tidy
from thinkery.stages.context import StageContext
from thinkery.types import Problem, UserError


class Refiner(Protocol):
    """Rewrites samples. Each comes back with other words, or settled with why it can't."""

    def refine(self, samples: Sequence[Sample], step: int) -> list[Sample]:
        """The samples in their order; ``step`` is the batch, from which random numbers are counted."""
        ...


def open_refiner(
    stage: CollectStage, policy: Policy, problems: Sequence[Problem], context: StageContext
) -> Refiner | None:
    """The stage's refiner, if it has one. Raises ``UserError`` for what it can't do with these problems."""
    spec, seed = stage.refine, context.seed
    if spec is None:
        return None
    where = f"{stage.name}.refine"
    if spec.translate and stage.readable.min_language is None:
        raise UserError(f"{where}.translate: set readable.min_language, below which thinking is translated")
    if spec.by == "few-shot":
        rollout = context.engines.rollout(policy, max_slots=stage.max_slots, vllm=stage.vllm)
        return FewShotRewriter(stage, policy, rollout, seed)
    asker = None
    if spec.endpoint is not None:
        asker = Asker(_endpoint(where, spec.endpoint), seed, stage.name, context.view.note)
    if spec.by == "endpoint":
        assert asker is not None  # the recipe refuses it without
        return EndpointRewriter(asker)
    other = next((problem for problem in problems if not problem.id.startswith(MINI)), None)
    if spec.translate and asker is None and other is not None:
        raise UserError(
            f"{where}.translate: rules translate the miniature world's thinking alone, and problem {other.id} is not "
            "of it; name an endpoint: {source: http://host/v1, model: m}"
        )
    return RuleRefiner(spec, stage.readable, asker)


class RuleRefiner:
    """Tidies thinking and writes summaries by rule; what is in another language is translated first."""

    def __init__(self, spec: RefineSpec, readable: ReadableSpec, asker: Asker | None) -> None:
        self._translate, self._readable = spec.translate, readable
        self._translator = EndpointTranslator(asker) if asker is not None else None

    def refine(self, samples: Sequence[Sample], step: int) -> list[Sample]:
        """The samples tidied, or dropped where their thinking can't be translated whole."""
        if self._translate:
            foreign = [
                sample
                for sample in samples
                if foreign_share(self._readable, sample.thinking, sample.problem.language) is not None
            ]
            translate = _by_phrases if self._translator is None else self._translator.translate
            translated = {(sample.problem.id, sample.index): sample for sample in translate(foreign)}
            samples = [translated.get((sample.problem.id, sample.index), sample) for sample in samples]
        return [sample if sample.reason is not None else _by_rule(sample) for sample in samples]


def _by_rule(sample: Sample) -> Sample:
    problem = sample.problem
    return sample.rewrite(tidy(sample.thinking, problem.language), summarize(problem, sample.answer))


def _by_phrases(samples: Sequence[Sample]) -> list[Sample]:
    translated = []
    for sample in samples:
        text = translation.translate(sample.thinking, sample.problem.language)
        if text is None:
            translated.append(sample.settled(Reason.LANGUAGE, "not all of its phrases can be translated"))
        else:
            translated.append(sample.rewrite(text, sample.answer))
    return translated


def _endpoint(where: str, spec: JudgeSpec) -> JudgeSpec:
    if not spec.source.startswith("http"):
        raise UserError(f"{where}.endpoint.source = {spec.source!r}: only an endpoint can write, http://host/v1")
    return spec
