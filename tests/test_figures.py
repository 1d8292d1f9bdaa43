"""Figures in the README and the docs are those of the committed results, rounded as shown."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FIGURE = re.compile(r"(?P<number>-?[\d.]+)(?P<percent> %)?<!--(?P<result>\w+)\.(?P<name>\w+)-->")


def figures() -> list[tuple[str, str, bool, str, str]]:
    return [
        (page.name, m["number"], bool(m["percent"]), m["result"], m["name"])
        for page in PAGES
        for m in FIGURE.finditer(page.read_text(encoding="utf-8"))
    ]


@pytest.mark.parametrize(("page", "number", "percent", "result", "name"), figures())
def test_a_quoted_figure_is_the_measured_one(page: str, number: str, percent: bool, result: str, name: str) -> None:
    measured = json.loads((ROOT / "benchmarks" / "results" / f"{result}.json").read_text())["figures"][name]
    decimals = len(number.partition(".")[2])
    assert float(number) == round(measured * (100 if percent else 1), decimals), (page, name)


def test_the_readme_quotes_figures() -> None:
    assert sum(page == "README.md" for page, *_ in figures()) >= 10


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks" / "results").glob("*.json")), ids=lambda path: path.name)
def test_a_result_says_how_it_was_measured(path: Path) -> None:
    result = json.loads(path.read_text())
    assert {"name", "command", "machine", "commit", "date", "figures"} <= result.keys()
    assert result["name"] == path.stem
    assert all(isinstance(value, int | float) for value in result["figures"].values())
