"""One bad row, or many: all of them are told at once by file and line, or left out where the recipe says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from thinkery.problems.demonstrations import open_demonstrations
from thinkery.problems.mixture import MixedSource
from thinkery.problems.preferences import read_labels, read_pairs
from thinkery.problems.source import open_source
from thinkery.recipe import DataSpec, ProblemSpec
from thinkery.types import Problem, UserError


def write(path: Path, rows: list[Any]) -> str:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return str(path)


def sums(count: int, bad: dict[int, Any]) -> list[Any]:
    """``count`` problems, some of them replaced."""
    return [bad.get(i, {"prompt": f"What is {i} + 1?", "answer": f"{i + 1}"}) for i in range(count)]


def test_one_bad_row_of_many_is_told_with_how_to_go_on(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", sums(50, {36: {"prompt": "What?", "answer": None}}))
    with pytest.raises(UserError) as caught:
        open_source(ProblemSpec(source=source))
    assert str(caught.value) == (
        f"{source}, line 37: the field answer must be text or a number, not null; set on_bad_row: skip to go on with "
        "the other 49"
    )
    kept = open_source(ProblemSpec(source=source, on_bad_row="skip"))
    assert len(kept.fixed(None)) == 49
    assert kept.notes[1:] == [
        f"{source}: 1 of 50 rows left out:",
        f"  {source}, line 37: the field answer must be text or a number, not null",
    ]


def test_all_bad_rows_are_told_at_once_the_first_20_in_full_then_by_reason(tmp_path: Path) -> None:
    """Line 1, which decides the layout, may be bad as well."""
    bad: dict[int, Any] = {0: '{"prompt": "cut', 1: [1]} | {
        i: {"prompt": f"p{i}", "answer": None} for i in range(5, 25)
    }
    bad |= {i: {"prompt": f"p{i}", "answer": 1, "level": f"hard {i}"} for i in range(30, 33)}
    source = write(tmp_path / "a.jsonl", sums(40, bad))
    with pytest.raises(UserError) as caught:
        open_source(ProblemSpec(source=source))
    head, *lines = str(caught.value).splitlines()
    assert head == (
        f"{source}: 25 of 40 rows can't be used; correct them, or set on_bad_row: skip to go on with the other 15:"
    )
    assert lines[0] == f"  {source}, line 1, column 12: not JSON: Unterminated string starting at"
    assert [line.split(":")[0] for line in lines[:20]] == [
        f"  {source}, line {number}" + (", column 12" if number == 1 else "") for number in [1, 2, *range(6, 24)]
    ]
    assert lines[20] == "  and 5 more; all of them by reason:"
    assert lines[21] == "  20 x the field answer must be text or a number, not null"
    assert lines[22].startswith("  3 x the field level must be a whole number, not ...; if it is no level")
    assert len(lines) == 25


def test_a_stages_own_objections_are_in_the_same_list(tmp_path: Path) -> None:
    source = write(
        tmp_path / "a.jsonl", sums(10, {2: {"prompt": "", "answer": 1}, 4: {"prompt": "x" * 99, "answer": 1}})
    )

    def vet(problem: Problem) -> str | None:
        return "it is too long" if len(problem.prompt) > 50 else None

    with pytest.raises(UserError) as caught:
        open_source(ProblemSpec(source=source), vet)
    assert [line.partition("a.jsonl, ")[2] for line in str(caught.value).splitlines()[1:]] == [
        "line 3: the field prompt must be text that is not empty, not ''",
        "line 5: it is too long",
    ]
    left = open_source(ProblemSpec(source=source, on_bad_row="skip"), vet)
    assert [problem.id for problem in left.fixed(None)] == [f"a-{n}" for n in (1, 2, 4, 6, 7, 8, 9, 10)]
    levelled = ProblemSpec(source=source, on_bad_row="skip", languages={"de": 1.0})
    with pytest.raises(UserError, match="no problem has the levels"):
        open_source(levelled, vet)


def test_a_source_of_nothing_but_bad_rows_is_refused_even_where_they_may_be_skipped(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", [{"prompt": "p", "answer": 1, "level": "x"}] * 3)
    with pytest.raises(UserError, match="3 of 3 rows can't be used, no row is left:"):
        open_source(ProblemSpec(source=source, on_bad_row="skip"))


def test_each_source_of_a_mixture_has_its_own_word_and_knows_where_its_rows_stand(tmp_path: Path) -> None:
    good = ProblemSpec(source=write(tmp_path / "a.jsonl", sums(3, {})))
    bad = ProblemSpec(source=write(tmp_path / "b.jsonl", sums(3, {0: {"prompt": "p"}})), on_bad_row="skip")
    mixed = open_source(good.model_copy(update={"also": [bad]}))
    assert isinstance(mixed, MixedSource)
    assert mixed.place("b-2+1") == f"{tmp_path / 'b.jsonl'}, line 2"
    assert (mixed.skips("a-1+0"), mixed.skips("b-2+1")) == (False, True)
    with pytest.raises(UserError, match=r"b\.jsonl, line 1: "):
        open_source(good.model_copy(update={"also": [bad.model_copy(update={"on_bad_row": "stop"})]}))


TALK = {"prompt": "Hi", "completion": "<think>Greet.</think>Hello!"}
PAIR = {"prompt": "Hi", "chosen": "Hello!", "rejected": "No."}
LABEL = {"prompt": "Hi", "response": "Hello!", "safe": True}
TOOL = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": None, "tool_calls": [{}]}]}
KINDS: dict[str, tuple[Any, dict[str, Any], list[Any]]] = {
    "demonstrations": (lambda specs, note: open_demonstrations(specs[0], str, note), TALK, [
        TALK | {"completion": "<think>It goes on"}, TALK | {"completion": None}]),
    "pairs": (lambda specs, note: read_pairs(specs, str, note), PAIR, [PAIR | {"rejected": "Hello!"}, "{"]),
    "labels": (lambda specs, note: read_labels(specs, str, note), LABEL, [LABEL | {"safe": "maybe"}, {"prompt": "x"}]),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_holds_for_demonstrations_pairs_and_labels(kind: str, tmp_path: Path) -> None:
    read, good, bad = KINDS[kind]
    source = write(tmp_path / "a.jsonl", [good, bad[0], good, bad[1]])
    said: list[str] = []
    with pytest.raises(UserError) as caught:
        read([DataSpec(source=source)], said.append)
    head, *lines = str(caught.value).splitlines()
    assert head.startswith(f"{source}: 2 of 4 rows can't be used; correct them, or set on_bad_row: skip")
    assert [line.partition(", line ")[2][0] for line in lines] == ["2", "4"]
    assert len(read([DataSpec(source=source, on_bad_row="skip")], said.append)) == 2
    assert said == [f"{source}: 2 of 4 rows left out:", *lines]


def test_calls_of_tools_are_no_demonstration(tmp_path: Path) -> None:
    for name, row in {"a": TOOL, "b": TALK | {"tools": [{"name": "f"}]}}.items():
        with pytest.raises(UserError, match=r"line 1: .*no template here writes"):
            open_demonstrations(DataSpec(source=write(tmp_path / f"{name}.jsonl", [row])), str)


def test_demonstrations_and_pairs_are_read_as_more_data_sets_write_them(tmp_path: Path) -> None:
    thoughts = {"problem": "Hi", "deepseek_reasoning": "Greet.", "deepseek_solution": "Hello!", "solution": "-"}
    s1k = {"question": "Hi", "deepseek_thinking_trajectory": "Greet.", "deepseek_attempt": "Hello!", "solution": "-"}
    for i, row in enumerate([thoughts, s1k, {"input": "Hi", "output": "<think>Greet.</think>Hello!", "category": "x"}]):
        [one] = open_demonstrations(DataSpec(source=write(tmp_path / f"{i}.jsonl", [row])), str)
        assert (one.prompt, one.thinking, one.answer) == ("Hi", "Greet.", "Hello!")
    dialogue = "\n\nHuman: Hi\n\nAssistant: Yes?\n\nHuman: Where is Oslo?\n\nAssistant: "
    row = {"chosen": dialogue + "In Norway.", "rejected": dialogue + "Don't know."}
    [pair] = read_pairs([DataSpec(source=write(tmp_path / "p.jsonl", [row]))], str)
    assert [turn["content"] for turn in pair.prompt if isinstance(turn, dict)] == ["Hi", "Yes?", "Where is Oslo?"]
    assert (pair.chosen.answer, pair.rejected.answer) == ("In Norway.", "Don't know.")


def test_an_object_that_holds_the_list_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"version": 1, "data": sums(3, {})}, indent=1))
    assert [problem.reference for problem in open_source(ProblemSpec(source=str(path))).fixed(None)] == ["1", "2", "3"]
    path.write_text(json.dumps({"train": sums(3, {}), "test": sums(3, {})}, indent=1))
    with pytest.raises(UserError, match="line 1"):
        open_source(ProblemSpec(source=str(path)))
