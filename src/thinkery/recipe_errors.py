"""Says what is wrong with a recipe in one line: the field, its value and what is allowed.

Pydantic's errors go in; what a field allows is read from the JSON schema of the recipe, so it can't go stale.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

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
