"""The map for contributors is true: its files are there, its commands exist, hooks and workflow match."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (.+?) \| (.+?) \| (.+?) \|$", PAGE, re.MULTILINE)[1:]  # after the heading
TARGETS = re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE)


def test_the_map_has_ten_changes() -> None:
    assert len(ROWS) == 10


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/plugins.md", "docs/notation.md"])
def test_the_files_that_a_page_names_exist(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:src|tests|docs|benchmarks|examples|recipes|\.ci)/[\w./-]+)`", text))
    linked = {str(Path(page).parent / link) for link in re.findall(r"\]\((?!http)([\w./-]+)\)", text)}
    assert named | linked
    assert not [name for name in named | linked if not (ROOT / name).exists()]


def test_the_make_targets_that_the_page_names_exist() -> None:
    named = re.findall(r"make ([a-z-]+)", PAGE)
    assert named
    assert set(named) <= set(TARGETS)


def test_the_rooms_that_make_fast_is_asked_for_have_tests() -> None:
    for room in re.findall(r"make fast T=(\w+)", PAGE):
        assert list((ROOT / "tests" / room).rglob("test_*.py")), room


def test_the_hooks_run_what_make_lint_runs() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert [repo["repo"] for repo in config["repos"]] == ["local"]
    tools = {hook["entry"].split()[0].removeprefix(".venv/bin/") for repo in config["repos"] for hook in repo["hooks"]}
    recipe = MAKEFILE.partition("\nlint:")[2].partition("\n\n")[0]
    assert tools == set(re.findall(r"\$\(BIN\)/([\w-]+)", recipe))


def test_the_workflow_does_what_ci_does() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yml").read_text(encoding="utf-8"))
    steps = [step["run"] for step in workflow["jobs"]["test"]["steps"] if "run" in step]
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    asked = [line for line in script if line.startswith("make ")]
    assert asked
    assert [step for step in steps if step.startswith("make ")] == asked


def test_fast_leaves_out_what_test_does_not() -> None:
    fast = re.search(r"^fast:.*\n\t(.*)$", MAKEFILE, re.MULTILINE)
    test = re.search(r"^test:.*\n\t(.*)\n\t(.*)$", MAKEFILE, re.MULTILINE)
    assert fast
    assert test
    assert "not slow" in fast[1]
    assert "slow" not in test[1] + test[2]
