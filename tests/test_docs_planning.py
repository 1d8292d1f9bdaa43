"""The page on planning: its commands are understood, its tables are the code's."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer.main

from thinkery.cli import app
from thinkery.plan.assumptions import FIELDS
from thinkery.plan.cost_models import GpuCluster
from thinkery.plan.efficiency import DENSE, MIXTURE
from thinkery.plan.estimate import plan_recipe
from thinkery.plan.hardware import GPUS, Cluster
from thinkery.plan.lengths import SPREAD
from thinkery.recipe import load_recipe

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "planning.md").read_text(encoding="utf-8")
H800 = GpuCluster(Cluster(GPUS["h800"], 64))
COMMANDS = [
    line for block in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL) for line in block.splitlines()
]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_understood(command: str) -> None:
    program, name, *arguments = shlex.split(command)
    assert program == "thinkery"
    assert typer.main.get_command(app).commands[name].make_context(name, arguments).params


def test_the_readme_quotes_what_the_command_says() -> None:
    total = plan_recipe(load_recipe(ROOT / "recipes" / "r1-qwen2.5-7b.yaml"), H800)["total"]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"it says {total['hours']:,.0f} hours, ${total['usd']:,.0f}," in readme


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
