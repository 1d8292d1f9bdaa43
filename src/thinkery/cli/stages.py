"""One stage alone, on a user's own model and files: grpo, sft, collect, judge, reward-model, eval.

Every command builds a recipe of one stage (``commands.py``) and runs it as ``thinkery run`` does. Its options are the
fields of the stage, with their types, defaults and sentences; ``--set`` reaches those of its sections. They are made
when a command is first looked at, since the types take half a second to import.
"""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

import typer
from typer.core import TyperCommand
from typer.main import get_command

from thinkery.cli.options import TrustRemoteCode, UnsafeLocal, allowed, app, columns_of, running_stages
from thinkery.types import UserError

if TYPE_CHECKING:
    from pydantic import BaseModel

PLACES = {
    "problems": "Problems: a file, a folder, owner/name, gym://family or mini; repeatable.",
    "data": "Rows to learn from: a file, a folder or owner/name; repeatable.",
}
# Options that are not called as their field is; {data} is what --data fills.
RENAMED = {
    "split": "{data}.split",
    "limit": "{data}.n",
    "column": "{data}.columns",
    "reward": "rewards",
    "judge": "judge.source",
    "judge-model": "judge.model",
    "api-key-env": "judge.api_key_env",
    "refine": "refine.by",
    "other": "others",
}
PAIRS = {"columns": "OURS=THEIRS", "rewards": "NAME[=WEIGHT]"}  # fields whose option takes one entry at a time
NOT_OPTIONS = {"name", "kind", "from_", "template", "models"}  # what a stage alone has no choice about, or --template
RECIPE = {"base": "--model", "template": "--template", "seed": "--seed"}  # fields of the recipe itself
FIRST = (
    "task", "objective", "reads", "reward", "preset", "steps", "epochs", "batch_size", "learning_rate", "num_problems",
    "num_generations", "num_samples", "temperature", "max_completion_length", "max_length", "limit", "refine", "judge",
    "judge_model", "api_key_env", "other", "split", "column",
)  # fmt: skip
OTHERS = "Every other field of the stage"


class Option(NamedTuple):
    """An option and the field that it sets, by its path in the stage."""

    name: str
    path: str
    parameter: inspect.Parameter

    @property
    def flag(self) -> str:
        """As a user writes it."""
        return f"--{self.name.replace('_', '-')}"


def options_of(command: str) -> list[Option]:
    """The options of a stage's fields, those that are needed most first."""
    from thinkery.commands import data_field, model_of

    model = model_of(command)
    data = data_field(model)
    renamed = {name.replace("-", "_"): path.format(data=data) for name, path in RENAMED.items()}
    heads = {path.partition(".")[0] for path in renamed.values()}
    paths = {name: path for name, path in renamed.items() if path.partition(".")[0] in model.model_fields}
    paths |= {name: name for name in model.model_fields if name not in NOT_OPTIONS | heads}
    found = [_option(command, model, name, path) for name, path in paths.items()]
    ranks = {name: rank for rank, name in enumerate(FIRST)}
    return sorted(filter(None, found), key=lambda option: ranks.get(option.name, len(ranks)))


def _option(command: str, model: type[BaseModel], name: str, path: str) -> Option | None:
    """The option of one field; None for a section, which ``--set`` reaches."""
    from thinkery.commands import DEFAULTS
    from thinkery.recipe.reference import models_in, sentences

    *sections, last = path.split(".")
    owner, required, optional = model, True, False
    for section in sections:
        field = owner.model_fields[section]
        required, optional = required and field.is_required(), optional or field.default is None
        owner = next(models_in(field.annotation))
    field = owner.model_fields[last]
    kind = list[str] if last in PAIRS else _plain_type(field.annotation)
    if kind is None:
        return None
    own = None if field.is_required() or optional else field.default
    default = DEFAULTS.get(command, {}).get(path, own)
    required = required and field.is_required() and default is None
    sentence = sentences(owner)[last]
    several = get_origin(kind) is list
    flag = f"--{name.replace('_', '-')}"
    option = typer.Option(
        f"{flag}/--no-{flag[2:]}" if kind is bool else flag,
        help=sentence.text + (f" DeepSeek-R1: {sentence.paper}." if sentence.paper else "") + " Repeatable." * several,
        metavar=PAIRS.get(last),
        show_default=_shown(default) or False,
        rich_help_panel=None if name in FIRST else OTHERS,
    )
    annotation: Any = Annotated[kind if required else kind | None, option]
    absent = inspect.Parameter.empty if required else None
    parameter = inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=absent, annotation=annotation)
    return Option(name, path, parameter)


def _shown(default: Any) -> str:
    """A default as the help shows it; "" for none."""
    from thinkery.recipe.reference import written

    if callable(default):
        return inspect.getdoc(default) or ""
    if isinstance(default, list | dict):
        return ", ".join(default)
    return "" if default is None else written(default)


def _plain_type(annotation: Any) -> Any:
    """A field's type as an option's, without bounds and null; None if it is more than a value or a list of them."""
    if get_origin(annotation) is Annotated:
        return _plain_type(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        inner = [one for one in get_args(annotation) if one is not type(None)]
        return _plain_type(inner[0]) if len(inner) == 1 else None
    if get_origin(annotation) is list:
        inner = [_plain_type(one) for one in get_args(annotation)]
        return types.GenericAlias(list, inner[0]) if inner[0] in (int, float, str) else None
    return annotation if annotation in (int, float, str, bool) or get_origin(annotation) is Literal else None


def run_stage(
    command: str,
    fields: Mapping[str, Any],
    model: Annotated[
        str, typer.Option(help="What to start from: a folder, a Hub id or thinkery://mini-base.", show_default=False)
    ],
    data: Annotated[list[str], typer.Option(help="", show_default=False)],
    output_dir: Annotated[Path | None, typer.Option(help="The run folder.", show_default="runs/<command>")] = None,
    template: Annotated[
        str | None,
        typer.Option(help="r1-zero, r1-zero-compact, r1-compact or chat-think.", show_default="the one saved with it"),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="Change any field of the stage's sections; repeatable."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="All randomness is counted from it.", show_default="0")] = None,
    force: Annotated[bool, typer.Option("--force", help="Go on in a folder that was made with other options.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, say what would run, and stop.")] = False,
    unsafe_local: UnsafeLocal = False,
    trust_remote_code: TrustRemoteCode = False,
) -> None:
    """Runs a stage on its own and says where its result is. The parameters from ``model`` on are options of all."""
    from thinkery.commands import StageOptions, figures, recipe_of, result_of
    from thinkery.pipeline import describe_dry_run, run_recipe
    from thinkery.report.terminal import make_view

    allow = allowed(unsafe_local=unsafe_local, trust_remote_code=trust_remote_code)
    recipe = recipe_of(StageOptions(command, model, data, fields, template, seed, overrides or [], allow))
    folder = output_dir or Path("runs") / command
    if dry_run:
        typer.echo("\n".join(describe_dry_run(recipe, folder)))
        return
    with closing(make_view()) as view:
        summary = run_recipe(recipe, folder, view=view, force=force)
    if recipe.stages:
        typer.echo(f"{result_of(recipe, folder)}")
    typer.echo(f"{folder / 'report.html'}")
    if not recipe.stages:
        typer.echo("\n".join(figures(summary)))


@contextmanager
def in_options(command: str, options: list[Option]) -> Iterator[None]:
    """Says of a mistake in which option it is, where a recipe's user would be told the field."""
    try:
        yield
    except UserError as error:
        raise UserError(_renamed(str(error), command, {option.path: option.flag for option in options})) from None


_MISTAKE = re.compile(r"(?P<set>--set )?(?P<path>[\w-]+(?:[.\[][\w\]-]+)*)(?P<rest>( = |: |=).*)", re.DOTALL)
_SOURCE = re.compile(r"(problems|data)(\.also)?(\.\d+|\[\d+\])?(\.source(?=$))?(?=\.|$)")  # one of those of --data


def _renamed(message: str, command: str, flags: Mapping[str, str]) -> str:
    """``grpo.problems.n = 0: ...`` as ``--limit = 0: ...``; a message that begins with no field as it is."""
    found = _MISTAKE.match(message)
    if found is None:
        return message
    path, own = re.subn(r"^evaluate\.[\w-]+\." if command == "eval" else rf"^{command}\.", "", found["path"])
    if found["set"]:
        flag = f"--set {path}"
    elif not own and path not in flags:
        flag = f"--set {path}" if path.startswith("verification.") else RECIPE.get(path, path)
    elif _SOURCE.fullmatch(path):
        flag = "--data"
    else:
        path = _SOURCE.sub(r"\1", path, count=1) if _SOURCE.match(path) else path
        known = next((one for one in flags if f"{path}.".startswith(f"{one}.")), None)
        flag = f"--set {path}" if known is None else f"{flags[known]} {path[len(known) + 1 :]}".rstrip()
    return flag + found["rest"]


class StageCommand(TyperCommand):
    """A command whose parameters are made when they are first asked for."""

    @cached_property
    def _made(self) -> Any:
        made = typer.Typer(add_completion=False)
        made.command()(_function(str(self.name)))
        return get_command(made)

    @property
    def params(self) -> Any:
        """The options."""
        return self._made.params

    @params.setter
    def params(self, value: object) -> None:
        """Without effect: whoever makes a command knows of none yet."""

    @property
    def callback(self) -> Any:
        """What runs."""
        return self._made.callback

    @callback.setter
    def callback(self, value: object) -> None:
        """Without effect, as for ``params``."""


def _function(command: str) -> Callable[..., None]:
    """A command as typer takes it: a function whose signature says the options."""
    from thinkery.commands import data_field, model_of

    options = options_of(command)
    model = model_of(command)

    def function(**given: Any) -> None:
        with running_stages(), in_options(command, options):
            fields = {option.path: given.pop(option.name) for option in options}
            for path in [path for path in fields if path.endswith("columns")]:
                fields[path] = columns_of(fields[path])
            run_stage(command, fields, **given)

    common = dict(list(inspect.signature(run_stage, eval_str=True).parameters.items())[2:])
    if not getattr(model, "uses_verdicts", True):
        del common["unsafe_local"]
    place = typer.Option(help=PLACES[data_field(model)], show_default=False)
    common["data"] = common["data"].replace(annotation=Annotated[list[str], place])
    own = [option.parameter for option in options]
    first = [common.pop("model"), common.pop("data"), *(one for one in own if one.name in FIRST)]
    every = [*first, *common.values(), *(one for one in own if one.name not in FIRST)]
    keyword = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in every]
    function.__signature__ = inspect.Signature(keyword)  # type: ignore[attr-defined]
    return function


COMMANDS = {  # what each does, and how it is used
    "grpo": (
        "Train a model with GRPO on problems that rules can check.",
        "--model Qwen/Qwen2.5-1.5B --data problems.jsonl --template r1-zero",
    ),
    "sft": (
        "Fine-tune a model on demonstrations: a cold start, or distillation into a student.",
        "--model Qwen/Qwen2.5-7B --data demonstrations.jsonl --template chat-think",
    ),
    "collect": (
        "Sample answers and keep what is correct and readable, as demonstrations.",
        "--model runs/grpo/checkpoints/grpo/model --data problems.jsonl",
    ),
    "judge": (
        "Have a model's answers judged: preference pairs or safety labels for a reward model.",
        "--task safety --model ./sft --data prompts.jsonl --judge http://host/v1 --judge-model Qwen3-32B",
    ),
    "reward-model": (
        "Train a reward model from preference pairs or safety labels.",
        "--model ./sft --data pairs.jsonl --objective pairwise",
    ),
    "eval": (
        "Measure a model on held-out problems and print the figures.",
        "--model runs/sft/checkpoints/sft/model --data math500.jsonl",
    ),
}
for _name, (_about, _example) in COMMANDS.items():
    app.command(_name, cls=StageCommand, help=_about, epilog=f"Example: thinkery {_name} {_example}")(lambda: None)
