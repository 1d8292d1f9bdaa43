"""The parts of a stage's step as metrics: seconds, and the tokens, FLOPs and bytes that they dealt with.

``tokens/<part>``, ``flops/<part>`` and ``bytes/<part>`` stand beside ``time/<part>`` in ``metrics.jsonl``, and a
rollout's ``steps/rollout``, so what a run cost, and at which rate, can be told afterwards. Left out: what a forward
costs (``models.flops``), reward models and the probe.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from transformers import AutoModelForCausalLM

from thinkery.models.flops import Lengths, Shape, Work, forward_work, policy_shape, shape_of, update_work
from thinkery.models.loading import Policy
from thinkery.models.pretrained import make_model, read_config
from thinkery.recipe import RLStage
from thinkery.stages.context import StageContext
from thinkery.training.backend import random_parts
from thinkery.training.learner import Sample
from thinkery.training.packing import Tokens

ROLLOUT, GRADING, REFERENCE, UPDATE = "rollout", "grading", "reference", "update"


def work_metrics(work: Mapping[str, Work]) -> dict[str, float]:
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
        self._shape = policy_shape(policy)
        self._teacher = None if stage.teacher is None else _shape_at(context.resolve(stage.teacher), policy)

    def of(self, samples: Sequence[Sample], step: int, *, learns: bool) -> dict[str, Work]:
        """By part; 0-based ``step``. ``learns``: whether the policy does, or its critic alone."""
        stage, work = self._stage, {REFERENCE: Work(), UPDATE: Work()}
        if self._teacher is not None:
            work[REFERENCE] += forward_work(self._teacher, lengths_of(samples))
        if stage.advantage_estimator == "gae":
            everything = lengths_of(samples)
            work[UPDATE] += forward_work(self._shape, everything, head=False)
            work[UPDATE] += self._passes(everything, head=False)
        if learns:
            live = [sample for sample in samples if stage.beta > 0 or sample.teaches]
            work[UPDATE] += self._passes(lengths_of(live))
            work[REFERENCE] += self._frozen(samples, step)
        return work

    def _passes(self, batch: Sequence[Lengths], *, head: bool = True) -> Work:
        once = update_work(self._shape, batch, updates=self._stage.num_minibatches, head=head)
        return sum([once] * self._stage.num_iterations, Work()) if batch else Work()

    def _frozen(self, samples: Sequence[Sample], step: int) -> Work:
        """Forwards without gradient: under the old policy, where a minibatch comes after the first, and the reference.

        As long as the reference is the policy itself its log-probabilities are the old ones.
        """
        stage = self._stage
        parts = random_parts(samples, stage.num_minibatches, seed=self._seed, step=step, epoch=0)
        later = [samples[index] for part in parts[1:] for index in part]
        work = self._forward([sample for sample in later if stage.beta > 0 or sample.teaches])
        if stage.beta > 0:
            refresh = stage.reference_refresh_steps
            fresh = step == 0 or (refresh is not None and step % refresh == 0)
            work += self._forward(later if fresh else samples)
        return work

    def _forward(self, samples: Sequence[Sample]) -> Work:
        return forward_work(self._shape, lengths_of(samples)) if samples else Work()


def _shape_at(place: str, policy: Policy) -> Shape:
    """The shape of a model that reads the policy's tokens, from its configuration alone."""
    with torch.device("meta"):
        model = make_model(AutoModelForCausalLM, read_config(place, place), place)
    return shape_of(model, policy.valid_vocab, policy.compute_dtype)
