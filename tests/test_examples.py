"""The example runs as a reader would run it, and what it trains gets better."""

from __future__ import annotations

import ast
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

import thinkery
from thinkery.models.loading import load_policy

EXAMPLE = Path(__file__).parents[1] / "examples" / "rl_loop.py"
SOURCE = Path(thinkery.__file__).resolve().parents[1]


def run(*options: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, str(EXAMPLE), *options], env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_the_loop_lifts_the_reward_and_saves_what_it_trained(tmp_path: Path) -> None:
    told = run(
        *("--steps", "8", "--num-problems", "16", "--num-generations", "8", "--max-completion-length", "64"),
        *("--held-out-problems", "16", "--results", str(tmp_path / "figures.json"), "--save", str(tmp_path / "model")),
    )
    assert told.returncode == 0, told.stderr
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert len(figures["rewards"]) == 8
    assert statistics.fmean(figures["rewards"][-2:]) > statistics.fmean(figures["rewards"][:2]) + 0.1
    assert 0 < figures["pass1_before"] < 1
    assert f"pass@1 after: {figures['pass1_after']:.3f}" in told.stdout
    assert load_policy(tmp_path / "model", template=None, device="cpu").template.name == "r1-zero-compact"


@pytest.mark.slow
def test_a_mistake_is_said_in_a_line(tmp_path: Path) -> None:
    told = run("--problems", str(tmp_path / "nowhere.jsonl"))
    assert told.returncode == 1
    assert told.stderr.startswith("error: ")
    assert "nowhere.jsonl" in told.stderr
    assert "Traceback" not in told.stderr


def test_the_loop_is_short_and_stands_on_public_parts() -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 300
    imported = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)]
    assert {node.module for node in imported if node.module and node.module.startswith("thinkery.stages")} == set()
    assert not [
        name.name
        for node in imported
        for name in node.names
        if name.name.startswith("_") and node.level == 0 and node.module != "__future__"
    ]
