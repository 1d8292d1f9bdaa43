"""The README and the docs show the tree as it is: paths, links, layers, and a recipe that runs."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from thinkery.cli import app

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
ARCHITECTURE = ROOT / "docs" / "architecture.md"
PAGES = [README, ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md"))]
HISTORY = {ROOT / "docs" / "log.md"}  # speaks of what was there at its time
SOURCE = re.compile(r"(?<![\w./<-])(?:[\w-]+/)*[\w-]+(?:\.[\w-]+)*\.(?:py|cpp|md|yaml|toml|svg|txt)\b")
TOP = {"src", "tests", "docs", "recipes", "benchmarks"}
FOLDER = re.compile(r"`([\w.-]+(?:/[\w.-]+)*)/?`")
LINK = re.compile(r"\]\(([^)#]+)(?:#[\w-]+)?\)")
SHOWN = re.compile(r"^`([\w.]+)`\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)  # a file that the page has whole
WRITTEN_BY_RUNS = {"runs", "checkpoints", "set-aside", "evaluations"}


def exists(path: str, page: Path) -> bool:
    return any((folder / path).exists() for folder in (ROOT, ROOT / "src" / "thinkery", page.parent))


def sources(text: str) -> set[str]:
    """The source files that a text names, without those that it shows itself or only gives as an example."""
    return set(SOURCE.findall(text)) - {name for name, _ in SHOWN.findall(text)} - {"recipe.yaml"}


@pytest.mark.parametrize("page", [README, ARCHITECTURE], ids=lambda page: page.name)
def test_every_file_that_the_page_names_exists(page: Path) -> None:
    named = sources(page.read_text(encoding="utf-8"))
    assert len(named) > 10
    assert [path for path in sorted(named) if not exists(path, page)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_path_from_the_top_of_the_tree_exists(page: Path) -> None:
    """Other pages also name files that readers write themselves; those have no folder of ours before them."""
    if page in HISTORY:
        return
    text = page.read_text(encoding="utf-8")
    named = {path for path in [*SOURCE.findall(text), *FOLDER.findall(text)] if "/" in path}
    assert [path for path in sorted(named) if path.split("/")[0] in TOP and not (ROOT / path).exists()] == []


def test_every_folder_that_the_architecture_names_exists() -> None:
    named = {path for path in FOLDER.findall(ARCHITECTURE.read_text(encoding="utf-8")) if "/" in path}
    ours = {path for path in named if path.split("/")[0] not in WRITTEN_BY_RUNS}
    assert len(ours) > 10
    assert [path for path in sorted(ours) if not exists(path, ARCHITECTURE)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    links = [link for link in LINK.findall(page.read_text(encoding="utf-8")) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_a_name_that_is_not_there_is_found() -> None:
    assert sources("`stages/rl.py` or docs/gone.md; `mine.yaml`\n\n```yaml\nname: mine\n```\n") == {
        "stages/rl.py",
        "docs/gone.md",
        "mine.yaml",
    }
    assert sources("recipes/r1-qwen2.5-7b.yaml.") == {"recipes/r1-qwen2.5-7b.yaml"}
    assert sources("\n`mine.yaml`\n\n```yaml\nname: mine\n```\n") == set()
    assert exists("stages/rl.py", ARCHITECTURE)
    assert not exists("docs/gone.md", ARCHITECTURE)


def test_the_layers_are_those_that_the_linter_holds() -> None:
    (contract,) = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    section = ARCHITECTURE.read_text(encoding="utf-8").partition("\n## Layers\n")[2]
    picture = re.search(r"^```\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    assert picture is not None
    assert [re.split(r" {2,}", line)[0] for line in picture[1].splitlines()] == contract["layers"]


def test_every_package_has_its_row() -> None:
    section = ARCHITECTURE.read_text(encoding="utf-8").partition("\n## From a command")[0]
    rows = {name for row in re.findall(r"^\| (`.*?) \|", section, re.MULTILINE) for name in re.findall(r"`(.+?)`", row)}
    packages = {path.name for path in (ROOT / "src" / "thinkery").iterdir() if not path.name.startswith("__")}
    assert rows == packages - {"assets", "py.typed"}


def test_the_readme_s_own_recipe_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With fewer and smaller steps than it says, which a reader may wait for and a test may not."""
    monkeypatch.chdir(tmp_path)
    files = dict(SHOWN.findall(README.read_text(encoding="utf-8")))
    for name, text in files.items():
        Path(name).write_text(text, encoding="utf-8")
    recipe = yaml.safe_load(files["sums.yaml"])
    problems = [json.loads(line) for line in files["problems.jsonl"].splitlines()]
    assert recipe["stages"][0]["num_problems"] == len(problems) == 10
    smaller = ("steps=2", "num_generations=4", "max_completion_length=32", "no_signal_steps=null", "device=cpu")
    settings = [word for setting in smaller for word in ("--set", f"zero.{setting}")]
    said = CliRunner().invoke(app, ["run", "sums.yaml", *settings])
    assert said.exit_code == 0, said.output
    assert "10 reference answers checked" in said.output
    assert (tmp_path / "runs/sums/checkpoints/zero/model/config.json").is_file()
    assert (tmp_path / "runs/sums/report.html").is_file()
