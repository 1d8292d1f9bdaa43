"""The page on notation: every axis that an array name of the code ends in stands in its table."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
AXES = re.findall(r"^\| `([A-Z])` \|", (ROOT / "docs" / "notation.md").read_text(encoding="utf-8"), re.MULTILINE)
SUFFIX = re.compile(r"_*[a-z][a-z0-9_]*_(1?[A-Z][A-Z1]{0,4})")
FOREIGN = {"do_POST", "do_GET"}  # names that the standard library asks for


def suffixes(source: str) -> set[str]:
    """The axes of all names in a file that end in some."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        names = [getattr(node, field, None) for field in ("id", "arg", "attr", "name")]
        names = [name for name in names if isinstance(name, str) and name not in FOREIGN]
        found |= {match[1] for name in names if (match := SUFFIX.fullmatch(name))}
    return found


def test_the_suffix_of_a_name_is_found_wherever_the_name_stands() -> None:
    code = "def f(a_PG, *, b=1):\n    c_1T, self._d_SBK = a_PG\n    return g(e_V=NAME_V, plain=_x)\n"
    assert suffixes(code) == {"PG", "1T", "SBK", "V"}


@pytest.mark.parametrize("room", ["src", "examples"])
def test_every_axis_is_in_the_table(room: str) -> None:
    used = {path: suffixes(path.read_text(encoding="utf-8")) for path in (ROOT / room).rglob("*.py")}
    assert any(used.values())
    unknown = {
        str(path.relative_to(ROOT)): missing
        for path, found in used.items()
        if (missing := {axis for suffix in found for axis in suffix} - {*AXES, "1"})
    }
    assert not unknown


def test_every_axis_of_the_table_is_used() -> None:
    used = {axis for path in (ROOT / "src").rglob("*.py") for suffix in suffixes(path.read_text()) for axis in suffix}
    assert set(AXES) <= used
    assert len(AXES) == len(set(AXES))
