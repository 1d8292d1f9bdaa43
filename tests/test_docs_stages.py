"""The page on stages: its commands are understood, its files are read, and none of the stages is left out."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from thinkery.cli import app
from thinkery.models.template import TEMPLATES
from thinkery.problems.demonstrations import open_demonstrations
from thinkery.problems.preferences import read_labels, read_pairs
from thinkery.problems.source import open_source
from thinkery.recipe import DataSpec, ProblemSpec

pytestmark = pytest.mark.slow

PAGE = (Path(__file__).parents[1] / "docs" / "stages.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^`(\S+\.jsonl)`\n\n```json\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = [line for block in BLOCKS for line in block.splitlines()]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JUDGE_KEY", "secret")
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_understood(place: Path, command: str) -> None:
    program, *arguments = shlex.split(command)
    assert program == "thinkery"
    done = CliRunner().invoke(app, [*arguments, "--dry-run"])
    assert done.exit_code == 0, done.output


def test_every_command_has_an_example() -> None:
    named = {shlex.split(command)[1] for command in COMMANDS}
    assert named == {"grpo", "sft", "collect", "judge", "reward-model", "eval"}
    assert set(re.findall(r"^\| `([\w-]+)` \|", PAGE, re.MULTILINE)) == TEMPLATES.keys()


def test_the_settings_in_the_text_are_understood(place: Path) -> None:
    (place / "held-out.jsonl").write_text(FILES["problems.jsonl"])
    settings = [text for text in re.findall(r"`--set (\S+=.*?)`", PAGE) if "FIELD" not in text]
    rewards = re.findall(r"`--reward (\S+=.*?)`", PAGE)
    assert len(settings) == 5
    for option, value in [
        *(("--set", shlex.split(text)[0]) for text in settings),
        *(("--reward", shlex.split(text)[0]) for text in rewards),
    ]:
        judge = ["judge", "--task", "preference", "--judge", "http://host/v1", "--judge-model", "judge"]
        command = {"refine": ["collect"], "mismatched": judge}.get(value.partition("=")[0], ["grpo"])
        done = CliRunner().invoke(
            app, [*command, "--model", "./m", "--data", "problems.jsonl", option, value, "--dry-run"]
        )
        assert done.exit_code == 0, done.output


def test_the_files_are_read_as_the_page_says(place: Path) -> None:
    problems = open_source(ProblemSpec(source="problems.jsonl")).fixed(None)
    assert [problem.verifier for problem in problems] == ["math", "choice"]
    assert len(open_source(ProblemSpec(source="prompts.jsonl", verifier="none")).fixed(None)) == 2
    for line in FILES["demonstrations.jsonl"].splitlines():
        (place / "one.jsonl").write_text(line)
        (demonstration,) = open_demonstrations(DataSpec(source="one.jsonl"), str)
        assert demonstration.answer
    (pair,) = read_pairs([DataSpec(source="pairs.jsonl")], str)
    assert pair.chosen.answer == json.loads(FILES["pairs.jsonl"])["chosen"]
    assert [label.safe for label in read_labels([DataSpec(source="labels.jsonl")], str)] == [True, False]
