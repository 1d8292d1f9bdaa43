"""Figures in the README and the docs are those of the committed results: ``benchmarks/figures.yaml`` says which."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGES = [
    page.relative_to(ROOT).as_posix() for page in [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
]
LIST = yaml.safe_load((ROOT / "benchmarks" / "figures.yaml").read_text(encoding="utf-8"))
QUOTED: dict[str, list[str]] = LIST["quoted"]
COMPLETE: dict[str, dict[str, list[str]]] = LIST["complete"]
FIGURE = re.compile(r"\{(\w+)\.(\w+):(,?\.\d[f%])\}")
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
Span = tuple[int, int]


@cache
def figures(result: str) -> dict[str, Any]:
    return dict(json.loads((RESULTS / f"{result}.json").read_text())["figures"])


def rendered(piece: str) -> tuple[str, list[Span]]:
    """The piece with the measured figures, and where in it they are."""
    text, spans, end = "", [], 0
    for found in FIGURE.finditer(piece):
        result, name, how = found.groups()
        text += piece[end : found.start()]
        figure = format(figures(result)[name], how).replace("%", " %")
        spans.append((len(text), len(text) + len(figure)))
        text, end = text + figure, found.end()
    return text + piece[end:], spans


def unlisted(section: str, pieces: list[str], unmeasured: list[str]) -> list[str]:
    """The numbers of a section that are neither a piece's figures nor part of the other texts."""
    known: list[Span] = []
    for piece in pieces:
        text, spans = rendered(piece)
        known += [(at + start, at + end) for at in places(text, section) for start, end in spans]
    known += [(at, at + len(text)) for text in unmeasured for at in places(text, section)]
    return [
        found[0]
        for found in NUMBER.finditer(section)
        if not any(start <= found.start() and found.end() <= end for start, end in known)
    ]


def places(text: str, section: str) -> Iterator[int]:
    return (found.start() for found in re.finditer(re.escape(text), section))


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def section_of(page: str, heading: str) -> str:
    _, found, rest = read(page).partition(f"\n{heading}\n")
    assert found, f"{page} has no section {heading!r}"
    return re.split(rf"^{heading.split()[0]} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


@pytest.mark.parametrize(("page", "piece"), [(page, piece) for page, pieces in QUOTED.items() for piece in pieces])
def test_a_quoted_figure_is_the_measured_one(page: str, piece: str) -> None:
    assert FIGURE.search(piece), "a piece without a figure compares nothing"
    text, _ = rendered(piece)
    assert "{" not in text, "written as {result.figure:.2f}"
    assert read(page).count(text) == 1, f"{page} should say, once: {text}"


@pytest.mark.parametrize(("page", "heading"), [(page, heading) for page, some in COMPLETE.items() for heading in some])
def test_every_number_of_a_section_is_listed(page: str, heading: str) -> None:
    assert unlisted(section_of(page, heading), QUOTED[page], COMPLETE[page][heading]) == []


def test_a_number_that_nobody_listed_is_found() -> None:
    piece = "| base | {ladder.base_pass1:.3f} |"
    text, _ = rendered(piece)
    assert unlisted(f"{text}\npass@1 is 0.5, or 1,319.", [piece], ["pass@1"]) == ["0.5", "1,319"]
    assert unlisted("| base | 0.999 |", [piece], []) == ["0.999"]


def test_a_text_that_is_no_longer_on_the_page_is_no_longer_listed() -> None:
    for page, sections in COMPLETE.items():
        for heading, texts in sections.items():
            section = section_of(page, heading)
            assert [text for text in texts if text not in section] == []


@pytest.mark.parametrize("page", PAGES)
def test_a_page_has_no_comments(page: str) -> None:
    assert "<!--" not in read(page)


def test_the_readme_and_six_pages_quote_figures() -> None:
    assert len(QUOTED["README.md"]) >= 30
    assert len(QUOTED) >= 7


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.json")), ids=lambda path: path.name)
def test_a_result_says_how_it_was_measured(path: Path) -> None:
    result = json.loads(path.read_text())
    assert {"name", "command", "machine", "commit", "date", "figures"} <= result.keys()
    assert result["name"] == path.stem
    assert all(isinstance(value, int | float) for value in result["figures"].values())
