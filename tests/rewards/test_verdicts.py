"""Verdicts on whole files of cases: those that are shared, and the kinds that peers test, in our own words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from thinkery.rewards import grade_math
from thinkery.types import Outcome

PEERS = Path(__file__).parent / "data" / "verdict_cases.jsonl"


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.shared
@pytest.mark.parametrize("name", ["adversarial", "realistic", "probe"])
def test_strict_cases_are_judged_right(shared: Path, name: str) -> None:
    strict = [row for row in rows(shared / "cases" / f"{name}.jsonl") if row["strict"]]
    accepted = {row["id"]: grade_math(row["completion"], row["reference"]).correct for row in strict}
    assert [row["id"] for row in strict if accepted[row["id"]] and not row["expected"]] == []
    wrong = [row["id"] for row in strict if accepted[row["id"]] != bool(row["expected"])]
    assert len(wrong) <= 0.02 * len(strict), wrong


def test_kinds_that_peers_test_are_judged_as_they_do_unless_a_reason_is_given() -> None:
    differs = []
    for row in rows(PEERS):
        completion = row.get("completion") or f"<think>w</think><answer>${row['answer']}$</answer>"
        agrees = grade_math(completion, row["reference"]).correct == bool(row["peer_expects"])
        if agrees == (row.get("right") == "we"):
            differs.append(row)
    assert differs == []


@pytest.mark.shared
def test_hardly_a_reference_is_left_out(shared: Path) -> None:
    lines = (shared / "data" / "gsm8k_test.jsonl").read_text().splitlines()
    data = {"gsm8k": [json.loads(line)["answer"].rpartition("####")[2].strip() for line in lines]}
    for name in ("math", "aime"):
        data[name] = [row["answer"] for row in json.loads((shared / "data" / f"rllm_{name}.json").read_text())]
    for references in data.values():
        outcomes = [grade_math(f"<think>w</think>\\boxed{{{gold}}}", gold).outcome for gold in references]
        assert outcomes.count(Outcome.REFERENCE_UNPARSEABLE) < 0.01 * len(references)
        assert outcomes.count(Outcome.CORRECT) >= 0.99 * len(references)
