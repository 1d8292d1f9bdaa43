"""Rewards that are models: helpfulness of the summary, harmlessness of the whole response (DeepSeek-R1, R_general).

A problem belongs to the helpful or to the safety set, as its column ``preference`` says; elsewhere these rewards don't
apply. A helpful score is in standard deviations of the responses that the model learnt from, a safety score is the
probability of being safe, so a weight means as much as beside an accuracy of 0 or 1. The model is loaded when it is
first asked, and torch with it: this module is named in the registry, which worker processes import. Left out: whether
a policy games the model; the stage's probe watches for that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

from thinkery.rewards.interfaces import ModelText, Prompt, RewardContext, Values, text_of
from thinkery.types import PreferenceSet, UserError

if TYPE_CHECKING:
    from thinkery.models.reward_model import RewardModel

SETS = get_args(PreferenceSet)


def helpful_reward(
    prompts: Sequence[Prompt],
    completions: Sequence[ModelText],
    preference: Sequence[str | None] | None = None,
    *,
    context: RewardContext,
    model: str,
) -> Values:
    """``(score - mean) / std`` of the summary, on problems of the helpful set; None on others.

    ``model`` is a pairwise reward model that reads the summary. A completion without a summary is worth the lowest
    score that the model gave to what it learnt from.
    """
    asked = _Asked("helpful", model, ("pairwise", "summary"))
    return _values(asked, context, prompts, completions, preference, on="helpful")


def safety_reward(
    prompts: Sequence[Prompt],
    completions: Sequence[ModelText],
    preference: Sequence[str | None] | None = None,
    *,
    context: RewardContext,
    model: str,
) -> Values:
    """The probability that the whole response is safe, on problems of the safety set; None on others.

    ``model`` is a pointwise reward model that reads the response.
    """
    asked = _Asked("safety", model, ("pointwise", "response"))
    return _values(asked, context, prompts, completions, preference, on="safety")


def model_reward(
    prompts: Sequence[Prompt],
    completions: Sequence[ModelText],
    preference: Sequence[str | None] | None = None,
    *,
    context: RewardContext,
    model: str,
    on: str | None = None,
) -> Values:
    """Any reward model of this project, on all problems, or on those whose column ``preference`` is ``on``."""
    if on is not None and on not in SETS:
        raise UserError(f"reward 'model': on = {on!r}: allowed: {', '.join(SETS)}, or leave it out for all problems")
    return _values(_Asked("model", model, None), context, prompts, completions, preference, on=on)


@dataclass(frozen=True, slots=True)
class _Asked:
    """The reward model that a reward asks, and the objective and the reading that it must have."""

    reward: str
    model: str
    needs: tuple[str, str] | None


def _values(
    asked: _Asked,
    context: RewardContext,
    prompts: Sequence[Prompt],
    completions: Sequence[ModelText],
    preference: Sequence[str | None] | None,
    *,
    on: str | None,
) -> Values:
    """What the model says of the completions of one set; None of the others."""
    if not isinstance(asked.model, str) or not asked.model:
        raise UserError(f"reward {asked.reward!r}: model names a reward model's folder or stage, not {asked.model!r}")
    sets = preference or [None] * len(completions)
    places = [i for i, own in enumerate(sets) if on is None or own == on]
    values: Values = [None] * len(completions)
    if places:
        model = _loaded(asked, context)
        for i, value in zip(places, _worths(model, context, prompts, completions, places), strict=True):
            values[i] = value
    return values


def _worths(
    model: RewardModel,
    context: RewardContext,
    prompts: Sequence[Prompt],
    completions: Sequence[ModelText],
    places: Sequence[int],
) -> list[float]:
    from thinkery.models.reward_model import split_response

    card = model.card
    read = [(prompts[i], *split_response(context.template, text_of(completions[i]))) for i in places]
    unread = [card.reads == "summary" and not answer for _, _, answer in read]
    texts = [model.text(prompt, thinking, answer) for prompt, thinking, answer in read]
    scores = iter(model.score([text for text, nothing in zip(texts, unread, strict=True) if not nothing]))
    return [card.worth(card.lowest if nothing else next(scores)) for nothing in unread]


def _loaded(asked: _Asked, context: RewardContext) -> RewardModel:
    """The model, loaded once for all rewards of a grader."""
    from thinkery.models.reward_model import load_reward_model

    if asked.model not in context.loaded:
        context.loaded[asked.model] = load_reward_model(asked.model)
    model: RewardModel = context.loaded[asked.model]
    card = model.card
    if asked.needs not in (None, (card.objective, card.reads)):
        objective, reads = asked.needs or ("", "")
        raise UserError(
            f"reward {asked.reward!r}: {asked.model} is {card.objective} and reads the {card.reads}, and this reward "
            f"needs {objective} and the {reads}; the reward model: {{model: ...}} takes any"
        )
    return model
