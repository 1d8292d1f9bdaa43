"""Problem sources: positions, epochs, and files that say where they are wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from thinkery.problems.source import FileSource, MiniSource, open_source, read_jsonl
from thinkery.recipe import ProblemSpec
from thinkery.types import UserError


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


@pytest.fixture
def ten(tmp_path: Path) -> Path:
    return write(tmp_path / "ten.jsonl", *({"prompt": f"p{i}", "answer": i, "level": 1 + i % 2} for i in range(10)))


def test_a_resumed_run_draws_what_the_interrupted_one_would_have(ten: Path) -> None:
    for source in (MiniSource("train", seed=1), FileSource(ten, seed=1)):
        at_once = source.draw(0, 30)
        assert at_once == source.draw(0, 13) + source.draw(13, 17)


def test_a_file_is_drawn_in_epochs_of_different_order(ten: Path) -> None:
    source = FileSource(ten, seed=2)
    epochs = [[problem.id for problem in source.draw(start, 10)] for start in (0, 10, 20)]
    assert all(sorted(epoch) == sorted(epochs[0]) for epoch in epochs)
    assert len(set(map(tuple, epochs))) == 3
    assert [problem.id for problem in FileSource(ten, seed=3).draw(0, 10)] != epochs[0]


def test_fixed_problems_are_the_same_in_every_call_and_differ_in_their_text() -> None:
    problems = MiniSource("test", levels=[1]).fixed(300)
    assert problems == MiniSource("test", levels=[1]).fixed(300)
    assert len({problem.prompt for problem in problems}) == 300


def test_columns_travel_and_solution_stands_in_for_answer(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.jsonl", {"prompt": [{"role": "user", "content": "q"}], "solution": "7", "source": "book"}
    )
    (problem,) = read_jsonl(path)
    assert (problem.id, problem.reference, problem.columns) == ("a-1", "7", {"source": "book"})
    assert problem.prompt == ({"role": "user", "content": "q"},)


def test_levels_select(ten: Path) -> None:
    assert {problem.level for problem in open_source(ProblemSpec(source=str(ten), levels=[2])).draw(0, 20)} == {2}
    with pytest.raises(UserError, match="no problem has the levels"):
        open_source(ProblemSpec(source=str(ten), levels=[3]))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (['{"prompt": "p", "answer": 1}', '{"prompt": "p"'], "a.jsonl, line 2, column 15: not JSON"),
        (["[1]"], "a.jsonl, line 1: write an object"),
        ([{"answer": 1}], "a.jsonl, line 1: the field prompt must be"),
        ([{"prompt": "p"}], "a.jsonl, line 1: the field answer"),
        ([{"prompt": "p", "answer": 1, "level": "hard"}], "a.jsonl, line 1: the field level must be a whole number"),
        ([""], "a.jsonl: empty"),
    ],
)
def test_a_bad_file_says_where_and_what(rows: list[object], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="(?s)" + message.replace("[", r"\[")):
        read_jsonl(write(tmp_path / "a.jsonl", *rows))


def test_too_many_problems_are_refused(ten: Path) -> None:
    with pytest.raises(UserError, match="has 10 problems"):
        FileSource(ten).fixed(11)
    with pytest.raises(UserError, match="say how many problems"):
        MiniSource("test").fixed(None)
