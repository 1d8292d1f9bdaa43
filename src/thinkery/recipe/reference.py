"""The field reference: every field of a recipe with its type, its default, its sentence and DeepSeek-R1's value.

``python -m thinkery.recipe.reference > docs/recipe.md`` writes the page. The sentences stand under the fields, where
Python keeps nothing of them, so they are read out of the source. Left out: the fields of installed packages, and the
options of rewards (``docs/rewards.md``).
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from thinkery.recipe.base import OneOf
from thinkery.recipe.load import in_words
from thinkery.recipe.recipe import KINDS, Recipe

_PAPER = " DeepSeek-R1: "
_TOP = """# Recipes, field by field

This page is made from the recipe's types: `python -m thinkery.recipe.reference > docs/recipe.md`. Fields without a
default must be given. `null` is written for "none". The last column is DeepSeek-R1's value, where the paper states one.
The commands of single stages have the same fields as options: `num_generations` is `--num-generations`
([stages.md](stages.md)).
"""


class Sentence(NamedTuple):
    """What a field is, and DeepSeek-R1's value of it, "" where the paper states none."""

    text: str
    paper: str


def sentences(model: type[BaseModel]) -> Mapping[str, Sentence]:
    """The sentence of every field, its own or that of the class it comes from; none of a class without a source."""
    found: dict[str, Sentence] = {}
    for one in reversed(model.__mro__):
        if issubclass(one, BaseModel) and one is not BaseModel:
            found |= _of_module(one.__module__).get(one.__qualname__, {})
    return found


@cache
def _of_module(module: str) -> Mapping[str, Mapping[str, Sentence]]:
    try:
        tree = ast.parse(inspect.getsource(sys.modules[module]))
    except (OSError, TypeError):
        return {}
    return {node.name: dict(_of_class(node)) for node in tree.body if isinstance(node, ast.ClassDef)}


def _of_class(node: ast.ClassDef) -> Iterator[tuple[str, Sentence]]:
    for field, below in zip(node.body, node.body[1:], strict=False):
        match field, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                what, _, paper = " ".join(text.split()).partition(_PAPER)
                yield name, Sentence(what, paper.removesuffix("."))


def page() -> str:
    """The reference as Markdown, one table a section, in the order in which a reader meets them."""
    titles = dict(_sections(Recipe, "The recipe"))
    links = {model.__name__: f"[{title}](#{_anchor(title)})" for model, title in titles.items()}
    return "\n".join([_TOP, *(_section(model, title, links) for model, title in titles.items())])


def _sections(model: type[BaseModel], title: str) -> Iterator[tuple[type[BaseModel], str]]:
    """A model and those inside it, each once, called by its kind or by the first field that holds it."""
    seen: dict[type[BaseModel], str] = {model: title}
    queue = [model]
    for one in queue:
        for name, field in one.model_fields.items():
            inner = KINDS.values() if one is Recipe and name == "stages" else models_in(field.annotation)
            for found in inner:
                if found not in seen and found.__module__.startswith("thinkery."):
                    seen[found] = _tagged(found) or f"`{name}`"
                    queue.append(found)
    yield from seen.items()


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that a field of this type can hold."""
    one_of = next((mark for mark in getattr(annotation, "__metadata__", ()) if isinstance(mark, OneOf)), None)
    if one_of is not None:
        yield from one_of.kinds().values()
        return
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from models_in(inner)


def _tagged(model: type[BaseModel]) -> str | None:
    """``kind: rl``, where such a field says which model it is."""
    for tag in ("kind", "backend"):
        if tag in model.model_fields:
            return f"`{tag}: {get_args(model.model_fields[tag].annotation)[0]}`"
    return None


def _section(model: type[BaseModel], title: str, links: Mapping[str, str]) -> str:
    about = " ".join(inspect.cleandoc(model.__doc__ or "").partition("\n\n")[0].split()).replace("``", "`")
    rows = ["| field | type | default | what it is | DeepSeek-R1 |", "|---|---|---|---|---|"]
    schema = model.model_json_schema()
    properties = schema.get("$defs", {}).get(model.__name__, schema)["properties"]  # one that holds itself is a $def
    for key, field in model.model_fields.items():
        name = field.alias or key
        cells = [f"`{name}`", _type(properties[name], links), _default(field), *sentences(model)[key]]
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join([f"## {title}\n", about, "", *rows, ""])


def _type(schema: Mapping[str, Any], links: Mapping[str, str]) -> str:
    """What a field may hold, in words, with links to the sections that it may hold."""
    if "$ref" in schema:
        return links.get(schema["$ref"].rpartition("/")[2], "")
    choices = schema.get("anyOf") or schema.get("oneOf")
    if choices:
        return " or ".join(filter(None, dict.fromkeys(_type(one, links) for one in choices)))
    if schema.get("type") == "null":
        return ""
    if schema.get("type") == "array":
        return f"a list of {_type(schema['items'], links)}"
    values = [*schema.get("patternProperties", {}).values(), schema.get("additionalProperties")]
    if schema.get("type") == "object" and isinstance(values[0], Mapping):
        return f"a mapping of names to {_type(values[0], links)}"
    return in_words(schema)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return ""
    return "its defaults" if isinstance(field.default, BaseModel) else f"`{written(field.default)}`"


def written(value: Any) -> str:
    """A value as a recipe writes it."""
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value)


def _anchor(title: str) -> str:
    """As GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


if __name__ == "__main__":
    print(page(), end="")
