"""How a profile is shown: plain columns in a file, and a sentence on where most of the time goes."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from thinkery.report.profile import show_profile, verdict

COUNTED = {"tokens": 1e4, "flops": 4e9, "flops_per_s": 2e9, "bytes": 3e9, "bytes_per_s": 1.5e9}
UNCOUNTED = dict.fromkeys((*COUNTED, "tokens_per_s", "flop_share", "byte_share"))
ROLLOUT = {"seconds": 2.0, "share": 0.5, **COUNTED, "tokens_per_s": 5_000.0, "flop_share": 0.02, "byte_share": 0.1}
FIGURES: dict[str, Any] = {
    "recipe": "mini",
    "stage": "zero",
    "kind": "rl",
    "device": "cpu",
    "dtype": "bfloat16",
    "steps": 3,
    "machine": {"processor": "A processor [of some kind]", "cores": 2, "gpus": []},
    "peaks": {"bfloat16_flop_per_s": 1e11, "float32_flop_per_s": 5e10, "bytes_per_s": 1.5e10},
    "parts": {
        "rollout": ROLLOUT,
        "grading": UNCOUNTED | {"seconds": 0.4, "share": 0.1},
        "other": UNCOUNTED | {"seconds": 1.6, "share": 0.4},
    },
    "step": ROLLOUT | {"seconds": 4.0, "share": 1.0},
}


def shown(*, terminal: bool) -> str:
    stream = io.StringIO()
    show_profile(FIGURES, Console(file=stream, force_terminal=terminal, width=120))
    return stream.getvalue()


def test_a_file_gets_plain_columns() -> None:
    text = shown(terminal=False)
    assert "\x1b" not in text
    rows = [line.split() for line in text.splitlines()]
    assert ["rollout", "2", "50.0%", "5,000", "2", "2.0%", "1.5", "10.0%"] in rows
    assert ["grading", "0.4", "10.0%", *"–––––"] in rows
    assert ["whole", "step", "4", "100.0%", "5,000", "2", "2.0%", "1.5", "10.0%"] in rows
    peaks = "measured peaks: bf16 100 GFLOP/s, fp32 50 GFLOP/s, memory 15 GB/s"
    assert f"A processor [of some kind], 2 cores; {peaks}" in text


def test_a_terminal_gets_lines() -> None:
    assert "─" in shown(terminal=True)


def test_the_sentence_names_the_dearest_part_and_how_near_the_peaks_it_comes() -> None:
    assert verdict(FIGURES) == (
        "Most of the time goes to rollout: 50.0% of a step of 4 s, at 2.0% of the peak of matrix products and 10.0% of "
        "the memory's."
    )
    slow = FIGURES | {"parts": FIGURES["parts"] | {"grading": UNCOUNTED | {"seconds": 3.0, "share": 0.75}}}
    assert verdict(slow) == "Most of the time goes to grading: 75.0% of a step of 4 s."
