"""What a step says about itself: statistics of its completions; seconds, tokens, FLOPs and bytes of its parts.

Completions: lengths, reflection, language, coherence; rows for the run folder. Parts: ``tokens/<part>``,
``flops/<part>`` and ``bytes/<part>`` stand beside ``time/<part>`` in ``metrics.jsonl``, and a rollout's
``steps/rollout``, so what a run cost, and at which rate, can be told afterwards. Left out: rewards (``rewards``),
figures of held-out evaluations (``evaluation``), what a forward costs (``models.flops``), reward models and the probe.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from thinkery.evaluation.metrics import cons_at_k, reflection_share, reflections_per_completion
from thinkery.models.flops import Compute, Lengths, Shape, forward_compute, policy_shape, shape_of, update_compute
from thinkery.models.loading import Policy
from thinkery.models.pretrained import make_model, read_config
from thinkery.models.template import Template
from thinkery.recipe import RLStage
from thinkery.rewards.builtin import ends_in_loop
from thinkery.rewards.language import language_proportion
from thinkery.rewards.words import require_language
from thinkery.stages.advantage_estimator import learner_config
from thinkery.stages.context import StageContext
from thinkery.training.backend import random_parts
from thinkery.training.custom import load_loss
from thinkery.training.learner import Sample
from thinkery.training.packing import Tokens
from thinkery.types import Completion, Group, Outcome, UserError


def health_metrics(groups: Sequence[Group], policy: Policy) -> dict[str, float]:
    """``incoherent`` and ``language``, over all completions of a step.

    ``incoherent``: the share that is cut off, malformed, or ends its thinking or its answer in a loop (DeepSeek-R1
    samples its last RL at a temperature of 0.7, since at 1 much is incoherent). ``language``: the mean share of the
    thinking's words that are in the question's language, as the reward ``language`` reads it by default; over
    completions with words, of problems in a language that can be told apart, and left out where there are none.
    """
    completions = [completion for group in groups for completion in group.completions_G]
    shares = [
        language_proportion(thinking_of(completion, policy), group.problem.language)
        for group in groups
        if _can_be_told(group.problem.language)
        for completion in group.completions_G
    ]
    known = [share for share in shares if share is not None]
    metrics = {"incoherent": statistics.fmean(_incoherent(completion, policy.template) for completion in completions)}
    return metrics | ({"language": statistics.fmean(known)} if known else {})


def _incoherent(completion: Completion, template: Template) -> bool:
    parsed = template.parse(completion.text)
    if completion.finish_reason == "length" or not parsed.well_formed:
        return True
    return any(ends_in_loop(part) for part in (parsed.thinking, parsed.answer) if part)


@cache
def _can_be_told(language: str) -> bool:
    try:
        require_language(language)
    except UserError:
        return False
    return True


def thinking_of(completion: Completion, policy: Policy) -> str:
    """The thinking, or the whole text where none was marked."""
    thinking = policy.template.parse(completion.text).thinking
    return completion.text if thinking is None else thinking


@dataclass(frozen=True, slots=True)
class Reading:
    """A completion's thinking and how many tokens it has."""

    thinking: str
    length: int


def read(completions: Sequence[Completion], policy: Policy) -> dict[tuple[str, int], Reading]:
    """The readings of completions by (problem id, index), tokenised together."""
    if not completions:
        return {}
    thinkings = [thinking_of(completion, policy) for completion in completions]
    ids = policy.tokenizer(thinkings, add_special_tokens=False)["input_ids"]
    return {
        (completion.problem_id, completion.index): Reading(thinking, len(tokens))
        for completion, thinking, tokens in zip(completions, thinkings, ids, strict=True)
    }


def reading_metrics(groups: Sequence[Group], policy: Policy) -> dict[str, float]:
    """Thinking length (tokens), share of completions that reflect, majority vote over each group that is checked."""
    readings = read([completion for group in groups for completion in group.completions_G], policy).values()
    thinkings = [reading.thinking for reading in readings]
    checked = [g.verdicts_G for g in groups if any(v.outcome is not Outcome.UNCHECKED for v in g.verdicts_G)]
    cons = {"cons": statistics.fmean(map(cons_at_k, checked))} if checked else {}
    return cons | {
        "completions/mean_thinking_length": statistics.fmean(reading.length for reading in readings),
        "reflection": reflection_share(thinkings),
        "reflections_per_completion": reflections_per_completion(thinkings),
    }


def completion_rows(
    groups: Sequence[Group], advantages_PG: Sequence[Sequence[float]], policy: Policy, limit: int
) -> list[dict[str, Any]]:
    """At most ``limit`` completions as rows for the run folder, taken from all groups alike."""
    width = max((len(group.completions_G) for group in groups), default=0)
    chosen = [(p, g) for g in range(width) for p, group in enumerate(groups) if g < len(group.completions_G)][:limit]
    return [_row(groups[p], g, advantages_PG[p][g], policy) for p, g in chosen]


def _row(group: Group, index: int, advantage: float, policy: Policy) -> dict[str, Any]:
    problem, completion, verdict = group.problem, group.completions_G[index], group.verdicts_G[index]
    parsed = policy.template.parse(completion.text)
    return {
        "problem_id": problem.id,
        "index": completion.index,
        "prompt": problem.prompt if isinstance(problem.prompt, str) else policy.template.render(problem.prompt),
        "completion": completion.text,
        "thinking": parsed.thinking,
        "answer": parsed.answer,
        "reference": problem.reference,
        "correct": verdict.correct,
        "outcome": verdict.outcome.value,
        "reason": verdict.reason,
        "reward": group.totals_G[index],
        "advantage": advantage,
        "level": problem.level,
        "language": problem.language,
        "length": len(completion.token_ids),
        "finish_reason": completion.finish_reason,
    }


ROLLOUT, GRADING, REFERENCE, UPDATE = "rollout", "grading", "reference", "update"


def work_metrics(work: Mapping[str, Compute]) -> dict[str, float]:
    """``tokens/<part>``, ``flops/<part>``, ``bytes/<part>`` of every part that has any; ``steps/<part>`` likewise."""
    return {
        f"{name}/{part}": float(value)
        for part, one in work.items()
        for name, value in (("tokens", one.tokens), ("flops", one.flops), ("bytes", one.bytes), ("steps", one.steps))
        if one.tokens and value
    }


def pace(seconds: Mapping[str, float], tokens: int) -> dict[str, float]:
    """``time/<part>`` and their sum ``time/step``, and ``tokens`` a second over all of it."""
    total = sum(seconds.values())
    times = {f"time/{part}": value for part, value in seconds.items()}
    return times | {"time/step": total, "tokens_per_second": tokens / total}


def lengths_of(samples: Iterable[Tokens]) -> list[Lengths]:
    """The samples' lengths, those with one prompt together."""
    by_prompt: dict[tuple[int, ...], list[int]] = {}
    for sample in samples:
        by_prompt.setdefault(tuple(sample.prompt_ids), []).append(len(sample.token_ids))
    return [Lengths(len(prompt), tuple(completions)) for prompt, completions in by_prompt.items()]


class LearningWork:
    """What learning from a step's samples costs in an RL stage: policy, critic, teacher."""

    def __init__(self, stage: RLStage, context: StageContext, policy: Policy) -> None:
        self._stage, self._seed = stage, context.seed
        loss = load_loss(learner_config(stage, context.seed))
        self._forwards_all = stage.beta > 0 or loss.learns_without_advantage
        self._shape = policy_shape(policy)
        self._teacher = None if stage.teacher is None else _shape_at(context.resolve(stage.teacher), policy)

    def of(self, samples: Sequence[Sample], step: int, *, learns: bool) -> dict[str, Compute]:
        """By part; 0-based ``step``. ``learns``: whether the policy does, or its critic alone."""
        stage, work = self._stage, {REFERENCE: Compute(), UPDATE: Compute()}
        if self._teacher is not None:
            work[REFERENCE] += forward_compute(self._teacher, lengths_of(samples))
        if stage.advantage_estimator == "gae":
            everything = lengths_of(samples)
            work[UPDATE] += forward_compute(self._shape, everything, head=False)
            work[UPDATE] += self._passes(everything, head=False)
        if learns:
            live = [sample for sample in samples if self._forwards_all or sample.teaches]
            work[UPDATE] += self._passes(lengths_of(live))
            work[REFERENCE] += self._frozen(samples, step)
        return work

    def _passes(self, batch: Sequence[Lengths], *, head: bool = True) -> Compute:
        once = update_compute(self._shape, batch, updates=self._stage.num_minibatches, head=head)
        return sum([once] * self._stage.num_iterations, Compute()) if batch else Compute()

    def _frozen(self, samples: Sequence[Sample], step: int) -> Compute:
        """Forwards without gradient: under the old policy, where a minibatch comes after the first, and the reference.

        As long as the reference is the policy itself its log-probabilities are the old ones.
        """
        stage = self._stage
        parts = random_parts(samples, stage.num_minibatches, seed=self._seed, step=step, epoch=0)
        later = [samples[index] for part in parts[1:] for index in part]
        work = self._forward([sample for sample in later if self._forwards_all or sample.teaches])
        if stage.beta > 0:
            refresh = stage.reference_refresh_steps
            fresh = step == 0 or (refresh is not None and step % refresh == 0)
            work += self._forward(later if fresh else samples)
        return work

    def _forward(self, samples: Sequence[Sample]) -> Compute:
        return forward_compute(self._shape, lengths_of(samples)) if samples else Compute()


def _shape_at(place: str, policy: Policy) -> Shape:
    """The shape of a model that reads the policy's tokens, from its configuration alone."""
    with torch.device("meta"):
        model = make_model(AutoModelForCausalLM, read_config(place, place), place)
    return shape_of(model, policy.valid_vocab, policy.compute_dtype)
