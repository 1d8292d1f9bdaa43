"""A stage on its own: what a command was given becomes a recipe of one stage, which runs like every other recipe.

So a stage alone has the same defaults, checks, run folder and way of resuming as one in a ladder. Left out: options and
parsing (``cli``), and what the stages do.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from thinkery.recipe import BASE, EvalSpec, Recipe, build_recipe, stage_kinds
from thinkery.types import UserError


def _reads(fields: Mapping[str, Any]) -> str:
    """summary of pairs, else response"""
    return "summary" if fields["objective"] == "pairwise" else "response"


# What a user needn't say of a stage alone, though a recipe must: path of the field -> value, or what
# finds it, whose text says what.
DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "grpo": {"rewards": ["accuracy", "format"], "steps": 200, "learning_rate": 3e-6},
    "reward-model": {"reads": _reads},
    "eval": {"problems.split": "test"},
}
_KINDS = {"grpo": "rl", "reward-model": "reward_model"}  # the others are called as their kind is


@dataclass(frozen=True)
class StageOptions:
    """What a command is given.

    ``fields`` are those of the stage (of the held-out sets in ``eval``) by their paths, ``n`` and ``data.n``
    being of every source. ``overrides`` set further ones, ``verification.…`` those of the recipe. ``template`` None is
    the one saved with the model. ``allow`` as ``load_recipe`` takes it.
    """

    command: str
    model: str
    data: Sequence[str]
    fields: Mapping[str, Any] = field(default_factory=dict)
    template: str | None = None
    seed: int | None = None
    overrides: Sequence[str] = ()
    allow: Collection[str] = ()


def model_of(command: str) -> type[BaseModel]:
    """The type whose fields a command sets: a kind of stage, or a held-out evaluation."""
    return EvalSpec if command == "eval" else stage_kinds()[_KINDS.get(command, command)]


def data_field(model: type[BaseModel]) -> str:
    """The field that ``--data`` fills."""
    return "data" if "data" in model.model_fields else "problems"


def recipe_of(options: StageOptions) -> Recipe:
    """The recipe of one stage, or of an evaluation of a model as it is. Raises ``UserError``."""
    model = model_of(options.command)
    field = data_field(model)
    stage = _nested(_with_defaults(options))
    common = stage.pop(field, {})
    sources = [{"source": source, **common} for source in options.data]
    if "rewards" in stage:
        stage["rewards"] = dict(_reward(text) for text in stage["rewards"])
    data: dict[str, Any] = {"name": options.command, "base": options.model, "template": options.template}
    if model is EvalSpec:
        sets: dict[str, Any] = {}
        for source in sources:
            sets[_set_name(source["source"], sets)] = {**stage, field: source}
        data |= {"stages": [], "evaluate": sets}
        owners = [f"evaluate.{name}." for name in sets]
    else:
        kind = _KINDS.get(options.command, options.command)
        filled = sources if field == "data" else {**sources[0], "also": sources[1:]}
        data["stages"] = [{"name": options.command, "kind": kind, "from": BASE, field: filled, **stage}]
        owners = [f"{options.command}."]
    overrides = [
        owner + override
        for override in options.overrides
        for owner in ([""] if override.strip().startswith("verification.") else owners)
    ]
    return build_recipe(data, overrides, options.seed, allow=options.allow)


def _with_defaults(options: StageOptions) -> Mapping[str, Any]:
    fields = {path: value for path, value in options.fields.items() if value is not None}
    for path, value in DEFAULTS.get(options.command, {}).items():
        if path not in fields:
            fields[path] = value(fields) if callable(value) else value
    return fields


def _nested(fields: Mapping[str, Any]) -> dict[str, Any]:
    """``{"judge.source": "mini"}`` as ``{"judge": {"source": "mini"}}``."""
    stage: dict[str, Any] = {}
    for path, value in fields.items():
        *sections, name = path.split(".")
        inner = stage
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[name] = value
    return stage


def _reward(text: str) -> tuple[str, Any]:
    """``accuracy``, ``format=0.5`` or ``length={weight: 1, buffer: 64}`` as a name and what the recipe says of it."""
    name, separator, value = text.partition("=")
    try:
        return name, yaml.safe_load(value) if separator else 1
    except yaml.YAMLError:
        raise UserError(f"--reward {text}: write it as name or name=weight, for example format=0.5") from None


def _set_name(source: str, taken: Mapping[str, Any]) -> str:
    """A name for a held-out set: its file's or data set's, with a number where that is taken."""
    stem = source.removeprefix("gym://").rstrip("/").rpartition("/")[2].partition(".")[0].lower()
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "-" for c in stem).strip("-_")[:36] or "set"
    return next(name for name in (plain, *(f"{plain}-{i}" for i in range(2, 1000))) if name not in taken)


def result_of(recipe: Recipe, folder: Path) -> Path:
    """Where the one stage of a recipe leaves what it made."""
    stage = recipe.stages[0]
    output = folder / "checkpoints" / stage.name / stage.output
    return output / "data.jsonl" if stage.output == "data" else output


def figures(summary: Mapping[str, Any]) -> list[str]:
    """What an evaluation found, one line a figure: ``set  figure  value [interval]``."""
    lines = []
    for name, report in summary[BASE]["eval"].items():
        for key, value in report.items():
            if isinstance(value, int | float):
                interval = report.get(f"{key}_ci95")
                shown = f"{value:,}" if isinstance(value, int) else f"{value:.4f}"
                shown += " [{:.4f}, {:.4f}]".format(*interval) if interval else ""
                lines.append(f"{name}  {key}  {shown}")
    return lines
