"""Reads a recipe: YAML, overrides, and mistakes said in one line with the field, its value and what is allowed.

Left out: what the fields mean (``recipe.py``, ``rl.py``, ``stages.py``, ``data.py``).
"""

from __future__ import annotations

import difflib
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from thinkery.recipe.base import Strict
from thinkery.recipe.recipe import Recipe
from thinkery.recipe.verification import Verification
from thinkery.types import UserError

_BOUNDS = {"exclusiveMinimum": "> ", "minimum": ">= ", "exclusiveMaximum": "< ", "maximum": "<= "}
_TYPES = {
    "integer": "an integer",
    "number": "a number",
    "string": "a text",
    "boolean": "true or false",
    "object": "a mapping",
    "array": "a list",
}
Location = Sequence[int | str]


def explain(error: ValidationError, data: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """The first mistake in ``data`` as one line, and how many more there are. ``schema`` is that of the recipe."""
    mistakes = error.errors(include_url=False)
    first, others = mistakes[0], len(mistakes) - 1
    location, value, kind = first["loc"], first["input"], first["type"]
    path = _path(location, data)
    if kind == "value_error":  # raised by a cross-check, which names the field itself
        line = ".".join(filter(None, [path, str(first["ctx"]["error"])]))
    elif kind == "extra_forbidden":
        known = list(_schema_at(location[:-1], schema).get("properties", {}))
        close = difflib.get_close_matches(str(location[-1]), known, n=1)
        line = f"{path}: no such field; " + (f"did you mean {close[0]}?" if close else f"allowed: {', '.join(known)}")
    elif kind == "union_tag_not_found":
        line = f"{path}.kind: missing; allowed: {_kinds(location, schema)}"
    elif kind == "union_tag_invalid":
        line = f"{path}.kind = {first['ctx']['tag']!r}: allowed: {_kinds(location, schema)}"
    elif location[-1] == "[key]":
        line = f"{path}: {location[-2]!r} can't be a name here; allowed: small letters, digits, - and _"
    elif kind == "missing":
        line = f"{path}: missing; allowed: {_allowed_at(location, schema)}"
    else:
        shown = repr(value) if len(repr(value)) <= 60 else repr(value)[:57] + "..."
        line = f"{path} = {shown}: allowed: {_allowed_at(location, schema)}"
    return line + (f" (and {others} more)" if others else "")


def _path(location: Location, data: Mapping[str, Any]) -> str:
    """``("stages", 0, "rl", "steps")`` as ``zero.steps``, the way overrides name it."""
    parts = list(location)
    if len(parts) > 1 and parts[0] == "stages" and isinstance(parts[1], int):
        stage = data["stages"][parts[1]]
        name = stage.get("name") if isinstance(stage, dict) else None
        parts = [name if isinstance(name, str) else f"stages[{parts[1]}]", *parts[3:]]
    shown = [str(part) if str(part).isprintable() else repr(part) for part in parts if part != "[key]"]
    return ".".join(shown)


def _schema_at(location: Location, root: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema of the field at a location; of several choices the first."""
    return _resolve(_field_at(location, root), root)


def _field_at(location: Location, root: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema of the field at a location, with all its choices."""
    schema: Mapping[str, Any] = root
    for part in location:
        schema = _resolve(schema, root, part)
        if "discriminator" in schema:
            schema = {"$ref": schema["discriminator"]["mapping"][part]}
        elif part in schema.get("properties", {}):
            schema = schema["properties"][part]
        elif "items" in schema:
            schema = schema["items"]
        else:
            values = [*schema.get("patternProperties", {}).values(), schema.get("additionalProperties")]
            schema = values[0] if isinstance(values[0], Mapping) else {}  # True: whatever the reward itself allows
    return schema


def _resolve(schema: Mapping[str, Any], root: Mapping[str, Any], part: int | str | None = None) -> Mapping[str, Any]:
    """Follows a reference; of several choices takes the one that has a field ``part``, else the first but null."""
    while "$ref" in schema or "anyOf" in schema:
        if "$ref" in schema:
            schema = root["$defs"][schema["$ref"].rsplit("/", 1)[-1]]
        else:
            choices = [_resolve(choice, root, part) for choice in schema["anyOf"] if choice.get("type") != "null"]
            schema = next((choice for choice in choices if part in choice.get("properties", {})), choices[0])
    return schema


def _kinds(location: Location, root: Mapping[str, Any]) -> str:
    return ", ".join(_schema_at(location, root)["discriminator"]["mapping"])


def _allowed_at(location: Location, root: Mapping[str, Any]) -> str:
    """What the field at a location may hold, in words; a field with a shorthand has two choices."""
    schema = _field_at(location, root)
    choices = [choice for choice in schema.get("anyOf", [schema]) if choice.get("type") != "null"]
    nested = [inner for choice in choices for inner in choice.get("anyOf", [choice])]
    return " or ".join(dict.fromkeys(_allowed(_resolve(choice, root)) for choice in nested))


def _allowed(schema: Mapping[str, Any]) -> str:
    """What a field may hold, in words."""
    if "enum" in schema:
        return ", ".join(map(str, schema["enum"]))
    if "const" in schema:
        return str(schema["const"])
    if "properties" in schema:
        return f"a mapping with the fields {', '.join(schema['properties'])}"
    text = _TYPES.get(schema.get("type", ""), "a value of another type")
    if "pattern" in schema:
        return str(schema["description"])  # fields with a pattern say in words what it means
    bounds = [sign + f"{schema[key]:g}" for key, sign in _BOUNDS.items() if key in schema]
    if schema.get("minItems") or schema.get("minProperties"):
        bounds.append("that is not empty")
    return " ".join([text, " and ".join(bounds)]).strip()


class Loader(yaml.SafeLoader):
    """YAML that refuses a key given twice, where YAML itself would silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """The mapping of a node."""
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = str(key_node.value)
            if key in seen and key != "<<":
                raise yaml.MarkedYAMLError(None, None, f"the field {key!r} is given twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path, fields: Iterable[str]) -> dict[str, Any]:
    """A recipe's mapping, not yet checked.

    Raises ``UserError`` with line and column, or with the ``fields`` that a recipe has.
    """
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), Loader)
    except FileNotFoundError:
        raise UserError(f"{path}: no such recipe") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise UserError(f"{path}{where}: {error.problem}") from None
    if not isinstance(data, dict):
        raise UserError(f"{path}: a recipe is a mapping with the fields {', '.join(fields)}")
    try:
        own: dict[str, Any] = _unshared(data)
    except RecursionError:
        raise UserError(f"{path}: an alias (*) stands inside what it is an alias of") from None
    return own


def _unshared(value: Any) -> Any:
    """A copy in which every alias has become a value of its own: to change one must not change the others."""
    if isinstance(value, dict):
        return {key: _unshared(inner) for key, inner in value.items()}
    return [_unshared(inner) for inner in value] if isinstance(value, list) else value


_SETTING = "verification.math.units=required"


def load_recipe(path: Path, overrides: Sequence[str] = (), seed: int | None = None) -> Recipe:
    """Reads a recipe, applies overrides like ``zero.learning_rate=1e-4`` and checks all of it.

    Raises ``UserError`` with one line that names the field, its value and what is allowed.
    """
    data = read_yaml(path, Recipe.model_fields)
    return build_recipe(data, overrides, seed, where=f"{path}: ")


def build_recipe(data: dict[str, Any], overrides: Sequence[str], seed: int | None, where: str = "") -> Recipe:
    """A recipe from its mapping, with overrides; ``where`` stands before what is wrong with it. See ``load_recipe``."""
    for override in overrides:
        _apply(data, override)
    if seed is not None:
        data["seed"] = seed
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        raise UserError(f"{where}{explain(error, data, Recipe.model_json_schema())}") from None


class _Settings(Strict):
    """The part of a recipe that a command without a recipe can have."""

    verification: Verification = Verification()


def load_verification(overrides: Sequence[str]) -> Verification:
    """The default verification with overrides like ``verification.math.units=required``. Raises ``UserError``."""
    data: dict[str, Any] = {}
    for override in overrides:
        _apply(data, override)
        if not data.keys() <= _Settings.model_fields.keys():
            raise UserError(f"--set {override}: here only verification can be set, for example {_SETTING}")
    try:
        return _Settings.model_validate(data).verification
    except ValidationError as error:
        raise UserError(f"--set: {explain(error, data, _Settings.model_json_schema())}") from None


def diff_recipes(old: Recipe, new: Recipe) -> list[str]:
    """What changed, as ``field: old -> new``; where a run is kept, and which workers do it, is no change of it."""
    before, after = (dict(_flat(recipe)) for recipe in (old, new))
    paths = dict.fromkeys([*before, *after])
    return [
        f"{path}: {before.get(path, 'absent')} -> {after.get(path, 'absent')}"
        for path in paths
        if before.get(path) != after.get(path) and path.partition(".")[0] not in ("output_dir", "cluster")
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
