"""Docstrings and comments name no file that isn't there: whoever follows one must arrive."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "thinkery"
NAMED = re.compile(r"(?<![\w./<>*{}-])((?:[\w.-]+/)*[\w-]+\.(?:py|md|yaml|cpp|h))\b(?![(:*>}/])")

MODULE = re.compile(r"``((?:thinkery\.)?[a-z_]+(?:[./][A-Za-z_]\w*)+)``")


def docstrings(source: str) -> list[str]:
    """Every docstring of a file."""
    nodes = [
        node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
    ]
    return [told for node in nodes if (told := ast.get_docstring(node))]


def missing(path: Path, source: str) -> list[str]:
    """The files that docstrings name and that are neither beside theirs, nor in a room above it, nor at the root."""
    places = [path.parent, *(one for one in path.parents if PACKAGE in (one, *one.parents)), ROOT, ROOT / "src"]
    names = [name for told in docstrings(source) for name in NAMED.findall(told)]
    return [
        name
        for name in names
        if not any((place / name).is_file() for place in places) and name not in EXAMPLES | OF_A_RUN
    ]


EXAMPLES = {"my_rewards.py", "my_losses.py", "path/to/file.py"}  # a user's own
OF_A_RUN = {"recipe.yaml"}  # what a run folder holds


def lost_modules(source: str) -> list[str]:
    """What docstrings call ``room.module`` or ``room/module``, where the room has no such module and no such name."""
    lost = []
    for name in [name for told in docstrings(source) for name in MODULE.findall(told)]:
        room, _, rest = name.replace("/", ".").removeprefix("thinkery.").partition(".")
        folder, module = PACKAGE / room, rest.partition(".")[0]
        if not folder.is_dir() or module in ("", "py"):
            continue
        there = (folder / f"{module}.py").is_file() or (folder / module).is_dir()
        if not there and not re.search(rf"\b{module}\b", (folder / "__init__.py").read_text(encoding="utf-8")):
            lost.append(name)
    return lost


def test_a_file_that_is_not_there_is_found() -> None:
    path = PACKAGE / "stages" / "rl.py"
    told = '"""Left out: credit (``nowhere.py``), sampling (``sampling.py``), ``docs/no.md``, ``training.nothing``."""'
    assert missing(path, told) == ["nowhere.py", "docs/no.md"]
    assert lost_modules(told) == ["training.nothing"]


def test_docstrings_name_files_that_exist() -> None:
    sources = {path: path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")}
    found = {str(path.relative_to(ROOT)): missing(path, text) + lost_modules(text) for path, text in sources.items()}
    assert not {path: names for path, names in found.items() if names}
