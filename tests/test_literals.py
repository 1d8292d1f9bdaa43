"""A list of allowed words stands once: in two places, a word that is added to one of them is forgotten in the other."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import thinkery


def test_no_literal_type_is_written_twice() -> None:
    root = Path(thinkery.__file__).parent
    places: dict[frozenset[object], list[str]] = defaultdict(list)
    for path in sorted(root.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == "Literal":
                words = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
                if len(words) > 1:
                    allowed = frozenset(word.value for word in words if isinstance(word, ast.Constant))
                    places[allowed].append(f"{path.relative_to(root)}:{node.lineno}")
    assert {tuple(found) for found in places.values() if len(found) > 1} == set()
