"""Losses and advantages by name: the built-in ones, or a function of the user's named by its file or module.

A loss is called as ``losses.policy_loss`` is, an advantage as ``losses.group_advantages``: a function takes what it
names of their arguments, by name. It is tried on a few made-up completions when it is loaded, so that a mistake shows
before a model is. Left out: finding and loading the file (``thinkery.user_code``), and what the built-in ones compute
(``losses.py``).
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from thinkery.training.losses import group_advantages, policy_loss
from thinkery.types import Group, RewardScale, UserError
from thinkery.user_code import described, load_function, place_of

if TYPE_CHECKING:
    from thinkery.training.learner import LearnerConfig

Advantage = float | tuple[float, ...]  # one number for all tokens of a completion, or one for each

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


def teaches(advantage: Advantage) -> bool:
    """Whether any token has an advantage."""
    return any(advantage) if isinstance(advantage, tuple) else advantage != 0.0


@dataclass(frozen=True)
class Loss:
    """A loss with the recipe's settings. ``learns_without_advantage``: also where all advantages are 0."""

    spec: str
    function: Callable[..., Any]
    settings: Mapping[str, Any]
    learns_without_advantage: bool = False

    def __call__(self, **arguments: Any) -> Tensor:
        """What each completion token [N] adds to the loss of its minibatch; takes the rest of ``LOSS_ARGUMENTS``."""
        loss_N = _called(self.spec, self.function, {**arguments, **self.settings})
        tokens = len(arguments["logp_N"])
        if not isinstance(loss_N, Tensor) or loss_N.shape != (tokens,) or not loss_N.is_floating_point():
            raise UserError(
                f"{self.spec} returned {_shape_of(loss_N)} for {tokens} tokens; it must return a tensor with one "
                "number a token, what that token adds to the loss"
            )
        if not loss_N.requires_grad:
            raise UserError(f"{self.spec} returned a loss without gradient; compute it from logp_N")
        return loss_N


def load_loss(config: LearnerConfig) -> Loss:
    """The loss that ``config.loss_type`` names. Raises ``UserError`` for one that can't be called, or does no loss's
    work on a few made-up completions."""
    settings = {name: getattr(config, name) for name in _SETTINGS}
    if config.epsilon_high is None:
        settings["epsilon_high"] = config.epsilon
    if ":" not in config.loss_type:
        return Loss(config.loss_type, partial(policy_loss, loss_type=config.loss_type), settings)
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
    loss = Loss(config.loss_type, function, settings)
    return Loss(config.loss_type, function, settings, _tried(loss, reference=config.beta > 0))


@dataclass(frozen=True)
class Advantages:
    """How much better each completion of a group is than the others."""

    spec: str
    function: Callable[..., Any]
    scale: RewardScale

    def __call__(self, groups: Sequence[Group]) -> list[list[Advantage]]:
        """By group, in their order. Raises ``UserError`` if a function of the user's gives anything else."""
        lengths_PG = [[len(completion.token_ids) for completion in group.completions_G] for group in groups]
        return self.of([list(group.totals_G) for group in groups], lengths_PG)

    def of(self, totals_PG: list[list[float]], lengths_PG: list[list[int]]) -> list[list[Advantage]]:
        """The same of the groups' total rewards, and of their completions' lengths in tokens."""
        shape = [list(map(len, lengths_PG)), [list(lengths_G) for lengths_G in lengths_PG]]
        given = {"totals_PG": totals_PG, "scale": self.scale, "lengths_PG": lengths_PG}
        found = _called(self.spec, self.function, given)
        try:
            advantages_PG = [[_advantage(one) for one in advantages_G] for advantages_G in found]
        except (TypeError, ValueError):
            raise self._error(f"{_shape_of(found)}") from None
        if list(map(len, advantages_PG)) != shape[0]:
            raise self._error(f"groups of {list(map(len, advantages_PG))} completions for groups of {shape[0]}")
        for advantages_G, lengths_G in zip(advantages_PG, shape[1], strict=True):
            for advantage, length in zip(advantages_G, lengths_G, strict=True):
                if isinstance(advantage, tuple) and len(advantage) != length:
                    raise self._error(f"{len(advantage)} numbers for a completion of {length} tokens")
                if not all(map(math.isfinite, advantage if isinstance(advantage, tuple) else (advantage,))):
                    raise self._error("an advantage that is no finite number")
        return advantages_PG

    def _error(self, returned: str) -> UserError:
        return UserError(
            f"{self.spec} returned {returned}; it must return one sequence a group, with a number for each completion, "
            "or a sequence of numbers, one for each of its tokens"
        )


def load_advantages(spec: str, scale: RewardScale) -> Advantages:
    """The advantages that ``spec`` names: ``group``, or a function of the user's. Raises ``UserError`` as ``load_loss``
    does."""
    if ":" not in spec:
        return Advantages(spec, lambda totals_PG, scale, lengths_PG: group_advantages(totals_PG, scale), scale)
    function = load_function(spec)
    if scale != "group" and "scale" not in _require_arguments(spec, function, ADVANTAGE_ARGUMENTS):
        raise UserError(
            f"{spec} takes no scale, so scale_rewards = {scale!r} would do nothing; add the parameter scale, or leave "
            "scale_rewards out of the recipe"
        )
    _require_arguments(spec, function, ADVANTAGE_ARGUMENTS)
    advantages = Advantages(spec, function, scale)
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
        loss_N.sum().backward()  # type: ignore[no-untyped-call]
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


def _called(spec: str, function: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """What a function returns for those of the arguments that it takes. Raises ``UserError`` with the user's line."""
    if ":" not in spec:
        return function(**arguments)
    taken = _require_arguments(spec, function, tuple(arguments))
    try:
        return function(**{name: value for name, value in arguments.items() if name in taken})
    except Exception as error:
        place = place_of(error)
        raise UserError(f"{spec} raised {described(error)}" + (f"\n  at {place}" if place else "")) from error


def _advantage(given: Any) -> Advantage:
    """A number, or one for each token, of whatever kind of sequence. Raises ``TypeError`` or ``ValueError``."""
    if isinstance(given, Tensor):
        given = given.tolist()
    return tuple(map(float, given)) if hasattr(given, "__len__") and not isinstance(given, str) else float(given)


def _shape_of(value: Any) -> str:
    return f"a tensor of shape {list(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
