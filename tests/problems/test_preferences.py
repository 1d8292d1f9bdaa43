"""Pairs and labels from files: the layouts people use, and what is wrong where."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from thinkery.problems.preferences import PreferencePair, Response, SafetyLabel, read_labels, read_pairs
from thinkery.recipe import DataSpec
from thinkery.types import UserError

PAIR = PreferencePair("Q", Response("", "good"), Response("", "bad"))
CHAT = ({"role": "user", "content": "Q"},)


def write(path: Path, *rows: Any) -> DataSpec:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return DataSpec(source=str(path))


def nowhere(reference: str) -> str:
    raise AssertionError(reference)


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"prompt": "Q", "chosen": "good", "rejected": "bad"}, PAIR),
        ({"question": "Q", "chosen": "good", "rejected": "bad"}, PAIR),
        (
            {"prompt": [*CHAT], "chosen": [assistant("good")], "rejected": [assistant("bad")]},
            PreferencePair(CHAT, PAIR.chosen, PAIR.rejected),
        ),
        (
            {"chosen": [*CHAT, assistant("good")], "rejected": [*CHAT, assistant("bad")]},
            PreferencePair(CHAT, PAIR.chosen, PAIR.rejected),
        ),
        (
            {"prompt": "Q", "chosen": "<think>I see.</think>\ngood", "rejected": {"thinking": "hm", "answer": "bad"}},
            PreferencePair("Q", Response("I see.", "good"), Response("hm", "bad")),
        ),
        (  # an answer may be empty, where a model gave none
            {"prompt": "Q", "chosen": "good", "rejected": {"thinking": "hm", "answer": ""}},
            PreferencePair("Q", Response("", "good"), Response("hm", "")),
        ),
    ],
)
def test_pairs_are_read_from_the_layouts_of_trl_and_our_own(row: Any, expected: PreferencePair, tmp_path: Path) -> None:
    assert read_pairs([write(tmp_path / "p.jsonl", row)], nowhere) == [expected]


@pytest.mark.parametrize(
    ("row", "response", "safe"),
    [
        ({"prompt": "Q", "response": "no", "safe": True}, Response("", "no"), True),
        ({"prompt": "Q", "completion": "no", "label": False}, Response("", "no"), False),
        ({"prompt": "Q", "response": "no", "is_safe": 1}, Response("", "no"), True),
        ({"prompt": "Q", "response": "no", "label": "unsafe"}, Response("", "no"), False),
        ({"prompt": "Q", "thinking": "t", "answer": "no", "safe": False, "id": "x"}, Response("t", "no"), False),
        ({"prompt": "Q", "completion": [assistant("no")], "label": 0}, Response("", "no"), False),
    ],
)
def test_labels_are_read_from_the_layouts_of_trl_and_our_own(
    row: Any, response: Response, safe: bool, tmp_path: Path
) -> None:
    assert read_labels([write(tmp_path / "p.jsonl", row)], nowhere) == [SafetyLabel("Q", response, safe)]


def test_columns_name_the_files_own(tmp_path: Path) -> None:
    spec = write(tmp_path / "p.jsonl", {"ask": "Q", "win": "good", "lose": "bad"})
    columns = {"prompt": "ask", "chosen": "win", "rejected": "lose"}
    assert read_pairs([spec.model_copy(update={"columns": columns})], nowhere) == [PAIR]


def test_a_stages_data_are_found_by_its_name(tmp_path: Path) -> None:
    write(tmp_path / "data.jsonl", {"prompt": "Q", "chosen": "good", "rejected": "bad"})
    assert read_pairs([DataSpec(source="judged")], lambda name: str(tmp_path)) == [PAIR]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"prompt": "Q", "chosen": "good"},
            r"p\.jsonl, line 2: the field rejected is missing; the row has prompt, chosen",
        ),
        ({"prompt": "Q", "chosen": "same", "rejected": "same"}, "field rejected is the same as the chosen response"),
        ({"prompt": "Q", "chosen": " ", "rejected": "bad"}, "field chosen must be text, messages, or an object"),
        ({"prompt": "Q", "chosen": 3, "rejected": "bad"}, "field chosen must be text"),
        ({"prompt": "", "chosen": "good", "rejected": "bad"}, "field prompt must be text that is not empty"),
        ({"chosen": "good", "rejected": "bad"}, "field prompt is missing; without it"),
        (
            {"chosen": [*CHAT, assistant("a")], "rejected": [{"role": "user", "content": "R"}, assistant("b")]},
            "differ in the last one alone",
        ),
        ({"prompt": "Q", "chosen": [*CHAT], "rejected": "bad"}, "field chosen must end in a message with the role ass"),
        ({"prompt": "Q", "chosen": {"thinking": 3, "answer": "a"}, "rejected": "bad"}, "thinking and answer as text"),
        ("text", r"p\.jsonl, line 2: write an object"),
    ],
)
def test_a_pair_that_is_wrong_is_named_with_file_line_and_field(row: Any, message: str, tmp_path: Path) -> None:
    good = {"prompt": "Q", "chosen": "good", "rejected": "bad"}
    with pytest.raises(UserError, match=message):
        read_pairs([write(tmp_path / "p.jsonl", good, row)], nowhere)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "Q", "response": "no"}, r"line 1: the field safe is missing; the row has prompt, response"),
        ({"prompt": "Q", "response": "no", "safe": "maybe"}, r"field safe must be true \(safe\) or false, not 'maybe'"),
        ({"prompt": "Q", "response": "no", "safe": 2}, "field safe must be true"),
        ({"prompt": "Q", "safe": True}, "field response is missing"),
    ],
)
def test_a_label_that_is_wrong_is_named_with_file_line_and_field(row: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        read_labels([write(tmp_path / "p.jsonl", row)], nowhere)


def test_pairs_and_labels_of_a_table_are_read_as_those_of_json_lines(tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text('prompt,chosen,rejected\nQ,"<think>t</think>yes",no\n')
    (pair,) = read_pairs([DataSpec(source=str(tmp_path / "pairs.csv"))], nowhere)
    assert (pair.prompt, pair.chosen, pair.rejected) == ("Q", Response("t", "yes"), Response("", "no"))
    written = {"true": True, "False": False, "1": True, "0": False, "unsafe": False}
    (tmp_path / "labels.tsv").write_text("prompt\tresponse\tsafe\n" + "".join(f"Q\tr\t{one}\n" for one in written))
    labels = read_labels([DataSpec(source=str(tmp_path / "labels.tsv"))], nowhere)
    assert [label.safe for label in labels] == list(written.values())


def test_n_and_share_draw_so_many_and_an_empty_file_is_refused(tmp_path: Path) -> None:
    rows = [{"prompt": f"Q{i}", "chosen": "good", "rejected": "bad"} for i in range(40)]
    spec = write(tmp_path / "p.jsonl", *rows)
    ten = spec.model_copy(update={"n": 10})
    drawn = [pair.prompt for pair in read_pairs([ten], nowhere)]
    assert len(set(drawn)) == 10
    assert drawn == [pair.prompt for pair in read_pairs([ten], nowhere)]
    assert drawn != [pair.prompt for pair in read_pairs([ten.model_copy(update={"seed": 1})], nowhere)]
    mixed = read_pairs([ten, spec.model_copy(update={"share": 0.75})], nowhere)
    assert len(mixed) == 40
    with pytest.raises(UserError, match=r"50 rows are asked for.*has 40; ask for fewer"):
        read_pairs([spec.model_copy(update={"n": 50})], nowhere)
    with pytest.raises(UserError, match="empty"):
        read_pairs([write(tmp_path / "none.jsonl")], nowhere)
