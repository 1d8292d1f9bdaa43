"""What all tests share: the data beside the repository, and quiet libraries."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"

# Tests never reach for the network, and a tokenizer must not fork threads into worker processes.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"


@pytest.fixture
def shared() -> Path:
    """The folder of shared data; its tests are marked ``shared``."""
    return SHARED


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("shared") and not SHARED.is_dir():
        reason = f"no shared data in {SHARED}"
        if os.environ.get("REQUIRE_SHARED") == "1":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
