"""``thinkery decontaminate``: what is taken out, why, and that the rest stays byte for byte."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from thinkery.stages.decontaminate import decontaminate_problems
from thinkery.types import UserError

STORY = "A farmer has seventeen sheep and all but nine of them run away in the night, how many are left?"
LINES = [
    b'{"prompt":  "6*7?", "answer": 42}\r\n',
    json.dumps({"answer": "9", "prompt": f"Riddle: {STORY}"}).encode() + b"\n",
    '{"prompt": "八加九？", "answer": 17, "n": 1.0e5}\n'.encode(),
    b"\n",
    b'{"answer": 42, "prompt": "6 * 7 ?"}\n',
    b'{"prompt": "last\\u0020one", "answer": 1}',
]


@pytest.fixture
def train(tmp_path: Path) -> Path:
    (tmp_path / "train.jsonl").write_bytes(b"".join(LINES))
    return tmp_path / "train.jsonl"


@pytest.fixture
def bench(tmp_path: Path) -> Path:
    (tmp_path / "bench.json").write_text(json.dumps([{"question": "nothing"}, {"question": STORY}]))
    return tmp_path / "bench.json"


def test_overlaps_are_taken_out_and_the_rest_stays_byte_for_byte(train: Path, bench: Path, tmp_path: Path) -> None:
    output = tmp_path / "clean.jsonl"
    report = decontaminate_problems(str(train), against=[str(bench)], output=output)
    assert output.read_bytes() == LINES[0] + LINES[2] + LINES[4] + LINES[5]
    assert report.render() == "\n".join(
        [
            f"{train}: 4 of 5 problems kept",
            f"overlaps with benchmarks (10 words or 16 characters in a row): 1 of 5 problems, 1 with {bench}",
            f"  {train}, line 2 shares with {bench}, line 1 (item 2): a farmer has seventeen sheep and all but nine of",
            f"written to {output}",
        ]
    )


def test_duplicates_are_taken_out_if_asked(train: Path, tmp_path: Path) -> None:
    output = tmp_path / "clean.jsonl.gz"
    report = decontaminate_problems(str(train), against=[], deduplicate=True, output=output)
    assert gzip.decompress(output.read_bytes()) == LINES[0] + LINES[1] + LINES[2] + LINES[5]
    assert report.render().splitlines()[:3] == [
        f"{train}: 4 of 5 problems kept",
        "problems that repeat an earlier one: 1 (0 nearly)",
        f"  {train}, line 5 repeats {train}, line 1 (100% of its 5-grams)",
    ]


def test_other_formats_come_out_as_json_lines(bench: Path, tmp_path: Path) -> None:
    rows = [{"prompt": "六乘七？", "answer": 42}, {"prompt": STORY, "answer": 9}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "train.parquet")
    output = tmp_path / "clean.jsonl"
    decontaminate_problems(str(tmp_path / "train.parquet"), against=[str(bench)], output=output)
    assert [json.loads(line) for line in output.read_bytes().splitlines()] == rows[:1]


def test_without_an_output_nothing_is_written(train: Path, bench: Path) -> None:
    before = sorted(train.parent.iterdir())
    report = decontaminate_problems(str(train), against=[str(bench)])
    assert (report.kept, report.output) == (4, None)
    assert sorted(train.parent.iterdir()) == before


def test_longer_n_grams_find_less_and_answers_count_if_asked(tmp_path: Path) -> None:
    start, end = STORY.split(" of them")
    (tmp_path / "a.jsonl").write_text(json.dumps({"prompt": start, "answer": f"and then, of them{end}"}) + "\n")
    (tmp_path / "b.jsonl").write_text(json.dumps({"prompt": "q", "answer": STORY}) + "\n")
    source, against = str(tmp_path / "a.jsonl"), [str(tmp_path / "b.jsonl")]
    assert decontaminate_problems(source, against=against).kept == 1
    assert decontaminate_problems(source, against=against, answers=True, words=9).kept == 0
    assert decontaminate_problems(source, against=against, answers=True, words=13).kept == 1


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"against": []}, "nothing to do: name benchmarks with --against, or say --deduplicate"),
        ({"words": 2}, "--words = 2: must be at least 3"),
        ({"near": 0.1, "deduplicate": True}, "--near = 0.1: must be between 0.5 and 1"),
        ({"output": Path("clean.txt")}, "--output clean.txt: must end in .jsonl or .jsonl.gz"),
        ({"output": Path("no/such/clean.jsonl")}, "--output no/such/clean.jsonl: there is no folder no/such"),
        ({"output": "TRAIN"}, "is read here; write to another file"),
        ({"against": ["gone.jsonl"]}, "gone.jsonl: no such file"),
    ],
)
def test_what_makes_no_sense_is_refused(fields: dict[str, object], expected: str, train: Path, bench: Path) -> None:
    fields = {"against": [str(bench)]} | fields
    if fields.get("output") == "TRAIN":
        fields["output"] = train
    with pytest.raises(UserError) as caught:
        decontaminate_problems(str(train), **fields)  # type: ignore[arg-type]
    assert expected in str(caught.value)
    assert train.read_bytes() == b"".join(LINES)
