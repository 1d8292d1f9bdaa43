"""Demonstrations as people publish them, read; what is wrong with a file, told with its place."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from thinkery.problems.demonstration_columns import split_thinking
from thinkery.problems.demonstrations import demonstration_row, open_demonstrations, read_demonstrations
from thinkery.recipe import DataSpec
from thinkery.types import Demonstration, UserError

Row = dict[str, Any]
Read = Callable[..., list[Demonstration]]
QUESTION, THINKING, ANSWER = "What is 2+2?", "Two and two.\nThat is 4.", "The answer is 4."
R1 = f"<think>\n{THINKING}\n</think>\n\n{ANSWER}"
ZERO = f" <think>{THINKING}</think><answer>{ANSWER}</answer>"
OPEN_THOUGHTS = (
    f"<|begin_of_thought|>\n\n{THINKING}\n\n<|end_of_thought|>\n\n<|begin_of_solution|>\n\n{ANSWER}\n\n"
    "<|end_of_solution|>"
)


def turn(role: str, content: str, **more: str) -> Row:
    return {"role": role, "content": content, **more}


def no_stage(name: str) -> str:
    raise AssertionError(f"{name} is no stage")


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Writes rows to a JSON lines file and reads them as demonstrations."""

    def read(*rows: Row | str, **settings: Any) -> list[Demonstration]:
        path = tmp_path / "set.jsonl"
        lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
        path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        return open_demonstrations(DataSpec(source=str(path), **settings), no_stage)

    return read


@pytest.mark.parametrize(
    ("row", "columns"),
    [
        ({"messages": [turn("user", QUESTION), turn("assistant", R1)], "num_tokens": 30, "source": "open-r1"}, {}),
        ({"messages": [turn("user", QUESTION), turn("assistant", ANSWER, reasoning_content=THINKING)]}, {}),
        ({"messages": [turn("user", QUESTION), turn("assistant", ANSWER, thinking=THINKING)]}, {}),
        ({"messages": [turn("user", QUESTION), turn("assistant", R1)], "problem": "x", "solution": "y"}, {}),
        ({"prompt": QUESTION, "completion": R1}, {}),
        ({"prompt": QUESTION, "completion": ZERO}, {}),
        ({"prompt": QUESTION, "completion": f"{THINKING}</think>\n\n{ANSWER}"}, {}),
        ({"prompt": [turn("user", QUESTION)], "completion": [turn("assistant", R1)]}, {}),
        ({"prompt": QUESTION, "thinking": THINKING, "answer": ANSWER}, {}),
        ({"prompt": QUESTION, "response": R1, "answer": "4"}, {}),
        ({"prompt": QUESTION, "reasoning": f"<think>{THINKING}</think>", "response": ANSWER}, {}),
        ({"instruction": QUESTION, "input": "", "output": R1}, {}),
        ({"instruction": QUESTION, "response": R1}, {}),
        ({"question": QUESTION, "answer": R1}, {}),
        ({"problem": QUESTION, "solution": R1}, {}),
        ({"conversations": [{"from": "human", "value": QUESTION}, {"from": "gpt", "value": R1}]}, {}),
        ({"conversations": [{"from": "user", "value": QUESTION}, {"from": "assistant", "value": OPEN_THOUGHTS}]}, {}),
        (
            {"question": QUESTION, "solution": "4", "trace": THINKING, "attempt": ANSWER},
            {"thinking": "trace", "answer": "attempt"},
        ),
        ({"dialog": [turn("user", QUESTION), turn("assistant", R1)]}, {"prompt": "dialog"}),
        (
            {"problem": QUESTION, "solution": R1, "answer": "4", "messages": [turn("user", "Else?")]},
            {"answer": "solution"},
        ),
    ],
)
def test_the_layouts_that_people_publish_are_read_as_the_same_demonstration(
    row: Row, columns: dict[str, str], read: Read
) -> None:
    [found] = read(row, columns=columns)
    assert (found.prompt, found.thinking, found.answer) == (QUESTION, THINKING, ANSWER)
    assert (found.id, found.domain, found.language, found.level) == ("set-1", "general", "en", 0)


def test_labels_are_read_where_they_are(read: Read) -> None:
    row = {"id": "a1", "prompt": "你好", "answer": "你好！", "domain": "talk", "language": "zh", "level": "Level 2"}
    assert read(row) == [Demonstration("a1", "你好", "", "你好！", "talk", "zh", 2)]
    [renamed] = read(row | {"topic": "chat"}, columns={"domain": "topic", "level": None, "id": None})
    assert (renamed.id, renamed.domain, renamed.level) == ("set-1", "chat", 0)


def test_thinking_may_differ_from_row_to_row(read: Read) -> None:
    found = read(
        {"prompt": "Hello", "answer": "Hi."},
        {"prompt": "2+2?", "answer": "4", "thinking": "Two and two."},
        {"prompt": "2+2?", "answer": "4", "reasoning": "Two and two.", "thinking": None},
        {"prompt": "2+2?", "answer": "<think>Two and two.</think>4", "thinking": ""},
        {"prompt": "Bye", "answer": "<think>\n\n</think>\n\nBye."},
    )
    assert [one.thinking for one in found] == ["", *["Two and two."] * 3, ""]
    assert [one.answer for one in found] == ["Hi.", "4", "4", "4", "Bye."]


def test_turns_before_the_last_stay_the_prompt_and_earlier_thinking_goes(read: Read) -> None:
    talk = [turn("system", "Be brief."), turn("user", "1+1?"), turn("assistant", "<think>One.</think>2")]
    [found] = read({"messages": [*talk, turn("user", QUESTION), turn("assistant", R1)]})
    assert found.prompt == (*talk[:2], turn("assistant", "2"), turn("user", QUESTION))
    assert (found.thinking, found.answer) == (THINKING, ANSWER)


def test_alpacas_input_follows_the_instruction_and_a_system_column_comes_first(read: Read) -> None:
    [found] = read({"instruction": "Add.", "input": "2 and 2", "output": "4", "system": "Be brief."})
    assert found.prompt == (turn("system", "Be brief."), turn("user", "Add.\n\n2 and 2"))
    [without] = read({"instruction": "Add.", "input": "x", "output": "4", "system": "y"}, columns={"system": None})
    assert without.prompt == "Add.\n\nx"


def test_parquet_and_json_lists_are_read_as_well(tmp_path: Path) -> None:
    rows = [{"messages": [turn("user", QUESTION), turn("assistant", R1)]}] * 3
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "set.parquet")
    (tmp_path / "set.json").write_text(json.dumps(rows))
    for name in ("set.parquet", "set.json"):
        found = open_demonstrations(DataSpec(source=str(tmp_path / name)), no_stage)
        assert [(one.prompt, one.thinking, one.answer) for one in found] == [(QUESTION, THINKING, ANSWER)] * 3


def test_a_table_is_read_as_well_and_an_empty_cell_is_no_thinking(tmp_path: Path) -> None:
    (tmp_path / "set.csv").write_text(f'prompt,thinking,answer\n{QUESTION},"{THINKING}",{ANSWER}\nHello!,,Good day!\n')
    with_thinking, without = open_demonstrations(DataSpec(source=str(tmp_path / "set.csv")), no_stage)
    assert (with_thinking.prompt, with_thinking.thinking, with_thinking.answer) == (QUESTION, THINKING, ANSWER)
    assert (without.thinking, without.answer) == ("", "Good day!")


def test_a_stages_demonstrations_come_back_as_they_were(tmp_path: Path) -> None:
    made = [
        Demonstration("a", "  One?  ", "\n so \n", " 1 ", "math", "en", 3),
        Demonstration("a", (turn("system", "s"), turn("user", "你好")), "", "你好", "general", "zh", 0),
        Demonstration("b", "Tag?", "", "It is <b>.", "code", "en", 1),
    ]
    rows = [demonstration_row(one) | {"reward": 1.0, "response": "as sampled", "input": 7} for one in made]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    spec = DataSpec(source="cold-start")
    assert open_demonstrations(spec, {"cold-start": str(tmp_path)}.__getitem__) == made


def test_a_stage_that_kept_nothing_is_named(tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").write_text("")
    with pytest.raises(UserError, match="the stage cold-start kept no demonstration"):
        open_demonstrations(DataSpec(source="cold-start"), lambda name: str(tmp_path))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (['{"prompt": "a", "answer": "b"}', '{"prompt": "a", '], r"set\.jsonl, line 2, column \d+: not JSON"),
        ([{"text": "a"}], r"line 1: no field for the answer of a demonstration .* the row has text; say which to take"),
        ([{"answer": "a"}], r"line 1: no field for the prompt"),
        ([{"prompt": "a", "output": "b", "response": "c"}], r"line 1: the answer could be response or output; say"),
        ([{"prompt": "a", "question": "b", "answer": "c"}], r"line 1: the prompt could be prompt or question; say"),
        ([{"prompt": "a", "answer": "b"}, {"prompt": "a"}], r"line 2: the field answer must be text"),
        ([{"prompt": "a", "answer": "b"}, {"answer": "b"}], r"line 2: the field prompt must be text"),
        ([{"prompt": "a", "answer": " "}], r"line 1: the field answer must be text that is not empty"),
        ([{"prompt": "a", "answer": "<think>b</think> "}], r"line 1: the field answer must hold an answer"),
        ([{"prompt": "a", "answer": "<think>b, and so on"}], r"opens <think> and never closes it; leave out"),
        ([{"prompt": "a", "answer": 4}], r"line 1: the field answer must be text that is not empty, not 4"),
        ([{"prompt": "a", "answer": "b", "thinking": 3}], r"line 1: the field thinking must be text, not 3"),
        ([{"messages": [turn("user", "a"), turn("assistant", "b")]}, {"messages": []}], r"line 2: the field messages"),
        (
            [{"messages": [turn("user", "a"), turn("assistant", "b")]}, {"messages": [turn("user", "a")]}],
            r"line 2: the field messages must end with the assistant's turn, and ends with one of user",
        ),
        ([{"messages": [turn("assistant", "b")]}], r"line 1: the field messages must hold what was asked"),
        ([{"messages": [turn("user", "a"), turn("assistant", "")]}], r"the field messages must hold an answer"),
        ([{"messages": [turn("wizard", "a"), turn("assistant", "b")]}], r"message 1 has the role 'wizard'"),
        ([{"messages": [{"role": "user"}, turn("assistant", "b")]}], r"message 1 has null as its content"),
        (
            [{"messages": [turn("user", "a"), {"role": "assistant", "content": [{"type": "text"}]}]}],
            r"message 2 has a list as its content, not text",
        ),
        ([{"messages": ["a", "b"]}], r"message 1 is text, not an object with role and content"),
        ([{"prompt": "a", "completion": [turn("assistant", "b")] * 2}], r"one turn of the assistant's, not 2 turns"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(rows: list[Row | str], message: str, read: Read) -> None:
    with pytest.raises(UserError, match=message):
        read(*rows)


def test_columns_that_are_not_there_or_not_ours_are_refused(read: Read) -> None:
    row = {"prompt": "a", "answer": "b"}
    with pytest.raises(UserError, match=r"columns\.reply: demonstrations have no such column; allowed: prompt, "):
        read(row, columns={"reply": "answer"})
    with pytest.raises(UserError, match=r"columns: \{answer: reply\}: there is no such field; the row has prompt, ans"):
        read(row, columns={"answer": "reply"})
    with pytest.raises(UserError, match=r"the field trace is missing, which columns: \{thinking: trace\} asks for"):
        read(row, columns={"thinking": "trace"})


def test_n_draws_a_part_by_the_seed_in_the_files_order(read: Read) -> None:
    rows = [{"prompt": f"Question {i}", "answer": str(i)} for i in range(50)]
    parts = [[int(one.answer) for one in read(*rows, n=20, seed=seed)] for seed in (0, 0, 1)]
    assert parts[0] == parts[1] == sorted(parts[0])
    assert parts[0] != parts[2]
    assert len(set(parts[0])) == 20
    with pytest.raises(UserError, match=r"51 demonstrations are asked for, .* and it has 50; ask for fewer"):
        read(*rows, n=51)


def test_a_share_is_of_the_whole_set_by_number(tmp_path: Path) -> None:
    for name, count in (("reasoning", 300), ("general", 500)):
        rows = [{"id": f"{name}-{i}", "prompt": f"Question {i}", "answer": str(i)} for i in range(count)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    specs = [
        DataSpec(source=str(tmp_path / "general.jsonl"), share=0.2),
        DataSpec(source=str(tmp_path / "reasoning.jsonl")),
        DataSpec(source="mini", share=0.05),
    ]
    found = read_demonstrations(specs, no_stage)
    names = [one.id.split("-")[0] for one in found]
    assert names == ["general"] * 80 + ["reasoning"] * 300 + ["mini"] * 20
    with pytest.raises(UserError, match=r"general\.jsonl: 700 demonstrations are asked for, .* and it has 500"):
        read_demonstrations([specs[1], specs[0].model_copy(update={"share": 0.7})], no_stage)


def test_the_miniature_worlds_writer_is_the_same_every_time_and_keeps_to_the_split() -> None:
    spec = DataSpec(source="mini", n=60)
    found = open_demonstrations(spec, no_stage)
    assert found == open_demonstrations(spec, no_stage)
    assert found[:20] == open_demonstrations(spec.model_copy(update={"n": 20}), no_stage)
    assert {one.domain for one in found} == {"general"}
    assert {one.language for one in found} == {"en", "zh"}
    assert all(one.answer.strip() for one in found)
    assert any(one.thinking for one in found)
    assert any(not one.thinking for one in found)
    chinese = open_demonstrations(spec.model_copy(update={"languages": {"zh": 1.0}}), no_stage)
    assert {one.language for one in chinese} == {"zh"}
    held_out = open_demonstrations(spec.model_copy(update={"split": "test"}), no_stage)
    assert not {one.id for one in found} & {one.id for one in held_out}
    assert not {one.prompt for one in found} & {one.prompt for one in held_out}


@pytest.mark.parametrize("text", ["4", "<b>4</b>", " 4\n", "no tags <think> in the middle"])
def test_a_completion_without_thinking_is_its_answer_as_it_is(text: str) -> None:
    assert split_thinking(text) == ("", text)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"source": "mini", "n": 5, "split": "validation"}, "mini has train and test"),
        ({"source": "a.jsonl", "languages": {"en": 1.0}}, "only mini can choose"),
        ({"source": "cold-start", "columns": {"prompt": "question"}}, "the columns of cold-start are known"),
    ],
)
def test_settings_that_a_source_does_not_know_are_refused(settings: Row, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DataSpec(**settings)
