"""The phenomena on runs with planted effects, without any, with some turned round, and with stages missing."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from thinkery.mini.phenomena import PHENOMENA, Ladder, NotMeasuredError, phenomena
from thinkery.mini.phenomena.ladder import Column
from thinkery.types import UserError

MakeRun = Callable[..., Path]
ALL = [f"P{i}" for i in range(1, 23)]
# What turns each phenomenon round: a model of the world and the changes to it.
ROUND = {
    "P1": ("base", {"solves": 0.95}),
    "P4": ("base", {"thinking": 90.0}),
    "P6": ("base", {"reflections": 0.9}),
    "P7": ("r1", {"deeper": -0.2}),
    "P8": ("zero", {"instructions": 0.9}),
    "P9": ("dev1", {"solves": 0.9}),
    "P11": ("dev3", {"code": -0.3, "instructions": 0.3}),
    "P12": ("r1", {"wins": 0.3}),
    "P13": ("no-language", {"speaks": 0.99}),
    "P15": ("student-rl", {"solves": 0.8}),
    "P16": ("distill-s", {"solves": 0.9}),
    "P17": ("ppo-95", {"solves": 0.9}),
    "P18": ("clip-low", {"solves": 0.9}),
    "P20": ("naive-grpo", {"solves": 0.9}),
    "P22": ("r1", {"few_shot": 0.98}),
}


def by_id(found: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {entry["id"]: entry for entry in found}


@pytest.fixture(scope="module")
def planted(paper_runs: list[Path]) -> dict[str, dict[str, Any]]:
    return by_id(phenomena(paper_runs))


@pytest.mark.slow
def test_all_hold_where_all_are_planted(planted: dict[str, dict[str, Any]]) -> None:
    assert list(planted) == ALL == [phenomenon.id for phenomenon in PHENOMENA]
    assert {name: entry.get("why") for name, entry in planted.items() if not entry["holds"]} == {}


def test_every_finding_names_its_figures_and_its_test(planted: dict[str, dict[str, Any]]) -> None:
    for entry in planted.values():
        assert list(entry) == ["id", "title", "holds", "paper", "here", "test"]
        assert entry["test"]
        intervals = {name: value for name, value in entry["here"].items() if name.endswith("_ci95")}
        for name, (low, high) in intervals.items():
            assert low <= entry["here"][name.removesuffix("_ci95")] <= high
    assert json.loads(json.dumps(list(planted.values()))) == list(planted.values())
    here = planted["P1"]["here"]
    assert here["gain"] == pytest.approx(here["zero"] - here["base"])
    assert "80 problems of reasoning in 2 runs" in planted["P1"]["test"]


@pytest.mark.slow
def test_none_holds_where_nothing_happens(flat_runs: list[Path]) -> None:
    found = phenomena(flat_runs)
    assert [entry["id"] for entry in found if entry["holds"]] == []
    assert [entry["id"] for entry in found if entry["holds"] is None] == []
    assert all(entry["why"] for entry in found)


def test_the_same_runs_give_the_same_findings(paper_runs: list[Path], planted: dict[str, dict[str, Any]]) -> None:
    assert by_id(phenomena(paper_runs)) == planted


@pytest.fixture(scope="module")
def turned(tmp_path_factory: pytest.TempPathFactory, make_run: MakeRun, paper_world: Any) -> dict[str, dict[str, Any]]:
    """One run in which as many phenomena as possible are turned round, each by one model."""
    world, taken = paper_world, set()
    for name, changes in ROUND.values():
        if name not in taken:
            taken.add(name)
            world = world.but(**{name.replace("-", "_"): replace(paper_world.models[name], **changes)})
    return by_id(phenomena([make_run(tmp_path_factory.mktemp("turned") / "run", world)]))


def test_what_goes_the_other_way_does_not_hold(turned: dict[str, dict[str, Any]]) -> None:
    expected = ["P1", "P7", "P8", "P9", "P13", "P15", "P16", "P17", "P18", "P20"]
    assert [name for name in expected if turned[name]["holds"] is not False] == []
    assert "goes the other way" in turned["P1"]["why"]


@pytest.mark.parametrize("name", ["P4", "P6", "P11", "P12", "P22"])
def test_one_model_turned_round(
    name: str, tmp_path: Path, make_run: MakeRun, paper_world: Any, paper_runs: list[Path]
) -> None:
    model, changes = ROUND[name]
    one = type(paper_world)({model: replace(paper_world.models[model], **changes)})
    folder = tmp_path / "run"
    shutil.copytree(paper_runs[0], folder)
    changed = make_run(tmp_path / "other", one)
    for path in (changed / "evaluations").iterdir():
        shutil.copy(path, folder / "evaluations" / path.name)
    (phenomenon,) = [each for each in PHENOMENA if each.id == name]
    finding = phenomenon.tested(Ladder([folder]))
    assert not finding.holds
    assert finding.why


def test_what_was_not_run_is_not_measured(tmp_path: Path, make_run: MakeRun, paper_world: Any) -> None:
    world = type(paper_world)({name: paper_world.models[name] for name in ("base", "zero")})
    found = by_id(phenomena([make_run(tmp_path / "run", world)]))
    measured = [name for name, entry in found.items() if entry["holds"] is not None]
    assert measured == ["P1", "P2", "P3", "P6", "P7"]
    assert found["P9"] == {
        "id": "P9",
        "title": "A small cold start drops reasoning",
        "holds": None,
        "paper": "77.9 to 59.0 on AIME 2024",
        "here": {},
        "test": "",
        "why": "no run has evaluated dev1 on reasoning, zero on reasoning",
    }
    assert found["P4"]["why"] == "no run has 20 steps of zero with completions/mean_thinking_length"


def test_an_empty_run_measures_nothing(tmp_path: Path, make_run: MakeRun, paper_world: Any) -> None:
    found = phenomena([make_run(tmp_path / "run", type(paper_world)())])
    assert {entry["holds"] for entry in found} == {None}


@pytest.mark.slow
def test_comparisons_of_the_same_seed_belong_to_the_ladder(tmp_path: Path, make_run: MakeRun, paper_world: Any) -> None:
    apart = ("preference-long", "zero")
    ladder = make_run(tmp_path / "ladder", paper_world.without(*apart))
    pick = {name: paper_world.models[name] for name in apart}
    comparisons = type(paper_world)(pick, {name: paper_world.curves[name] for name in apart})
    same = by_id(phenomena([ladder, make_run(tmp_path / "same", comparisons, seed=0)]))
    other = by_id(phenomena([ladder, make_run(tmp_path / "other", comparisons, seed=1)]))
    assert (same["P1"]["holds"], other["P1"]["holds"]) == (True, None)
    assert "R1's pass@1 less" in same["P14"]["test"]
    assert "R1's pass@1 less" not in other["P14"]["test"]


def test_too_few_problems_and_problems_of_other_settings_are_refused(paper_runs: list[Path]) -> None:
    ladder = Ladder(paper_runs)
    with pytest.raises(NotMeasuredError, match="0 problems of reasoning"):
        ladder.table(Column("zero"), Column("zero", benchmark="general"))
    with pytest.raises(NotMeasuredError, match=r"no run has evaluated gone on reasoning"):
        ladder.table(Column("gone"))


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is no run folder: it has no manifest\.json"):
        phenomena([tmp_path])
    with pytest.raises(UserError, match="at least one run"):
        phenomena([])
