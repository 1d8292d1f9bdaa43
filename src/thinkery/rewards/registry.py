"""Rewards and verifiers by name, and the making of them from a recipe.

``Problem.verifier`` names who judges a completion; a stage's ``rewards`` name what is paid for. A name with a colon,
``my_rewards.py:helpful_units``, is a reward of the user's own; installed packages bring theirs by name
(``plugins.py``). Left out: what a reward or a verifier does.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from thinkery.models.template import TEMPLATES, Template
from thinkery.plugins import load, names_beside
from thinkery.recipe import RewardSpec
from thinkery.recipe.verification import Verification
from thinkery.rewards.builtin import accuracy_reward, format_reward, length_reward, repetition_reward
from thinkery.rewards.choice import ChoiceVerifier
from thinkery.rewards.code import CodeVerifier
from thinkery.rewards.custom import is_custom, plain_reward
from thinkery.rewards.f1 import F1Verifier
from thinkery.rewards.gym import GymVerifier
from thinkery.rewards.instruction import InstructionVerifier
from thinkery.rewards.interfaces import (
    STANDARD_COLUMNS,
    Reward,
    RewardContext,
    RewardFunction,
    Verifier,
    VerifierFactory,
)
from thinkery.rewards.language import language_reward
from thinkery.rewards.math import MathVerifier
from thinkery.rewards.model import helpful_reward, model_reward, safety_reward
from thinkery.rewards.reward_process import ProcessReward, RewardProcess
from thinkery.rewards.unchecked import NONE, NoVerifier
from thinkery.types import UserError

REWARDS: Mapping[str, RewardFunction] = {
    "accuracy": accuracy_reward,
    "format": format_reward,
    "helpful": helpful_reward,
    "language": language_reward,
    "length": length_reward,
    "model": model_reward,
    "repetition": repetition_reward,
    "safety": safety_reward,
}
VERIFIERS: Mapping[str, VerifierFactory] = {
    "math": MathVerifier,
    "code": CodeVerifier,
    "choice": ChoiceVerifier,
    "f1": F1Verifier,
    "gym": GymVerifier,
    "instruction": InstructionVerifier,
    NONE: NoVerifier,
}


def make_rewards(
    rewards: Mapping[str, RewardSpec], context: RewardContext, process: RewardProcess
) -> dict[str, Reward | ProcessReward]:
    """The rewards of a recipe by their names there; the user's own are loaded in ``process``. Raises ``UserError``."""
    return {
        name: process.load(name, spec.options) if is_custom(name) else make_reward(name, context, spec.options)
        for name, spec in rewards.items()
    }


def make_reward(name: str, context: RewardContext, options: Mapping[str, Any]) -> Reward:
    """The reward of that name with its options. Raises ``UserError`` with the names or options that exist."""
    known = sorted(names_beside("rewards", REWARDS))
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]}?" if close else "your own is written my_rewards.py:my_function;"
        raise UserError(f"there is no reward {name!r}; {hint} known are {', '.join(known)}")
    function: Callable[..., Any] = REWARDS[name] if name in REWARDS else load("rewards", name)
    _check_options(name, function, options)
    own = {"context": context} if "context" in inspect.signature(function).parameters else {}
    reward = plain_reward(name, function, {**options, **own})
    reward([], [], [], **{column: [] for column in STANDARD_COLUMNS})  # says what is wrong with an option
    return reward


def check_rewards(field: str, rewards: Mapping[str, RewardSpec], max_completion_length: int) -> None:
    """Makes every reward once, so that a mistake shows before anything else starts. Raises ``UserError``."""
    context = RewardContext(next(iter(TEMPLATES.values())), max_completion_length)
    with RewardProcess(context) as process:
        try:
            make_rewards(rewards, context, process)
        except UserError as error:
            raise UserError(f"{field}: {error}") from None


def make_verifier(name: str, template: Template, verification: Verification) -> Verifier:
    """The verifier of that name. Raises ``UserError`` with the names that exist."""
    require_verifier(name)
    factory: VerifierFactory = VERIFIERS[name] if name in VERIFIERS else load("verifiers", name)
    return factory(template, verification)


def require_verifier(name: str) -> None:
    """Raises ``UserError`` with the names that exist if there is no such verifier."""
    known = sorted(names_beside("verifiers", VERIFIERS))
    if name not in known:
        raise UserError(f"there is no verifier {name!r}; known are {', '.join(known)}")


def _check_options(name: str, function: RewardFunction, options: Mapping[str, Any]) -> None:
    known = {
        parameter.name: parameter.default is inspect.Parameter.empty
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and parameter.name != "context"
    }
    listed = ", ".join(known) or "none"
    for option in options:
        if option not in known:
            raise UserError(f"reward {name!r} has no option {option!r}; its options: {listed}")
    for option, required in known.items():
        if required and option not in options:
            raise UserError(f"reward {name!r} needs the option {option!r}: {name}: {{weight: 1, {option}: ...}}")
