"""Problem sources: positions, epochs, exclusions, and what a recipe can name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from thinkery.problems.source import (
    FileSource,
    ProblemSource,
    open_source,
    require_source,
    source_fingerprint,
)
from thinkery.recipe import ProblemSpec
from thinkery.types import UserError


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


@pytest.fixture
def ten(tmp_path: Path) -> Path:
    return write(tmp_path / "ten.jsonl", *({"prompt": f"p{i}", "answer": i, "level": 1 + i % 2} for i in range(10)))


def file_source(path: Path, seed: int = 0) -> FileSource:
    source = open_source(ProblemSpec(source=str(path), seed=seed))
    assert isinstance(source, FileSource)
    return source


def test_a_resumed_run_draws_what_the_interrupted_one_would_have(ten: Path) -> None:
    sources: list[ProblemSource] = [
        open_source(ProblemSpec(source="mini", split="train", seed=1)),
        file_source(ten, seed=1),
    ]
    for source in sources:
        assert source.draw(0, 30) == source.draw(0, 13) + source.draw(13, 17)


def test_a_file_is_drawn_in_epochs_of_different_order(ten: Path) -> None:
    source = file_source(ten, seed=2)
    epochs = [[problem.id for problem in source.draw(start, 10)] for start in (0, 10, 20)]
    assert all(sorted(epoch) == sorted(epochs[0]) for epoch in epochs)
    assert len(set(map(tuple, epochs))) == 3
    assert [problem.id for problem in file_source(ten, seed=3).draw(0, 10)] != epochs[0]


@pytest.mark.parametrize("count", [1, 3, 7, 9, 10])
def test_what_is_drawn_together_differs_even_where_an_epoch_ends(ten: Path, count: int) -> None:
    source = file_source(ten)
    steps = [[problem.id for problem in source.draw(start, count)] for start in range(0, 40 * count, count)]
    assert all(len(set(step)) == count for step in steps)
    times = [sum(step.count(f"ten-{i}") for step in steps) for i in range(1, 11)]
    assert max(times) - min(times) <= 0.25 * 4 * count + 2  # each about as often as the others


def test_fixed_problems_are_the_same_in_every_call_and_differ_in_their_text() -> None:
    problems = open_source(ProblemSpec(source="mini", split="test", levels=[1])).fixed(300)
    assert problems == open_source(ProblemSpec(source="mini", split="test", levels=[1])).fixed(300)
    assert len({problem.prompt for problem in problems}) == 300


@pytest.fixture
def mixture(ten: Path, tmp_path: Path) -> ProblemSpec:
    other = write(tmp_path / "other.jsonl", *({"prompt": f"q{i}", "answer": i} for i in range(8)))
    also = [{"source": str(other), "share": 1, "preference": "helpful"}]
    return ProblemSpec.model_validate({"source": str(ten), "share": 3, "also": also})


def test_mixed_sources_are_drawn_by_their_shares_in_every_stretch(mixture: ProblemSpec) -> None:
    source = open_source(mixture)
    drawn = source.draw(0, 40)
    assert drawn == open_source(mixture).draw(0, 40)
    for start in range(0, 40, 8):
        assert sum(problem.id.startswith("other") for problem in drawn[start : start + 8]) == 2
    alone = open_source(ProblemSpec.model_validate({"source": mixture.also[0].source, "preference": "helpful"}))
    others = [problem for problem in drawn if problem.id.startswith("other")]
    assert [problem.id for problem in others[:8]] == [f"{problem.id}+1" for problem in alone.draw(0, 8)]
    assert {problem.columns.get("preference") for problem in drawn if problem.id.startswith("other")} == {"helpful"}
    assert all("preference" not in problem.columns for problem in drawn if problem.id.startswith("ten"))


def test_a_fixed_set_of_mixed_sources_has_their_shares(mixture: ProblemSpec) -> None:
    source = open_source(mixture)
    fixed = source.fixed(8)
    assert fixed == source.fixed(8)
    assert sum(problem.id.startswith("ten") for problem in fixed) == 6
    assert len(source.fixed(None)) == 18
    assert len(source.fixed(1)) == 1


def test_what_is_left_out_of_mixed_sources_never_comes(mixture: ProblemSpec) -> None:
    source = open_source(mixture)
    source.exclude({"ten-1+0", "other-2+1"})
    drawn = {problem.id for problem in source.draw(0, 60)}
    assert not {"ten-1+0", "other-2+1"} & drawn
    assert {"ten-2+0", "other-1+1"} <= drawn


def test_sources_with_the_same_ids_can_be_mixed(ten: Path) -> None:
    both = [{"source": "mini", "domains": {"math": 1}}, {"source": "mini", "domains": {"logic": 1}}]
    mini = ProblemSpec.model_validate({**both[0], "also": both[1:]})
    twice = ProblemSpec.model_validate({"source": str(ten), "also": [{"source": str(ten), "share": 2}]})
    for spec in (mini, twice):
        problems = open_source(spec).draw(0, 9)
        assert len({problem.id for problem in problems}) == 9


def test_a_source_mixed_in_is_required_and_fingerprinted(mixture: ProblemSpec, ten: Path) -> None:
    require_source("zero.problems", mixture)
    assert len(source_fingerprint(mixture)) == 2
    Path(mixture.also[0].source).unlink()
    with pytest.raises(UserError, match=r"zero.problems.also\[0\].source = .*no such file"):
        require_source("zero.problems", mixture)


def test_excluded_problems_are_never_drawn_again(ten: Path) -> None:
    source = file_source(ten)
    source.exclude({"ten-1", "ten-4"})
    assert {problem.id for problem in source.draw(0, 8)} == {f"ten-{n}" for n in (2, 3, 5, 6, 7, 8, 9, 10)}
    assert len(source.fixed(None)) == 8
    with pytest.raises(UserError, match="every problem was left out"):
        source.exclude({f"ten-{n}" for n in range(11)})


def test_an_excluded_problem_of_an_endless_world_has_another_in_its_place() -> None:
    whole, source = (
        open_source(ProblemSpec(source="mini", split="train", seed=5)).draw(0, 20),
        open_source(ProblemSpec(source="mini", split="train", seed=5)),
    )
    source.exclude({whole[3].id, whole[7].id})
    drawn = source.draw(0, 20)
    assert [index for index in range(20) if drawn[index] != whole[index]] == [3, 7]
    assert drawn == source.draw(0, 5) + source.draw(5, 15)


def test_levels_select(ten: Path) -> None:
    assert {problem.level for problem in open_source(ProblemSpec(source=str(ten), levels=[2])).draw(0, 20)} == {2}
    with pytest.raises(UserError, match="no problem has the levels"):
        open_source(ProblemSpec(source=str(ten), levels=[3]))


def test_the_convention_is_told(ten: Path) -> None:
    assert file_source(ten).notes == [f"{ten}: 10 problems; plain: prompt = prompt, reference = answer"]


def test_columns_and_verifier_of_the_recipe_are_followed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {"question": "q", "final": "B", "answer": "because"})
    spec = ProblemSpec(source=str(path), columns={"prompt": "question", "answer": "final"}, verifier="choice")
    (problem,) = open_source(spec).fixed(None)
    assert (problem.reference, problem.verifier, problem.columns) == ("B", "choice", {"answer": "because"})


def test_what_a_benchmark_holds_is_left_out_and_told(tmp_path: Path) -> None:
    story = "A farmer has seventeen sheep and all but nine of them run away in the night, how many are left?"
    train = write(
        tmp_path / "train.jsonl",
        {"prompt": "What is 6*7?", "answer": 42},
        {"prompt": f"Riddle: {story.upper()} Think!", "answer": 9},
        {"prompt": "What is 6*8?", "answer": 48},
    )
    bench = write(tmp_path / "bench.jsonl", {"question": story}, {"question": "what is 6 * 8 ?"})
    source = open_source(ProblemSpec(source=str(train), decontaminate=[str(bench)]))
    assert [problem.reference for problem in source.fixed(None)] == ["42"]
    rule = "(10 words or 16 characters in a row)"
    told = f"{train}: left out for overlaps with benchmarks {rule}: 2 of 3 problems, 2 with {bench}"
    assert source.notes[1] == told
    with pytest.raises(UserError, match="every problem overlaps with one of"):
        open_source(ProblemSpec(source=str(train), decontaminate=[str(train)]))


def test_too_many_problems_are_refused(ten: Path) -> None:
    with pytest.raises(UserError, match="has 10 problems"):
        file_source(ten).fixed(11)
    with pytest.raises(UserError, match="say how many problems"):
        open_source(ProblemSpec(source="mini", split="test")).fixed(None)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"source": "gone.jsonl"}, "zero.problems.source = 'gone.jsonl': no such file in "),
        ({"source": "./gone/"}, "zero.problems.source = './gone/': no such file in "),
        (
            {"source": "HERE", "decontaminate": ["gone.json"]},
            "zero.problems.decontaminate[0] = 'gone.json': no such file in ",
        ),
    ],
)
def test_what_is_not_there_is_refused_before_anything_is_read(
    fields: dict[str, object], expected: str, ten: Path
) -> None:
    spec = ProblemSpec.model_validate(fields | ({"source": str(ten)} if fields["source"] == "HERE" else {}))
    with pytest.raises(UserError) as caught:
        require_source("zero.problems", spec)
    assert str(caught.value).startswith(expected)


@pytest.mark.parametrize(
    "source", ["mini", "gym://chain_sum", "owner/name", "hub://owner/name:main", "a.jsonl.gz", "x/"]
)
def test_a_recipe_may_name(source: str) -> None:
    assert ProblemSpec(source=source).source == source


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"source": "foo"}, "allowed: mini, a file"),
        ({"source": "mini", "split": "dev"}, "split = 'dev': mini has train and test"),
        ({"source": "mini", "columns": {"prompt": "q"}}, "columns: mini makes its problems itself"),
        ({"source": "gym://ab", "decontaminate": ["a.json"]}, "decontaminate: gym://ab makes its problems itself"),
        (
            {"source": "a.json", "columns": {"promt": "q"}},
            "columns.promt: no such column; allowed: prompt, answer, id, ",
        ),
        ({"source": "a.json", "columns": {"prompt": None}}, "columns.prompt: name the column that holds it"),
    ],
)
def test_a_recipe_may_not_name(fields: dict[str, object], expected: str) -> None:
    with pytest.raises(ValueError, match="ProblemSpec") as caught:
        ProblemSpec.model_validate(fields)
    assert expected in str(caught.value)


def test_the_fingerprint_follows_the_files(ten: Path, tmp_path: Path) -> None:
    bench = write(tmp_path / "b.jsonl", {"prompt": "p", "answer": 1})
    spec = ProblemSpec(source=str(ten), decontaminate=[str(bench)])
    before = source_fingerprint(spec)
    assert before.keys() == {str(ten), str(bench)}
    write(bench, {"prompt": "p", "answer": 2})
    assert source_fingerprint(spec) != before
    assert source_fingerprint(ProblemSpec(source="mini")) == {}
