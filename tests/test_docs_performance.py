"""The page on performance: its commands are understood, and its columns are those of a profile."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import typer.main

from thinkery.cli import app
from thinkery.machine.peaks import Peaks
from thinkery.profiling import figures_of

PAGE = (Path(__file__).parents[1] / "docs" / "performance.md").read_text(encoding="utf-8")
COMMANDS = [
    line for block in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL) for line in block.splitlines()
]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_understood(command: str) -> None:
    program, name, *arguments = shlex.split(command)
    assert program == "thinkery"
    assert typer.main.get_command(app).commands[name].make_context(name, arguments).params


def test_the_figures_on_the_page_are_those_that_a_profile_has() -> None:
    (example,) = re.findall(r"^```json\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    line = {"time/rollout": 1.0, "time/other": 1.0, "time/step": 2.0, "tokens_per_second": 1.0}
    figures = figures_of([line], Peaks({"bfloat16": 1.0}, 1.0), "bfloat16")
    assert json.loads(example).keys() == figures["parts"]["rollout"].keys()
