"""The GPU benchmark does all its parts on a CPU at tiny shapes, and says so where there is no card."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch


@pytest.fixture
def gpu() -> Any:
    return importlib.import_module("gpu")


@pytest.mark.slow
def test_every_part_is_measured_at_tiny_shapes(gpu: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "gpu.json"
    arguments = ["--device", "cpu", "--shapes", "tiny", "--only", "update", "sft", "decode", "step"]
    monkeypatch.setattr(sys, "argv", ["gpu.py", *arguments, "--output", str(path)])
    gpu.main()
    result = json.loads(path.read_text())
    assert result["failures"] == {}
    for name in ("update_64", "sft_64", "step"):
        assert result["figures"][f"tiny_{name}_tokens_per_s"] > 0
    assert result["figures"]["tiny_update_64_product_share"] > 0
    assert "tiny_decode_8_bandwidth_share" in result["figures"]


@pytest.mark.slow
def test_what_runs_out_of_memory_is_named_and_the_rest_goes_on(gpu: Any) -> None:
    def too_much() -> dict[str, float]:
        raise torch.OutOfMemoryError

    report = gpu.Report(gpu.card_of(torch.device("cpu")))
    report.add("large", too_much)
    report.add("small", lambda: {"seconds": 1.0})
    assert report.failures == {"large": "out of memory"}
    assert report.figures["small_seconds"] == 1.0


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card here")
def test_without_a_card_it_says_what_to_try(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu.py"])
    with pytest.raises(SystemExit, match="no CUDA device here; try the code with --device cpu --shapes tiny"):
        gpu.main()
