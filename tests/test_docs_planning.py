"""The page on planning: its commands are understood, its tables are the code's."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer.main

from thinkery.cli import app
from thinkery.planning.assumptions import FIELDS
from thinkery.planning.efficiency import DENSE, MIXTURE
from thinkery.planning.lengths import SPREAD

PAGE = (Path(__file__).parents[1] / "docs" / "planning.md").read_text(encoding="utf-8")
COMMANDS = [
    line for block in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL) for line in block.splitlines()
]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_understood(command: str) -> None:
    program, name, *arguments = shlex.split(command)
    assert program == "thinkery"
    assert typer.main.get_command(app).commands[name].make_context(name, arguments).params


@pytest.mark.parametrize("field", FIELDS)
def test_every_assumption_has_its_row(field: str) -> None:
    assert f"\n| {field} | " in PAGE


@pytest.mark.parametrize(
    ("row", "dense", "mixture"),
    [
        ("m,", DENSE.training, MIXTURE.training),
        ("f,", DENSE.forward, MIXTURE.forward),
        ("d,", DENSE.decoding, MIXTURE.decoding),
        ("of the network", DENSE.network, MIXTURE.network),
    ],
)
def test_the_efficiencies_are_the_codes(row: str, dense: float, mixture: float) -> None:
    (line,) = [line for line in PAGE.splitlines() if line.startswith(f"| {row}")]
    cells = [cell.strip() for cell in line.split("|")]
    assert cells[2:4] == [f"{dense:g}", f"{mixture:g}"]


def test_a_layer_s_seconds_and_the_spread_are_the_codes() -> None:
    (line,) = [line for line in PAGE.splitlines() if line.startswith("| t,")]
    for efficiency in (DENSE, MIXTURE):
        assert f"{efficiency.layer_s * 1e6:g} µs, across nodes {efficiency.layer_across_s * 1e6:g} µs" in line
    assert f"standard deviation of log(length) of {SPREAD:g}" in PAGE
