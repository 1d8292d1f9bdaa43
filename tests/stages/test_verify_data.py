"""``thinkery verify`` of every kind: problems, demonstrations, pairs and labels, recognised by their columns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from thinkery.cli import app
from thinkery.stages.verify_data import Kind, kind_of_source, verify_data
from thinkery.types import UserError

TURNS = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "<think>Greet.</think>Hello!"}]
ROWS: dict[Kind, list[dict[str, Any]]] = {
    "problems": [{"prompt": "1 + 1?", "answer": "2"}, {"messages": TURNS[:1], "ground_truth": "2", "dataset": "math"}],
    "demonstrations": [
        {"messages": TURNS},
        {"prompt": "Hi", "completion": "Hello!"},
        {"prompt": "Hi", "thinking": "Greet.", "answer": "Hello!"},
        {"messages": [TURNS[0], {"role": "assistant", "content": None, "tool_calls": [{}]}]},
    ],
    "pairs": [{"prompt": "Hi", "chosen": "Hello!", "rejected": "No."}, {"chosen": TURNS, "rejected": TURNS}],
    "labels": [{"prompt": "Hi", "response": "Hello!", "safe": True}, {"prompt": "Hi", "completion": "a", "label": 0}],
}


def write(path: Path, *rows: Any) -> str:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return str(path)


@pytest.mark.parametrize(("kind", "row"), [(kind, row) for kind, rows in ROWS.items() for row in rows])
def test_the_columns_say_what_a_file_holds(kind: Kind, row: dict[str, Any], tmp_path: Path) -> None:
    assert kind_of_source(write(tmp_path / "a.jsonl", "{", row)) == kind


def test_demonstrations_are_read_written_and_counted(tmp_path: Path) -> None:
    good, tagged = {"prompt": "Hi", "completion": "<think>a</think>b"}, {"prompt": "Hi", "thinking": "a</think>b"}
    rows = [good, "{", {"prompt": "Hi", "completion": "c"}, good, tagged | {"completion": "c"}]
    report = verify_data(write(tmp_path / "a.jsonl", *rows), "demonstrations", template="chat-think")
    assert not report.ok
    place = f"{tmp_path / 'a.jsonl'}, line"
    assert report.render().splitlines() == [
        f"{tmp_path / 'a.jsonl'}: 3 of 5 rows are demonstrations",
        "  with thinking: 2",
        "  without thinking: 1",
        "rows that can't be used: 2",
        f"  {place} 2, column 2: not JSON: Expecting property name enclosed in double quotes",
        f"  {place} 5: the template chat-think would not read its thinking and answer back; take tags like </think> "
        "and <answer> out of its texts",
        "on_bad_row: skip goes on without them",
        "rows that repeat an earlier one: 1",
        f"  {place} 4: repeats {place} 1",
    ]


def test_pairs_and_labels_are_read_and_counted(tmp_path: Path) -> None:
    pair = ROWS["pairs"][0]
    report = verify_data(write(tmp_path / "a.jsonl", pair, pair | {"rejected": "Hello!"}), "pairs")
    assert report.render().splitlines()[:3] == [
        f"{tmp_path / 'a.jsonl'}: 1 of 2 rows are pairs", "  chosen is the longer one: 1", "rows that can't be used: 1",
    ]  # fmt: skip
    label = ROWS["labels"][0]
    good = verify_data(write(tmp_path / "b.jsonl", label, label | {"safe": False, "prompt": "Ho"}), "labels")
    assert good.ok
    assert good.counts == ["safe: 1", "unsafe: 1"]
    with pytest.raises(UserError, match="--template r2: allowed: "):
        verify_data(str(tmp_path / "b.jsonl"), "labels", template="r2")


def test_more_bad_rows_than_are_shown_are_counted_by_reason(tmp_path: Path) -> None:
    rows = [{"prompt": f"p{i}", "completion": i} for i in range(25)]
    report = verify_data(write(tmp_path / "a.jsonl", {"prompt": "Hi", "completion": "a"}, *rows), "demonstrations")
    lines = report.render().splitlines()
    assert lines[2] == "rows that can't be used: 25"
    assert lines[23:25] == [
        "  and 5 more; all of them by reason:", "  25 x the field completion must be text that is not empty, not ...",
    ]  # fmt: skip


def test_the_command_checks_whatever_a_file_holds(tmp_path: Path, tiny_model: Path) -> None:
    for kind, rows in ROWS.items():
        done = CliRunner().invoke(app, ["verify", write(tmp_path / f"{kind}.jsonl", rows[0])])
        assert (done.exit_code, kind in done.stdout) == (0, True), done.output
    two = write(tmp_path / "two.jsonl", {"question": "Hi", "answer": "<think>a</think>b"})
    assert (
        "1 of 1 rows are demonstrations" in CliRunner().invoke(app, ["verify", two, "--kind", "demonstrations"]).stdout
    )
    assert "--kind essays: allowed: problems, " in CliRunner().invoke(app, ["verify", two, "--kind", "essays"]).stderr
    kinds = ["--kind", "demonstrations"]
    said = CliRunner().invoke(app, ["verify", two, *kinds, "--model", str(tiny_model)])
    assert "--model and --reward are for problems, and " in said.stderr
    bad = write(tmp_path / "bad.jsonl", ROWS["pairs"][0] | {"rejected": None}, ROWS["pairs"][0])
    assert CliRunner().invoke(app, ["verify", bad, "--kind", "pairs"]).exit_code == 1
    long = write(
        tmp_path / "long.jsonl", {"prompt": "1 + 1?", "answer": "2"}, {"prompt": "so " * 50_000, "answer": "2"}
    )
    assert CliRunner().invoke(app, ["verify", long]).exit_code == 0
    said = CliRunner().invoke(app, ["verify", long, "--model", str(tiny_model)])
    assert said.exit_code == 1
    assert "line 2: its prompt of " in said.stdout
