"""What a stage is made from, as a mapping that people can read: settings, models, data and files by name.

    seed: 0    steps: 200    model base: <hash>    data cold: <hash>    file problems.jsonl: <hash>

Two mappings tell what has changed between them. Only what changes a result is in one: no setting at its default, no
comment in code, no text beside a model. Left out: which stage is made from what (``pipeline.py``).
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from thinkery.files import files_under, sha256_of

Inputs = Mapping[str, Any]

# Settings of what is kept on the way, and when.
OF_RECORDS = ("save_steps", "log_completions", "log_completions_steps")


def settings_of(spec: BaseModel, prefix: str = "") -> dict[str, Any]:
    """The settings that are not at their default, each by its path."""
    data = spec.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude=set(OF_RECORDS))
    return dict(_leaves(prefix, data))


def changes(before: Inputs, after: Inputs) -> list[str]:
    """What differs, one line each."""
    names = [name for name in dict.fromkeys([*before, *after]) if before.get(name) != after.get(name)]
    return [f"{name}: {_change(name, before, after)}" for name in names]


def hash_of(inputs: Inputs) -> str:
    """All of it in one hash."""
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def model_fingerprint(place: str) -> str:
    """The hash of a folder's model; the place itself, if it is none. Texts about a model are no part of it."""
    folder = Path(place)
    if not folder.is_dir():
        return place
    parts = {path.relative_to(folder): path for path in files_under(folder)}
    own = {
        name.as_posix(): sha256_of(path)
        for name, path in parts.items()
        if name.suffix != ".md" and not name.name.startswith("LICENSE") and not any(p[0] == "." for p in name.parts)
    }
    return hash_of(own)


def code_fingerprint(path: Path) -> str:
    """The hash of what a Python file does: of its syntax tree, so without comments, layout and docstrings.

    A file that reads docstrings (``__doc__``) keeps its own; one that is no Python is hashed byte by byte.
    """
    content = path.read_bytes()
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):
        return sha256_of(path)
    if b"__doc__" not in content:
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                node.body = node.body[ast.get_docstring(node, clean=False) is not None :]
    return hashlib.sha256(_canonical(tree).encode()).hexdigest()


def _canonical(node: Any) -> str:
    """A syntax tree as text. ``ast.dump`` writes it differently in every other Python; empty fields make that."""
    if isinstance(node, ast.AST):
        fields = [(name, value) for name, value in ast.iter_fields(node) if value not in (None, []) or name == "value"]
        return f"{type(node).__name__}({', '.join(f'{name}={_canonical(value)}' for name, value in fields)})"
    if isinstance(node, list):
        return f"[{', '.join(map(_canonical, node))}]"
    return repr(node)


def _change(name: str, before: Inputs, after: Inputs) -> str:
    if _is_hash(before.get(name)) and _is_hash(after.get(name)):
        return "other content"
    absent = "absent" if name.startswith(("model ", "data ", "file ")) else "the default"
    return f"{before.get(name, absent)} -> {after.get(name, absent)}"


def _is_hash(value: Any) -> bool:
    return isinstance(value, str) and len(value) == 64


def _leaves(prefix: str, data: Any) -> Iterator[tuple[str, Any]]:
    """Values by their path: ``data[0].source``."""
    for key, value in data.items():
        if isinstance(value, dict) and value:
            yield from _leaves(f"{prefix}{key}.", value)
        elif isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
            for place, one in enumerate(value):
                yield from _leaves(f"{prefix}{key}[{place}].", one)
        else:
            yield prefix + key, value
