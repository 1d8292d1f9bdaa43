"""Losses and advantages by name: the built-in ones, or a function of the user's named by its file or module.

A loss is called as ``losses.policy_loss`` is, an advantage as ``losses.group_advantages``: a function takes what it
names of their arguments, by name. It is tried on a few made-up completions when it is loaded, so that a mistake shows
before a model is. Left out: finding and loading the file (``thinkery.user_code``), and what the built-in ones compute
(``losses.py``).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast, get_args

import torch
from torch import Tensor

from thinkery.training.losses import Advantages, Loss, built_in_advantages, built_in_loss, policy_loss
from thinkery.types import LossType, RewardScale, UserError
from thinkery.user_code import described, load_function, place_of

if TYPE_CHECKING:
    from thinkery.training.learner import LearnerConfig

# What a loss is given of the recipe's, and the value at which it asks for nothing; a function that takes no part in
# what a recipe asks for would leave it undone without a word.
_SETTINGS: Mapping[str, Any] = {
    "max_completion_length": ...,
    "epsilon": ...,
    "epsilon_high": None,
    "delta": None,
    "beta": 0.0,
    "kl_estimator": ...,
    "importance_sampling_correction": "none",
    "importance_sampling_cap": ...,
}
_NEEDS = {"beta": ("reference_logp_N",), "importance_sampling_correction": ("rollout_logp_N",)}
LOSS_ARGUMENTS = tuple(name for name in inspect.signature(policy_loss).parameters if name != "loss_type")
ADVANTAGE_ARGUMENTS = ("totals_PG", "scale", "lengths_PG")


def load_loss(config: LearnerConfig) -> Loss:
    """The loss that ``config.loss_type`` names. Raises ``UserError`` for one that can't be called, or does no loss's
    work on a few made-up completions."""
    settings = {name: getattr(config, name) for name in _SETTINGS}
    if config.epsilon_high is None:
        settings["epsilon_high"] = config.epsilon
    if ":" not in config.loss_type:
        if config.loss_type not in get_args(LossType):
            known = ", ".join(get_args(LossType))
            raise UserError(f"loss_type = {config.loss_type!r}: allowed: {known}, or a function")
        kind = cast(LossType, config.loss_type)
        return Loss(kind, built_in_loss(kind), settings)
    function = load_function(config.loss_type)
    taken = _require_arguments(config.loss_type, function, LOSS_ARGUMENTS)
    for name, nothing in _SETTINGS.items():
        if nothing is not ... and getattr(config, name) != nothing:
            for argument in (name, *_NEEDS.get(name, ())):
                if argument not in taken:
                    raise UserError(
                        f"{config.loss_type} takes no {argument}, so {name} = {getattr(config, name)!r} would do "
                        f"nothing; add the parameter, or leave {name} out of the recipe"
                    )
    loss = Loss(config.loss_type, partial(_called, config.loss_type, function, taken), settings)
    return replace(loss, learns_without_advantage=_tried(loss, reference=config.beta > 0))


def load_advantages(spec: str, scale: RewardScale) -> Advantages:
    """The advantages that ``spec`` names: ``group``, or a function of the user's. Raises ``UserError`` as ``load_loss``
    does."""
    if ":" not in spec:
        return Advantages(spec, built_in_advantages, scale)
    function = load_function(spec)
    taken = _require_arguments(spec, function, ADVANTAGE_ARGUMENTS)
    if scale != "group" and "scale" not in taken:
        raise UserError(
            f"{spec} takes no scale, so scale_rewards = {scale!r} would do nothing; add the parameter scale, or leave "
            "scale_rewards out of the recipe"
        )
    advantages = Advantages(spec, partial(_called, spec, function, taken), scale)
    advantages.of([[0.0, 1.0, 1.0], [0.5, 0.5, 0.5]], [[1, 2, 3], [3, 2, 1]])
    return advantages


def _tried(loss: Loss, *, reference: bool) -> bool:
    """Whether the loss has a gradient where all advantages are 0. Raises ``UserError`` if it is none at all."""
    generator = torch.Generator().manual_seed(0)
    lengths_S = torch.tensor([1, 4, 3])

    def gradient(scale: float) -> Tensor:
        draw = [torch.randn(8, generator=generator) for _ in range(5)]
        logp_N = (-2.0 + 0.3 * draw[0]).requires_grad_()
        near_N = [logp_N.detach() + 0.1 * noise_N for noise_N in draw[1:4]]
        loss_N = loss(
            logp_N=logp_N,
            old_logp_N=near_N[0],
            rollout_logp_N=near_N[1],
            reference_logp_N=near_N[2] if reference else None,
            advantage_N=scale * draw[4],
            lengths_S=lengths_S,
            num_sequences=4,
            num_tokens=10,
        )
        if not bool(torch.isfinite(loss_N).all()):
            raise UserError(f"{loss.spec} returned {loss_N.tolist()} for ordinary log-probabilities")
        loss_N.sum().backward()
        return torch.zeros(8) if logp_N.grad is None else logp_N.grad

    if not bool(gradient(1.0).any()):
        raise UserError(f"{loss.spec}: its loss has no gradient in logp_N, so nothing would be learnt")
    return bool(gradient(0.0).any())


def _require_arguments(spec: str, function: Callable[..., Any], known: Sequence[str]) -> frozenset[str]:
    """Those of the ``known`` arguments that a function takes. Raises ``UserError`` if it needs another."""
    parameters = inspect.signature(function).parameters.values()
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
        return frozenset(known)
    for parameter in parameters:
        if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
            raise UserError(f"{spec}: {parameter.name!r} can't be given by name; remove the / in its signature")
        needed = parameter.default is inspect.Parameter.empty and parameter.kind is not inspect.Parameter.VAR_POSITIONAL
        if needed and parameter.name not in known:
            raise UserError(f"{spec} needs {parameter.name!r}, which there is not; it can take {', '.join(known)}")
    return frozenset(parameter.name for parameter in parameters) & frozenset(known)


def _called(spec: str, function: Callable[..., Any], taken: Collection[str], arguments: Mapping[str, Any]) -> Any:
    """What a function returns for those of the arguments that it takes. Raises ``UserError`` with the user's line."""
    try:
        return function(**{name: value for name, value in arguments.items() if name in taken})
    except Exception as error:
        place = place_of(error)
        raise UserError(f"{spec} raised {described(error)}" + (f"\n  at {place}" if place else "")) from error
