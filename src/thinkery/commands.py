"""A stage on its own: what a command was given becomes a recipe of one stage, which runs like every other recipe.

So a stage alone has the same defaults, checks, run folder and way of resuming as one in a ladder. Left out: parsing
(``cli``), and what the stages do.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from thinkery.recipe import BASE, Recipe, build_recipe
from thinkery.types import UserError

Columns = Mapping[str, str | None]


@dataclass(frozen=True)
class Order:
    """What all stage commands are given.

    ``overrides`` set fields of the stage (of the held-out sets in ``eval``), ``verification.…`` those of the recipe.
    ``template`` None is the one saved with the model. ``allow`` as ``load_recipe`` takes it.
    """

    name: str
    model: str
    data: Sequence[str]
    columns: Columns
    split: str | None = None
    template: str | None = None
    seed: int | None = None
    overrides: Sequence[str] = ()
    allow: Collection[str] = ()


def grpo_recipe(order: Order, rewards: Sequence[str], **fields: Any) -> Recipe:
    """Reinforcement learning on ``order.data``, problems; a reward is written ``name`` or ``name=weight``."""
    named = dict(_reward(text) for text in rewards)
    return _recipe(order, {"kind": "rl", "problems": _problems(order), "rewards": named, **fields})


def sft_recipe(order: Order, **fields: Any) -> Recipe:
    """Supervised fine-tuning on ``order.data``, demonstrations."""
    return _recipe(order, {"kind": "sft", "data": _data(order), **fields})


def collect_recipe(order: Order, limit: int | None, judge: Mapping[str, Any] | None, **fields: Any) -> Recipe:
    """Demonstrations from the model's own answers to ``order.data``, problems."""
    return _recipe(order, {"kind": "collect", "problems": _problems(order, limit), "judge": judge, **fields})


def judge_recipe(order: Order, limit: int | None, judge: Mapping[str, Any], **fields: Any) -> Recipe:
    """Preference pairs or safety labels from responses to ``order.data``, problems."""
    return _recipe(order, {"kind": "judge", "problems": _problems(order, limit), "judge": judge, **fields})


def reward_model_recipe(order: Order, objective: str, reads: str | None, **fields: Any) -> Recipe:
    """A reward model from ``order.data``, pairs or labels. Helpful reads the summary, safety everything."""
    reads = reads or ("summary" if objective == "pairwise" else "response")
    stage = {"kind": "reward_model", "objective": objective, "reads": reads, "data": _data(order)}
    return _recipe(order, {**stage, **fields})


def eval_recipe(order: Order, limit: int | None, **fields: Any) -> Recipe:
    """The model measured on each of ``order.data``, held-out problems."""
    sets: dict[str, Any] = {}
    for source in order.data:
        problems = {"split": "test", **_problem(order, source, limit)}
        sets[_set_name(source, sets)] = {"problems": problems, **_given(fields)}
    overrides = [
        override if _is_of_recipe(override) else f"evaluate.{name}.{override}"
        for override in order.overrides
        for name in (sets if not _is_of_recipe(override) else [""])
    ]
    return build_recipe({**_frame(order), "stages": [], "evaluate": sets}, overrides, order.seed, allow=order.allow)


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


def _recipe(order: Order, stage: Mapping[str, Any]) -> Recipe:
    own = {"name": order.name, "from": BASE, **_given(stage)}
    overrides = [one if _is_of_recipe(one) else f"{order.name}.{one}" for one in order.overrides]
    return build_recipe({**_frame(order), "stages": [own]}, overrides, order.seed, allow=order.allow)


def _frame(order: Order) -> dict[str, Any]:
    return {"name": order.name, "base": order.model, "template": order.template}


def _is_of_recipe(override: str) -> bool:
    """The one field of a recipe that a single stage needs as well."""
    return override.strip().startswith("verification.")


def _given(fields: Mapping[str, Any]) -> dict[str, Any]:
    """What was said; the rest has the stage's own defaults."""
    return {name: value for name, value in fields.items() if value is not None}


def _problems(order: Order, limit: int | None = None) -> dict[str, Any]:
    first, *others = [_problem(order, source, limit) for source in order.data]
    return {**first, "also": others}


def _problem(order: Order, source: str, limit: int | None) -> dict[str, Any]:
    return _given({"source": source, "split": order.split, "columns": dict(order.columns), "n": limit})


def _data(order: Order) -> list[dict[str, Any]]:
    return [_problem(order, source, None) for source in order.data]


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
