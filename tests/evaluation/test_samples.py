"""The table of samples and its summary: the promised keys, and figures that can be counted by hand."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from thinkery.evaluation import Samples, summarize
from thinkery.run import Run
from thinkery.types import UserError

Row = dict[str, Any]


def rows(name: str, answers: str, **columns: Any) -> list[Row]:
    """A letter a sample: C is correct, - has no answer and was cut off, any other letter is a wrong answer."""
    shared = {"problem_id": name, "domain": "math", "kind": None, "level": 1, "language": "en", "checked": True}
    return [
        shared
        | {
            "index": i,
            "correct": letter == "C",
            "answer": None if letter == "-" else letter,
            "well_formed": letter != "-",
            "truncated": letter == "-",
            "length": 10 + i,
            "thinking_length": 2,
            "reflections": 0,
            "language_share": None,
            "preference": None,
            "safe": None,
        }
        | columns
        for i, letter in enumerate(answers)
    ]


def test_figures_by_hand() -> None:
    samples = Samples.of(
        [
            *rows("a", "CCab"),
            *rows("b", "Caa-", level=2, language="zh", domain="code", reflections=3),
            *rows("c", "aabb", level=2, language="zh"),
        ]
    )
    figures = summarize(samples, seed=0)
    assert set(figures) == {
        "n", "checked", "k", "pass@1", "pass@1_ci95", "cons@4", "cons@4_ci95", "pass@4", "format", "mean_length",
        "mean_thinking_length", "truncated", "reflection", "reflections", "by_level", "by_language", "by_domain",
    }  # fmt: skip
    assert (figures["n"], figures["checked"], figures["k"]) == (3, 3, 4)
    assert figures["pass@1"] == pytest.approx(3 / 12)
    assert figures["pass@4"] == pytest.approx(2 / 3)
    assert figures["cons@4"] == pytest.approx(1 / 3)
    assert figures["format"] == pytest.approx(11 / 12)
    assert figures["mean_length"] == 11.5
    assert figures["mean_thinking_length"] == 2
    assert figures["truncated"] == pytest.approx(1 / 12)
    assert figures["reflection"] == pytest.approx(4 / 12)
    assert figures["reflections"] == pytest.approx(1)
    low, high = figures["pass@1_ci95"]
    assert 0 <= low <= figures["pass@1"] <= high <= 1
    assert {level: part["pass@1"] for level, part in figures["by_level"].items()} == {"1": 0.5, "2": 0.125}
    assert {name: part["n"] for name, part in figures["by_language"].items()} == {"en": 1, "zh": 2}
    assert {name: part["pass@1"] for name, part in figures["by_domain"].items()} == {"code": 0.25, "math": 0.25}
    assert json.loads(json.dumps(figures)) == figures


def test_what_no_rule_can_check_is_left_out_of_accuracy() -> None:
    talk = rows("talk", "xy", domain="general", checked=False, preference=0.5)
    harm = rows("harm", "xy", domain="general", checked=False, preference=1.0, safe=True)
    harm[1]["safe"] = False
    figures = summarize(Samples.of([*rows("a", "Ca"), *talk, *harm]), seed=0)
    assert (figures["n"], figures["checked"], figures["pass@1"]) == (3, 1, 0.5)
    assert figures["preference"] == 0.75
    assert figures["safe"] == 0.5
    assert "pass@1" not in figures["by_domain"]["general"]
    assert not any(key.startswith(("pass@", "cons@")) for key in summarize(Samples.of([*talk, *harm]), seed=0))


def test_samples_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    written = [*rows("b", "Ca", language_share=0.25, level=3), *rows("a", "-C", kind="sum")]
    with Run(tmp_path / "run") as run:
        stage = run.stage("zero.eval")
        stage.start("inputs")
        stage.save_samples("reasoning", list(reversed(written)))
    read = Samples.read(tmp_path / "run" / "evaluations" / "zero.reasoning.parquet")
    assert read.ids == ("a", "b")
    assert read.k == 2
    assert read.pass_1.tolist() == [0.5, 0.5]
    assert read.cons.tolist() == [1.0, 0.5]
    assert read.labels("level") == [1, 3]
    assert read.labels("kind") == ["sum", None]
    np.testing.assert_equal(read.mean("language_share"), [np.nan, 0.25])


def test_refuses_what_it_cannot_evaluate() -> None:
    with pytest.raises(UserError, match="problem b has 2 samples, a has 4"):
        Samples.of([*rows("a", "Caaa"), *rows("b", "CC")])
    with pytest.raises(UserError, match="no problems"):
        Samples.of([])
