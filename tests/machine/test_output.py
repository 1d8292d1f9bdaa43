"""Output that goes away stops no run: a reader that leaves, a full disk, streams that were never there."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

DEADLINE_S = 240.0
RECIPE = """
name: tiny
base: {base}
template: r1-compact
stages:
  - {{name: zero, kind: rl, from: base, problems: {{source: {problems}}}, rewards: {{format: 1}}, steps: 3,
      no_signal_steps: null, learning_rate: 0.001, num_problems: 2, num_generations: 2, max_completion_length: 8,
      device: cpu}}
"""
THINKERY = f"{shlex.quote(sys.executable)} -m thinkery"
BROKEN = "standard output can't be written (Broken pipe); the run goes on without it\n"
FULL = "standard output can't be written (No space left on device); the run goes on without it\n"


def shell(line: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = ["bash", "-o", "pipefail", "-c", line]
    return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, cwd=cwd, env=environment)


@pytest.fixture
def recipe(tiny_model: Path, tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    problems = tmp_path / "of-the-run.jsonl"
    problems.write_text('{"prompt": "1 + 1?", "answer": "2"}\n{"prompt": "2 + 2?", "answer": "4"}\n')
    path.write_text(RECIPE.format(base=tiny_model, problems=problems))
    return path


@pytest.mark.parametrize(
    ("redirection", "said"),
    [("| head -1", BROKEN), (">/dev/full 2>&1", ""), ("</dev/null >&- 2>&-", "")],
)
def test_a_run_goes_on_without_its_output(redirection: str, said: str, recipe: Path, tmp_path: Path) -> None:
    done = shell(f"{THINKERY} run {recipe} --output-dir run {redirection}", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == said
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3]
    assert (tmp_path / "run" / "report.html").exists()


ALL = """
import json, sys
from thinkery.cli import app

model = sys.argv[1]
small = ["--set", "device=cpu", "--max-completion-length", "8"]
rows = {
    "problems": [{"prompt": f"{i} + {i}?", "answer": f"{2 * i}"} for i in (1, 2)],
    "demonstrations": [{"prompt": "1 + 1?", "thinking": "One and one.", "answer": "2"}] * 2,
    "pairs": [{"prompt": f"Hello {i}!", "chosen": "Good day!", "rejected": "What?"} for i in range(4)],
}
for name, some in rows.items():
    with open(f"{name}.jsonl", "w") as file:
        file.writelines(json.dumps(row) + "\\n" for row in some)
commands = {
    "grpo": ["--data", "problems.jsonl", "--steps", "2", "--num-problems", "2", "--num-generations", "2", *small],
    "sft": ["--data", "demonstrations.jsonl", "--set", "device=cpu"],
    "collect": ["--data", "problems.jsonl", *small],
    "judge": ["--data", "problems.jsonl", "--task", "safety", "--judge", "mini", *small],
    "reward-model": ["--data", "pairs.jsonl", "--objective", "pairwise", "--set", "device=cpu"],
    "eval": ["--data", "problems.jsonl", "--num-samples", "2", *small],
}
ended = {}
for name, arguments in commands.items():
    try:
        app([name, "--model", model, *arguments], standalone_mode=False)
        ended[name] = "done"
    except BaseException as error:
        ended[name] = repr(error)
with open("ended.json", "w") as file:
    json.dump(ended, file)
"""


def test_every_command_that_runs_stages_goes_on_without_its_output(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "all.py").write_text(ALL)
    command = f"{shlex.quote(sys.executable)} all.py {tiny_model} >/dev/full"
    said = shell(command, tmp_path)
    ended = json.loads((tmp_path / "ended.json").read_text())
    # A model with random weights says nothing that could be kept: to be told so is the end of these two.
    refused = {name: ended.pop(name) for name in ("collect", "judge") if ended[name] != "done"}
    assert set(refused.values()) <= {"Exit(2)", "2"}, said.stderr
    assert set(ended.values()) <= {"done", "Exit(0)"}, (ended, said.stderr)
    assert said.stderr.count(FULL) == 6


FULL_DISK = """
set -e
mount -t tmpfs -o size=300k none {folder}
{thinkery} run {recipe} --output-dir {folder}/run && exit 99 || echo "exit status $?"
mount -o remount,size=100m {folder}
{thinkery} run {recipe} --output-dir {folder}/run
"""


def test_a_full_disk_is_named_and_the_run_goes_on_once_there_is_room(recipe: Path, tmp_path: Path) -> None:
    """A disk of its own, as small as it is wanted, where the system gives one."""
    inside = ["unshare", "--user", "--map-root-user", "--mount", "bash", "-c"]
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run([*inside, f"mount -t tmpfs none {folder}"], capture_output=True).returncode != 0:
        pytest.skip("no file system can be mounted here")
    script = FULL_DISK.format(folder=folder, thinkery=THINKERY, recipe=recipe)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*inside, script], capture_output=True, text=True, timeout=DEADLINE_S, cwd=tmp_path, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert "exit status 2" in done.stdout
    error = done.stderr.splitlines()[-1]
    assert error.startswith(f"error: no room for {folder}/run/")
    assert f"the disk at {folder} is full" in error
    assert error.endswith("make room there and run the same command again: it resumes from its last checkpoint")
    assert "Traceback" not in done.stderr
    assert f"{folder}/run/report.html" in done.stdout.splitlines()[-1]
