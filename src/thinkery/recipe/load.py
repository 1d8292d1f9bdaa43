"""Reading a recipe: YAML, overrides, errors that name the field; and what two recipes differ in."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from thinkery.inputs import OF_RECORDS
from thinkery.recipe.base import Strict
from thinkery.recipe.ladder import PERMISSIONS, TRUST_REMOTE_CODE, UNSAFE_LOCAL, Recipe
from thinkery.recipe_errors import explain
from thinkery.recipe_yaml import Loader, read_yaml
from thinkery.types import UserError
from thinkery.verification import Verification

_SETTING = "verification.math.units=required"
_NOT_THE_RUN = ("output_dir", "cluster", TRUST_REMOTE_CODE)


def load_recipe(
    path: Path, overrides: Sequence[str] = (), seed: int | None = None, *, allow: Collection[str] | None = ()
) -> Recipe:
    """Reads a recipe, applies overrides like ``zero.learning_rate=1e-4`` and checks all of it.

    ``allow`` are those of ``PERMISSIONS`` that the user gave on the command line: they are set, and a recipe that sets
    others is refused, for it may be anybody's. None is for a recipe that is only looked at: it keeps what it says.
    Raises ``UserError`` with one line that names the field, its value and what is allowed.
    """
    data = read_yaml(path, Recipe.model_fields)
    return build_recipe(data, overrides, seed, where=f"{path}: ", allow=allow)


def build_recipe(
    data: dict[str, Any],
    overrides: Sequence[str],
    seed: int | None,
    where: str = "",
    *,
    allow: Collection[str] | None = (),
) -> Recipe:
    """A recipe from its mapping, with overrides; ``where`` stands before what is wrong with it. See ``load_recipe``."""
    for override in [*overrides, *(f"{field}=true" for field in allow or ())]:
        _apply(data, override)
    if seed is not None:
        data["seed"] = seed
    try:
        recipe = Recipe.model_validate(data)
    except ValidationError as error:
        raise UserError(f"{where}{explain(error, data, Recipe.model_json_schema())}") from None
    if allow is not None:
        _refuse_permissions(recipe, allow, where)
    return recipe


class _Settings(Strict):
    """The part of a recipe that a command without a recipe can have."""

    verification: Verification = Verification()

    def allows(self, field: str) -> bool:
        """Whether it sets one of ``PERMISSIONS``."""
        return field == UNSAFE_LOCAL and self.verification.code.unsafe_local


def load_verification(overrides: Sequence[str], allow: Collection[str] = ()) -> Verification:
    """The default verification with overrides like ``verification.math.units=required``. Raises ``UserError``.

    ``allow`` as in ``load_recipe``.
    """
    data: dict[str, Any] = {}
    for override in [*overrides, *(f"{field}=true" for field in allow)]:
        _apply(data, override)
        if not data.keys() <= _Settings.model_fields.keys():
            raise UserError(f"--set {override}: here only verification can be set, for example {_SETTING}")
    try:
        settings = _Settings.model_validate(data)
    except ValidationError as error:
        raise UserError(f"--set: {explain(error, data, _Settings.model_json_schema())}") from None
    _refuse_permissions(settings, allow, "--set: ")
    return settings.verification


def _refuse_permissions(given: Recipe | _Settings, allow: Collection[str], where: str) -> None:
    """A recipe can come from anybody: what it may do to this machine only the command line says."""
    for field, flag in PERMISSIONS.items():
        if field not in allow and given.allows(field):
            raise UserError(
                f"{where}{field}: no recipe and no --set can allow this, for it lets code of others do all that your "
                f"account can; if you trust that code, give {flag}"
            )


def diff_recipes(old: Recipe, new: Recipe) -> list[str]:
    """What changed, as ``field: old -> new``.

    Where a run is kept and how often, which workers do it and whether checkpoints' own code may run is no change of it.
    """
    before, after = (dict(_flat(recipe)) for recipe in (old, new))
    paths = [path for path in dict.fromkeys([*before, *after]) if path.rpartition(".")[2] not in OF_RECORDS]
    return [
        f"{path}: {before.get(path, 'absent')} -> {after.get(path, 'absent')}"
        for path in paths
        if before.get(path) != after.get(path) and path.partition(".")[0] not in _NOT_THE_RUN
    ]


def _flat(recipe: Recipe) -> Iterator[tuple[str, Any]]:
    """Leaves by their path, stages by their name; the order of the stages is a leaf as well."""
    data = recipe.model_dump(mode="json", by_alias=True)
    stages = data.pop("stages")
    yield from _leaves("", data)
    yield "stages", ", ".join(stage["name"] for stage in stages)
    for stage in stages:
        yield from _leaves(stage.pop("name") + ".", stage)


def _leaves(prefix: str, data: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in data.items():
        if isinstance(value, dict) and value:
            yield from _leaves(f"{prefix}{key}.", value)
        else:
            yield prefix + key, value


def _apply(data: dict[str, Any], override: str) -> None:
    """Sets one field in place. The path starts with a stage's name or a field of the recipe itself."""
    path, separator, text = override.partition("=")
    head, *rest = path.strip().split(".")
    if not separator or not all([head, *rest]):
        raise UserError(f"--set {override}: write it as field=value, for example zero.learning_rate=1e-4")
    try:
        value = yaml.load(text, Loader)
    except yaml.YAMLError:
        raise UserError(f"--set {override}: {text!r} is not a YAML value; quote it") from None
    listed = data["stages"] if isinstance(data.get("stages"), list) else []
    stages = {str(stage.get("name")): stage for stage in listed if isinstance(stage, dict)}
    if head not in stages and head not in Recipe.model_fields:
        known = [*stages, *Recipe.model_fields]
        close = difflib.get_close_matches(head, known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}"
        raise UserError(f"--set {override}: no stage or field is named {head!r}; {hint}")
    target: Any = stages.get(head, data)
    keys = rest if head in stages else [head, *rest]
    if not keys:
        raise UserError(f"--set {override}: name a field of the stage, for example {head}.steps=10")
    for key in keys[:-1]:
        target = target[_index(target, key, override)] if isinstance(target, list) else target.setdefault(key, {})
        if not isinstance(target, dict | list):
            raise UserError(f"--set {override}: {key!r} has no fields of its own")
    last: Any = _index(target, keys[-1], override) if isinstance(target, list) else keys[-1]
    target[last] = value


def _index(items: list[Any], key: str, override: str) -> int:
    """The position in a list that a part of a path names."""
    if not key.isdecimal() or int(key) >= len(items):
        raise UserError(f"--set {override}: {key!r} is no position in a list of {len(items)}, which count from 0")
    return int(key)
