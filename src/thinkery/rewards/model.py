"""Rewards that are models: helpfulness of the summary, harmlessness of the whole response (DeepSeek-R1, R_general).

A problem belongs to the helpful or to the safety set, as its column ``preference`` says; elsewhere these rewards don't
apply. A helpful score is in standard deviations of the responses that the model learnt from, a safety score is the
probability of being safe, so a weight means as much as beside an accuracy of 0 or 1. The model is loaded when it is
first asked, and torch with it: this module is named in the registry, which worker processes import. Left out: whether
a policy games the model; the stage's probe watches for that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, get_args

from thinkery.rewards.interfaces import ModelText, Prompt, Reward, RewardContext, Values, text_of
from thinkery.types import PreferenceSet, UserError

if TYPE_CHECKING:
    from thinkery.models.reward_model import RewardModel

SETS = get_args(PreferenceSet)


def helpful_reward(context: RewardContext, *, model: str) -> Reward:
    """``(score - mean) / std`` of the summary, on problems of the helpful set; None on others.

    ``model`` is a pairwise reward model that reads the summary. A completion without a summary is worth the lowest
    score that the model gave to what it learnt from.
    """
    return _ModelReward(context, model, "helpful", on="helpful", needs=("pairwise", "summary"))


def safety_reward(context: RewardContext, *, model: str) -> Reward:
    """The probability that the whole response is safe, on problems of the safety set; None on others.

    ``model`` is a pointwise reward model that reads the response.
    """
    return _ModelReward(context, model, "safety", on="safety", needs=("pointwise", "response"))


def model_reward(context: RewardContext, *, model: str, on: str | None = None) -> Reward:
    """Any reward model of this project, on all problems, or on those whose column ``preference`` is ``on``."""
    if on is not None and on not in SETS:
        raise UserError(f"reward 'model': on = {on!r}: allowed: {', '.join(SETS)}, or leave it out for all problems")
    return _ModelReward(context, model, "model", on=on, needs=None)


class _ModelReward:
    """One reward model on the problems of one set."""

    def __init__(
        self, context: RewardContext, model: str, name: str, *, on: str | None, needs: tuple[str, str] | None
    ) -> None:
        if not isinstance(model, str) or not model:
            raise UserError(f"reward {name!r}: model names a reward model's folder or stage, not {model!r}")
        self._context, self._ref, self._name, self._on, self._needs = context, model, name, on, needs
        self._model: RewardModel | None = None

    def __call__(
        self,
        prompts: Sequence[Prompt],
        completions: Sequence[ModelText],
        completion_ids: Sequence[Sequence[int]],
        **columns: Sequence[Any],
    ) -> Values:
        sets = columns.get("preference") or [None] * len(completions)
        places = [i for i, own in enumerate(sets) if self._on is None or own == self._on]
        values: Values = [None] * len(completions)
        if not places:
            return values
        if self._model is None:
            self._model = self._load()
        for i, value in zip(places, self._worths(self._model, prompts, completions, places), strict=True):
            values[i] = value
        return values

    def _worths(
        self, model: RewardModel, prompts: Sequence[Prompt], completions: Sequence[ModelText], places: Sequence[int]
    ) -> list[float]:
        from thinkery.models.reward_model import split_response

        card = model.card
        read = [(prompts[i], *split_response(self._context.template, text_of(completions[i]))) for i in places]
        unread = [card.reads == "summary" and not answer for _, _, answer in read]
        texts = [model.text(prompt, thinking, answer) for prompt, thinking, answer in read]
        scores = iter(model.score([text for text, nothing in zip(texts, unread, strict=True) if not nothing]))
        return [card.worth(card.lowest if nothing else next(scores)) for nothing in unread]

    def _load(self) -> RewardModel:
        from thinkery.models.reward_model import load_reward_model

        model = load_reward_model(self._ref)
        card = model.card
        if self._needs not in (None, (card.objective, card.reads)):
            objective, reads = self._needs or ("", "")
            raise UserError(
                f"reward {self._name!r}: {self._ref} is {card.objective} and reads the {card.reads}, and this reward "
                f"needs {objective} and the {reads}; the reward model: {{model: ...}} takes any"
            )
        return model
