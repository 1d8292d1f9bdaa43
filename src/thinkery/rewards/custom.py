"""Users' own rewards: a function in their file, in TRL's, verl's or OpenRLHF's signature, becomes a reward like ours.

The convention is recognised by the parameters' names, and only what a function names is handed to it. Left out:
calling them and what happens when they fail (``calling``), their process (``reward_process``), finding and loading the
file (``thinkery.user_code``).
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thinkery.rewards.interfaces import (
    STANDARD_COLUMNS,
    BadValueError,
    ModelText,
    Prompt,
    Reward,
    RewardContext,
    Values,
    text_of,
)
from thinkery.types import Problem, UserError
from thinkery.user_code import load_function, source_files

TRL = ("prompts", "completions", "completion_ids")
VERL = ("data_source", "solution_str", "ground_truth", "extra_info")
OPENRLHF = ("queries", "prompts", "labels")
REFERENCE_NAMES = ("answer", "solution", "ground_truth")  # what data sets call the reference

_SIGNATURES = """\
  f(completions, ...) as in TRL: any of prompts, completions, completion_ids, then columns of the problems by name
  f(data_source, solution_str, ground_truth, extra_info=None) as in verl, for one completion
  f(queries, prompts, labels) as in OpenRLHF"""


def is_custom(name: str) -> bool:
    """Whether a reward's name in a recipe means a user's own."""
    return ":" in name or name.endswith(".py")


def load_reward(spec: str, context: RewardContext, **options: Any) -> Reward:
    """The user's function ``path/to/file.py:name`` or ``package.module:name`` as a reward.

    Relative paths start at the working directory. ``options`` are passed on as keyword arguments; the function must
    have them as parameters with a default. Raises ``UserError`` where the file, the function or an option is wrong.
    """
    function = load_function(spec)
    parameters = _parameters(spec, function)
    _require_options(spec, parameters, options)
    call = _Call(spec, function, parameters, options)
    if "solution_str" in parameters:
        _require_only(call, VERL, "verl")
        return _verl(call)
    if "queries" in parameters:
        _require_only(call, OPENRLHF, "OpenRLHF")
        return _openrlhf(call, context)
    if parameters.keys() & set(TRL):
        return TrlReward(call)
    raise UserError(f"{spec}({', '.join(parameters)}): unknown signature; write one of\n{_SIGNATURES}")


def columns_of(problems: Iterable[Problem]) -> frozenset[str]:
    """The names of all columns that any of the problems has."""
    return frozenset(name for problem in problems for name in problem.columns)


def require_columns(reward: Reward, columns: frozenset[str]) -> None:
    """Raises ``UserError`` if a user's reward needs a column that is not among those; before the first step.

    ``columns`` are those of all problems that will come: what only some of them have is None in a batch of others, and
    no error there.
    """
    if isinstance(reward, TrlReward):
        reward.require_columns(columns)


def reward_files(specs: Iterable[str]) -> list[Path]:
    """The source files behind the users' own rewards among ``specs``, sorted: what a stage's inputs include.

    With a file come the files beside it that it imports. Raises ``UserError`` for a file that is not there.
    """
    return source_files(filter(is_custom, specs))


def plain_reward(name: str, function: Callable[..., Any], options: Mapping[str, Any]) -> Reward:
    """A function in TRL's signature as a reward, with the options that the caller has checked."""
    return TrlReward(_Call(name, function, _parameters(name, function), options))


@dataclass(frozen=True, slots=True)
class _Call:
    """A user's function with the parameters it names and the options of the recipe."""

    spec: str
    function: Callable[..., Any]
    parameters: Mapping[str, inspect.Parameter]  # without *args
    options: Mapping[str, Any]

    @property
    def takes_any(self) -> bool:
        """Whether it has ``**kwargs``."""
        return any(p.kind is inspect.Parameter.VAR_KEYWORD for p in self.parameters.values())

    @property
    def needs(self) -> list[str]:
        """Parameters that somebody must give."""
        named = [p for p in self.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
        return [p.name for p in named if p.default is inspect.Parameter.empty and p.name not in self.options]

    def __call__(self, arguments: Mapping[str, Any]) -> Any:
        """Calls it with those of the arguments that it takes; an option of the recipe goes before a column."""
        taken = {name: a for name, a in arguments.items() if self.takes_any or name in self.parameters}
        return self.function(**{**taken, **self.options})


class TrlReward:
    """A user's function in TRL's signature.

    It is given the columns that it names; ``answer``, ``solution`` and ``ground_truth`` mean the reference where the
    problems have no such column.
    """

    def __init__(self, call: _Call) -> None:
        self._call = call
        self._known: frozenset[str] = frozenset()  # columns that problems have, if not those of every batch

    def __call__(
        self,
        prompts: Sequence[Prompt],
        completions: Sequence[ModelText],
        completion_ids: Sequence[Sequence[int]],
        **columns: Sequence[Any],
    ) -> Values | Awaitable[Values]:
        """What the user's function returns, unchecked. Raises ``UserError`` for a column that is not there."""
        self._require(self._known.union(columns))
        nowhere_here: dict[str, Sequence[Any]] = {name: [None] * len(completions) for name in sorted(self._known)}
        references = {n: list(columns["reference"]) for n in REFERENCE_NAMES if n in self._call.parameters}
        own = {"prompts": prompts, "completions": completions, "completion_ids": completion_ids}
        given: Values | Awaitable[Values] = self._call(references | nowhere_here | columns | own)
        return given

    def require_columns(self, columns: frozenset[str]) -> None:
        """Raises ``UserError`` if the function needs a column that is not among those of all problems.

        What some problems have is None in batches of others from now on, and no error.
        """
        self._require(columns.union(STANDARD_COLUMNS))
        self._known |= columns.difference(STANDARD_COLUMNS)

    def _require(self, columns: frozenset[str]) -> None:
        missing = [name for name in self._call.needs if name not in columns.union(TRL, REFERENCE_NAMES)]
        if missing:
            raise UserError(
                f"{self._call.spec} needs {missing[0]!r}, which the problems don't have; their columns are "
                f"{', '.join(sorted(columns))}. Add the column, or give the parameter a default"
            )


def _verl(call: _Call) -> Reward:
    """verl's ``compute_score``, completion by completion; what a returned dict holds beside its score is ignored."""

    def arguments(completions: Sequence[ModelText], columns: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
        count = len(completions)
        sources, extras = columns.get("data_source", [None] * count), columns.get("extra_info", [None] * count)
        return [
            {
                "data_source": columns["domain"][i] if sources[i] is None else sources[i],
                "solution_str": text_of(completions[i]),
                "ground_truth": columns["reference"][i],
                "extra_info": {} if extras[i] is None else extras[i],
            }
            for i in range(count)
        ]

    async def together(results: Sequence[Awaitable[Any]]) -> Values:
        async with asyncio.TaskGroup() as group:  # if one fails, the others end with it
            tasks = [group.create_task(_awaited(result)) for result in results]
        return [_part(task.result(), "score") for task in tasks]

    def reward(
        prompts: Sequence[Prompt],
        completions: Sequence[ModelText],
        completion_ids: Sequence[Sequence[int]],
        **columns: Sequence[Any],
    ) -> Values | Awaitable[Values]:
        results = [call(given) for given in arguments(completions, columns)]
        if results and all(inspect.isawaitable(result) for result in results):
            return together(results)
        return [_part(result, "score") for result in results]

    return reward


def _openrlhf(call: _Call, context: RewardContext) -> Reward:
    """OpenRLHF's ``reward_func``: prompts as the model read them, with the template; what is no reward is ignored."""

    async def later(result: Awaitable[Any]) -> Values:
        values: Values = _part(await result, "rewards")
        return values

    def reward(
        prompts: Sequence[Prompt],
        completions: Sequence[ModelText],
        completion_ids: Sequence[Sequence[int]],
        **columns: Sequence[Any],
    ) -> Values | Awaitable[Values]:
        read = [context.template.render(prompt) for prompt in prompts]
        queries = [prompt + text_of(text) for prompt, text in zip(read, completions, strict=True)]
        result = call({"queries": queries, "prompts": read, "labels": columns["reference"]})
        if inspect.isawaitable(result):
            return later(result)
        values: Values = _part(result, "rewards")
        return values

    return reward


async def _awaited(result: Awaitable[Any]) -> Any:
    return await result


def _part(result: Any, key: str) -> Any:
    """The reward in what a function returned: itself, or the entry ``key`` of a mapping."""
    if not isinstance(result, Mapping):
        return result
    if key not in result:
        raise BadValueError(f"returned a mapping without {key!r}; it has {', '.join(map(str, result))}")
    return result[key]


def _parameters(spec: str, function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Its parameters without ``*args``. Raises ``UserError`` if they can't be given by name."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        raise UserError(f"{spec} does not say what its parameters are; write one of\n{_SIGNATURES}") from None
    unnamed = [p.name for p in parameters.values() if p.kind is inspect.Parameter.POSITIONAL_ONLY]
    if unnamed:
        raise UserError(f"{spec}: the parameter {unnamed[0]!r} can't be given by name; remove the / in its signature")
    return {name: p for name, p in parameters.items() if p.kind is not inspect.Parameter.VAR_POSITIONAL}


def _require_options(spec: str, parameters: Mapping[str, inspect.Parameter], options: Mapping[str, Any]) -> None:
    with_default = [n for n, p in parameters.items() if p.default is not inspect.Parameter.empty]
    for option in options:
        if option not in with_default:
            known = ", ".join(with_default) or "none"
            why = "has no default" if option in parameters else "is no parameter of the function"
            raise UserError(f"{spec}: the option {option!r} {why}; parameters with a default are: {known}")


def _require_only(call: _Call, given: Sequence[str], project: str) -> None:
    """Raises ``UserError`` if the function needs more than its convention gives."""
    more = [name for name in call.needs if name not in given]
    if more:
        raise UserError(
            f"{call.spec} needs {more[0]!r}, but in {project}'s signature there are only {', '.join(given)}; "
            "give the parameter a default"
        )
