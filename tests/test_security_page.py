"""SECURITY.md: every test that it names exists, and nothing of ours loads what a pickle could run."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGE)
# The workers' processes are ours, and so is what they say; the line only finds out whether an error can be sent.
OWN_PIPES = {"src/thinkery/rollout/native/worker_main.py", "src/thinkery/rewards/workers/reward_host.py"}
UNPICKLING = re.compile(r"^(?:pickle|cPickle|dill|cloudpickle|joblib|marshal|shelve)\.(?:loads?|Unpickler|open)$")
LOADING = re.compile(r"^(?:torch|np|numpy)\.load$|^yaml\.(?:load|load_all|unsafe_load|full_load)$")


def test_every_test_that_the_page_names_exists() -> None:
    assert len(NAMED) > 30
    missing = []
    for file, name in NAMED:
        path = ROOT / file
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        functions = {node.name for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)}
        if not functions or (name and name not in functions):
            missing.append(f"{file}::{name}")
    assert missing == []


def test_every_row_of_the_table_names_a_test() -> None:
    table = PAGE.partition("## Where data choose code")[2].partition("## What is not defended")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ") and not line.startswith("| place")]
    assert len(rows) > 15
    assert [row for row in rows if not re.search(r"`tests/[^`]+` \|$", row)] == []


def test_nothing_of_ours_unpickles_a_file() -> None:
    """What is inside the sandbox is left out: it reads what the host sends."""
    found = []
    for path in sorted((ROOT / "src").rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        if "sandbox/inside" in name or name in OWN_PIPES:
            continue
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(call, ast.Call):
                continue
            called = ast.unparse(call.func)
            arguments = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
            safe = arguments.get("weights_only") == "True" or "Loader" in [ast.unparse(one) for one in call.args]
            if UNPICKLING.match(called) or (LOADING.match(called) and not safe):
                found.append(f"{name}: {called}")
    assert found == []
