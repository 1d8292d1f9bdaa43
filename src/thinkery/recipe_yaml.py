"""Reads a recipe's YAML, and says where it is none. Left out: what its fields mean (``recipe.py``)."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Any

import yaml

from thinkery.files import require_regular
from thinkery.types import UserError

MAX_VALUES = 100_000  # every alias counted as what it stands for


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
    require_regular(path, stream=True)  # it is read once
    try:
        data = _load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such recipe") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise UserError(f"{path}{where}: {error.problem}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise UserError(
            f"{path}: an alias (*) stands inside what it is an alias of, or it is nested too deeply"
        ) from None
    if not isinstance(data, dict):
        raise UserError(f"{path}: a recipe is a mapping with the fields {', '.join(fields)}")
    own: dict[str, Any] = _unshared(data)
    return own


def _load(text: str) -> Any:
    """The document, if it is not larger than ``MAX_VALUES`` without its aliases: a few lines can stand for billions."""
    loader = Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if _size(node, {}) > MAX_VALUES:
            raise yaml.MarkedYAMLError(None, None, f"more than {MAX_VALUES:,} values", node.start_mark)
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _size(node: yaml.Node, known: dict[int, int]) -> int:
    """How many values a node stands for. Raises ``RecursionError`` for one that stands inside itself."""
    if id(node) not in known:
        parts: Iterable[yaml.Node] = ()
        if isinstance(node, yaml.MappingNode):
            parts = (part for pair in node.value for part in pair)
        elif isinstance(node, yaml.SequenceNode):
            parts = node.value
        known[id(node)] = 1 + sum(_size(part, known) for part in parts)
    return known[id(node)]


def _unshared(value: Any) -> Any:
    """A copy in which every alias has become a value of its own: to change one must not change the others."""
    if isinstance(value, dict):
        return {key: _unshared(inner) for key, inner in value.items()}
    return [_unshared(inner) for inner in value] if isinstance(value, list) else value
