"""How a plan is shown: plain columns in a file, warnings where something does not fit, every assumption."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from thinkery.plan.page import show_plan

GIB = 2**30
MEMORY = {
    "learning": {"weights": 10 * GIB, "optimizer": 8 * GIB, "gradients": 4 * GIB, "reference": 0.0, "activations": GIB},
    "sampling": {"weights": 15 * GIB, "cache": 3 * GIB},
    "largest_microbatch": 12345,
    "largest_slots": 678,
    "limit": 20 * GIB,
    "fits": False,
    "longest": 20000,
}
FIGURES: dict[str, Any] = {
    "recipe": "some",
    "machine": {"gpu": "h800", "gpus": 64, "usd_per_hour": 2.0, "assumed": True},
    "stages": [
        {
            "stage": "zero",
            "kind": "rl",
            "steps": 100,
            "step_seconds": 36.0,
            "parts": {"rollout": 30.0, "update": 6.0},
            "hours": 1.0,
            "gpu_hours": 64.0,
            "usd": 128.0,
            "memory": MEMORY,
        }
    ],
    "total": {"hours": 1.0, "gpu_hours": 64.0, "usd": 128.0},
    "assumptions": [("zero.mean_length", "6,554", "a fifth of the [limit]")],
    "sources": ["measured by [somebody]"],
}


def shown(figures: dict[str, Any], *, terminal: bool) -> str:
    stream = io.StringIO()
    show_plan(figures, Console(file=stream, force_terminal=terminal, width=160))
    return stream.getvalue()


def test_a_file_gets_plain_columns() -> None:
    text = shown(FIGURES, terminal=False)
    assert "\x1b" not in text
    rows = [line.split() for line in text.splitlines()]
    assert ["zero", "rl", "100", "36", "30", "–", "–", "6", "–", "1", "64", "128"] in rows
    assert ["zero", "10", "8", "4", "0", "1", "23", "15", "3", "12,345", "678"] in rows
    assert text.startswith("some: 1 hours on 64 h800, 64 GPU-hours, $128 at $2 an hour (assumed)\n")
    assert "zero does not fit into 20 GiB as the recipe asks: set zero.microbatch_tokens to 12345 or less" in text
    assert "zero: its longest sequence has 20,000 tokens, more than a GPU has room for" in text
    assert "  zero.mean_length = 6,554: a fifth of the [limit]\n" in text
    assert "  measured by [somebody]\n" in text


def test_what_fits_and_what_was_given_are_not_remarked_upon() -> None:
    stage = FIGURES["stages"][0] | {"memory": MEMORY | {"fits": True, "longest": 12345}}
    machine = FIGURES["machine"] | {"assumed": False}
    text = shown(FIGURES | {"machine": machine, "stages": [stage]}, terminal=False)
    assert "does not fit" not in text
    assert "longest" not in text
    assert "$128 at $2 an hour\n" in text


def test_nothing_is_cut_off_in_a_file() -> None:
    stage = FIGURES["stages"][0] | {"stage": "reasoning-600k", "kind": "reward_model", "hours": 98765, "usd": 12345678}
    assert "…" not in shown(FIGURES | {"stages": [stage]}, terminal=False)


def test_a_terminal_gets_lines() -> None:
    assert "─" in shown(FIGURES, terminal=True)


def test_ones_own_machine_has_hours_alone() -> None:
    stage = {name: value for name, value in FIGURES["stages"][0].items() if name not in ("gpu_hours", "usd")} | {
        "memory": None
    }
    text = shown(FIGURES | {"machine": None, "stages": [stage], "total": {"hours": 1.0}}, terminal=False)
    assert text.startswith("some: 1 hours on this machine\n")
    assert "GiB" not in text
    assert "$" not in text
