"""Reading files: every format gives the same rows, and every mistake says where it is."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from thinkery.problems.columns import problems_of
from thinkery.problems.files import read_rows
from thinkery.types import UserError

ROWS = [{"prompt": "1+1? 一加一", "answer": "2"}, {"prompt": "2+2?", "answer": "4"}]


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        [row.values() for row in read_rows(path)]
    message = str(caught.value)
    assert message.startswith(str(path))
    return message.removeprefix(str(path))


TABLES = ["a.csv", "a.tsv", "a.csv.gz", "a.tsv.gz"]


def saved(path: Path, rows: list[dict[str, Any]]) -> Path:
    """The rows in the format that the path's name says."""
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    if {".csv", ".tsv"} & set(path.suffixes):
        table = io.StringIO()
        writer = csv.DictWriter(table, list(rows[0]), delimiter="," if ".csv" in path.suffixes else "\t")
        writer.writeheader()
        writer.writerows(rows)
        content = table.getvalue().encode()
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    elif path.name.endswith(".jsonl.gz"):
        path.write_bytes(gzip.compress(text.encode()))
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.json", "a.parquet", *TABLES])
def test_every_format_gives_the_same_rows(name: str, tmp_path: Path) -> None:
    assert [row.values() for row in read_rows(saved(tmp_path / name, ROWS))] == ROWS


def test_rows_know_their_place(tmp_path: Path) -> None:
    jsonl = tmp_path / "a.jsonl"
    jsonl.write_text('{"a": 1}\n\n{"a": 2}\n')
    assert [row.place for row in read_rows(jsonl)] == [f"{jsonl}, line 1", f"{jsonl}, line 3"]
    listed = saved(tmp_path / "a.json", ROWS)
    assert [row.place for row in read_rows(listed)] == [f"{listed}, line 2 (item 1)", f"{listed}, line 6 (item 2)"]
    parquet = saved(tmp_path / "a.parquet", ROWS)
    assert [row.place for row in read_rows(parquet)] == [f"{parquet}, row 1", f"{parquet}, row 2"]


def test_cells_are_text_and_a_row_stands_where_it_begins(tmp_path: Path) -> None:
    """Names may be quoted, a cell may hold line breaks, and a column without a name (a table's index) is not read."""
    path = tmp_path / "a.csv"
    path.write_bytes(
        b'\xef\xbb\xbf,"prompt", answer ,level\r\n0,"1 + 1?\r\nSay ""two"".",007,\r\n\r\n1,2 + 2?,1e3,3\r\n'
    )
    first, second = read_rows(path)
    assert first.values() == {"prompt": '1 + 1?\r\nSay "two".', "answer": "007", "level": None}
    assert second.values() == {"prompt": "2 + 2?", "answer": "1e3", "level": "3"}
    assert [row.place for row in (first, second)] == [f"{path}, line 2", f"{path}, line 5"]
    _, problems = problems_of(read_rows(path), "a")
    assert [(problem.reference, problem.level) for _, problem in problems] == [("007", 0), ("1e3", 3)]


def test_a_cell_may_be_longer_than_the_csv_module_lets_it_be(tmp_path: Path) -> None:
    saved(tmp_path / "a.csv", [{"prompt": "p", "thinking": "x" * 200_000}])
    (row,) = read_rows(tmp_path / "a.csv")
    assert len(row.values()["thinking"]) == 200_000


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"prompt,answer\na,b\na,b,c\n", ", line 3: 3 cells under 2 names; write double quotes around a cell"),
        (b'prompt,answer\n"a\nb",1\na\n', ", line 4: 1 cells under 2 names"),
        (b'prompt,answer\na,b\n"a,b\nc,d\n', ", line 3: not CSV: unexpected end of data"),
        (b'prompt,answer\n"a"b,c\n', ", line 2: not CSV: ',' expected after '\"'"),
        (b"prompt,prompt\na,b\n", ", line 1: two columns are called 'prompt'"),
        (b"prompt;answer\na;b\n", ", line 1: its columns seem to be separated by ';'; here it must be ','"),
        (b"prompt,answer\na,\xe4\n", ", line 2: not UTF-8: byte 0xe4 at offset 16 of the file"),
        (b"prompt,answer\na,\0\n", ", line 2, column 3: a NUL byte"),
        (b"\xff\xfep\x00", ": written in UTF-16"),
        (b"prompt,answer\r\n", ": empty"),
        (b"", ": empty"),
    ],
)
def test_a_bad_table_says_where_and_what(content: bytes, expected: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    assert refusal(tmp_path / "a.csv").startswith(expected)


def test_json_lines_in_a_json_file_and_a_utf8_mark_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"\xef\xbb\xbf" + "".join(json.dumps(row) + "\r\n" for row in ROWS).encode())
    assert [row.values() for row in read_rows(path)] == ROWS


def test_a_line_keeps_its_bytes_and_only_line_feeds_end_it(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    lines = ['{"prompt":  "a\u2028b", "answer": 1}\n'.encode(), b'{"prompt": "c",\t"answer": 2}']
    path.write_bytes(b"".join(lines))
    assert [row.line for row in read_rows(path)] == lines


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'{"a": 1}\n{"a": }\n', ", line 2, column 7: not JSON: Expecting value"),
        (
            b'{"a": 1}\n{"a": "tru',
            ", line 2, column 7: not JSON: Unterminated string starting at; the file ends within",
        ),
        (b'{"a": 1}\n[1]\n', ', line 2: write an object like {"prompt": "What is 2+2?", "answer": "4"}, not a list'),
        (b'{"a": "\xe4"}\n', ", line 1: not UTF-8: byte 0xe4 at offset 7 of the file"),
        (b'{"a": 1}\n{"a": "\xff"}\n', ", line 2: not UTF-8: byte 0xff at offset 16 of the file"),
        (b"\xff\xfe{\x00", ": written in UTF-16"),
        (b"\xfe\xff\x00{", ": written in UTF-16"),
        (b'{"a": 1}\n\0\0\0\n', ", line 2, column 1: a NUL byte"),
        (b"", ": empty"),
        (b"\n \n", ": empty"),
        (b"[" * 100_000 + b"\n", ", line 1: not JSON: nested too deeply"),
        (b'{"a": ' + b"9" * 5000 + b"}\n", ", line 1: not JSON: a number with too many digits"),
    ],
)
def test_a_bad_line_says_where_and_what(content: bytes, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    assert refusal(path).startswith(expected)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('[{"a": 1},\n {"a": 2]', ", line 2, column 9: not JSON: Expecting ',' delimiter"),
        ('[{"a": 1},\n {"a": 2}', ", line 2, column 10: not JSON: Expecting ',' or ']'; the list does not end"),
        ('[{"a": 1},\n]', ", line 2, column 1: not JSON: Expecting value"),
        ('[{"a": 1}]\n x', ", line 2, column 2: not JSON: Something follows the list"),
        ('[1, {"a": 1}]', ", line 1 (item 1): write an object like"),
        ("[]", ": empty"),
        ("7", ": write a list of objects"),
        ('{"data": [\n', ", line 1, column 11: not JSON: Expecting value"),
    ],
)
def test_a_bad_list_says_where_and_what(content: str, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(content)
    assert refusal(path).startswith(expected)


def test_what_is_no_file_of_problems_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.jsonl").mkdir()
    assert refusal(tmp_path / "folder.jsonl") == ": a folder, where a file is expected"
    assert refusal(tmp_path / "gone.jsonl") == ": no such file"
    (tmp_path / "a.txt").write_text("prompt,answer\n")
    assert refusal(tmp_path / "a.txt").startswith(": a file of problems ends in .jsonl, .jsonl.gz, .json, .csv, ")
    (tmp_path / "a.parquet").write_bytes(b"PAR1 but not really")
    assert refusal(tmp_path / "a.parquet").startswith(": not a parquet file that can be read")
    (tmp_path / "a.jsonl.gz").write_bytes(b"plain text")
    assert refusal(tmp_path / "a.jsonl.gz").startswith(": cannot be read: damaged gzip data, or none at all")


def test_gzip_that_was_cut_off_says_after_which_row(tmp_path: Path) -> None:
    whole = gzip.compress(b"".join(b'{"a": %d}\n' % (i * i * 7919) for i in range(50_000)))
    (tmp_path / "a.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    assert " after row " in refusal(tmp_path / "a.jsonl.gz")


JSONISH = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
NAMES = (
    "prompt question problem text answer solution reference id task_id level language domain verifier reward_model "
    "verification_info test entry_point test_list input_output starter_code solutions choices options answerKey "
    "ability data_source"
)
FIELDS = st.sampled_from(NAMES.split())
RECORDS = st.lists(st.dictionaries(FIELDS, JSONISH | st.text(min_size=1), max_size=6), min_size=1, max_size=4)


def read_all(path: Path) -> None:
    """Problems or a ``UserError``; anything else fails the test."""
    try:
        _, problems = problems_of(read_rows(path), "fuzz")
        for _, problem in problems:
            assert isinstance(problem.reference, str)
            json.dumps([problem.id, problem.reference]).encode()
    except UserError:
        return


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    content=st.binary(max_size=300),
    name=st.sampled_from(["a.jsonl", "a.jsonl.gz", "a.json", "a.csv", "a.tsv", "a.parquet"]),
)
@example(content=b'{"prompt": "\\ud800", "answer": 1}', name="a.jsonl")
@example(content=b'{"prompt": "p", "answer": NaN}', name="a.jsonl")
@example(content=b'{"prompt": "p", "answer": 1e999}', name="a.jsonl")
@example(content=b"prompt,answer,choices\np,0,[1]\n", name="a.csv")
@example(content=b"PAR1" + bytes(60) + b"PAR1", name="a.parquet")
@example(content=b"\x1f\x8b\x08" + bytes(30), name="a.jsonl.gz")
def test_any_bytes_give_problems_or_a_message(content: bytes, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    read_all(tmp_path / name)


@pytest.mark.slow
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(rows=RECORDS)
def test_any_json_gives_problems_or_a_message(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    read_all(path)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(cut=st.integers(0, 2000), at=st.integers(0, 2000), byte=st.integers(0, 255))
def test_a_damaged_parquet_file_gives_problems_or_a_message(cut: int, at: int, byte: int, tmp_path: Path) -> None:
    content = bytearray(saved(tmp_path / "good.parquet", ROWS).read_bytes())
    content[at % len(content)] = byte
    (tmp_path / "bad.parquet").write_bytes(content[: len(content) - cut % 40])
    read_all(tmp_path / "bad.parquet")


@pytest.mark.parametrize("name", ["problems.jsonl", "problems.json", "problems.jsonl.gz", "problems.parquet"])
def test_a_pipe_is_refused_and_not_waited_for(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / name)  # nobody will ever write to it
    assert refusal(tmp_path / name) == ": a pipe (FIFO), where a file is expected; write its content to a file first"
