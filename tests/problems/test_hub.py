"""Data sets: folders that ``datasets`` wrote, folders of files, and names of the Hub without a network."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import datasets
import pytest

from thinkery.problems.source import open_source
from thinkery.recipe import ProblemSpec
from thinkery.types import UserError

pytestmark = pytest.mark.slow

ROWS = [{"prompt": f"{n}+{n}?", "answer": str(2 * n), "level": None if n == 1 else n} for n in range(1, 4)]


@pytest.fixture(autouse=True)
def _quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()


def test_a_saved_data_set_is_read(tmp_path: Path) -> None:
    datasets.Dataset.from_list(ROWS).save_to_disk(tmp_path / "saved")
    problems = open_source(ProblemSpec(source=str(tmp_path / "saved"))).fixed(None)
    assert [(p.id, p.prompt, p.reference, p.level) for p in problems] == [
        ("saved-1", "1+1?", "2", 0),
        ("saved-2", "2+2?", "4", 2),
        ("saved-3", "3+3?", "6", 3),
    ]


def test_a_saved_data_set_has_splits(tmp_path: Path) -> None:
    splits = {"train": datasets.Dataset.from_list(ROWS[:2]), "validation": datasets.Dataset.from_list(ROWS[2:])}
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "saved")
    source = str(tmp_path / "saved")
    assert len(open_source(ProblemSpec(source=source)).fixed(None)) == 2
    assert len(open_source(ProblemSpec(source=source, split="validation")).fixed(None)) == 1
    with pytest.raises(UserError, match="has no split 'test'; its splits are train, validation"):
        open_source(ProblemSpec(source=source, split="test"))


def test_a_folder_of_files_is_read_as_the_hub_keeps_them(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    for split, rows in {"train": ROWS[:2], "test": ROWS[2:]}.items():
        (tmp_path / "set" / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    problems = open_source(ProblemSpec(source=str(tmp_path / "set"), split="test")).fixed(None)
    assert [problem.prompt for problem in problems] == ["3+3?"]


def test_a_folder_without_data_says_so(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError) as caught:
        open_source(ProblemSpec(source=str(tmp_path / "none")))
    assert str(caught.value).startswith(f"{tmp_path / 'none'}")


def test_the_hub_out_of_reach_is_a_plain_message() -> None:
    with pytest.raises(UserError) as caught:
        open_source(ProblemSpec(source="hub://nobody/no-such-set"))
    message = str(caught.value)
    assert message.startswith(
        "hub://nobody/no-such-set: it is not in the cache and the Hub can't be reached; load it once"
    )
    assert "\n" not in message


def test_a_bad_row_of_a_data_set_is_named(tmp_path: Path) -> None:
    datasets.Dataset.from_list([*ROWS, {"prompt": "", "answer": "1", "level": 1}]).save_to_disk(tmp_path / "saved")
    with pytest.raises(UserError, match="saved, row 4: the field prompt must be text that is not empty"):
        open_source(ProblemSpec(source=str(tmp_path / "saved")))


def test_a_folder_with_a_script_runs_nothing(tmp_path: Path) -> None:
    """Neither the script that data sets used to bring, nor what a pickle says."""
    witness = tmp_path / "ran"
    folder = tmp_path / "set"
    folder.mkdir()
    script = f"import pathlib\npathlib.Path({str(witness)!r}).touch()\n"
    for name in ("set.py", "dataset.py", "__init__.py"):
        (folder / name).write_text(script)
    with pytest.raises(UserError, match=r"set.*scripts are no longer supported"):
        open_source(ProblemSpec(source=f"{folder}/"))
    (folder / "train.pkl").write_bytes(pickle.dumps(Touches(str(witness))))
    with pytest.raises(UserError, match="set"):
        open_source(ProblemSpec(source=f"{folder}/"))
    (folder / "train.jsonl").write_text(json.dumps({"prompt": "1+1?", "answer": "2"}) + "\n")
    with pytest.raises(UserError, match="set"):  # two kinds of file in a folder
        open_source(ProblemSpec(source=f"{folder}/"))
    assert not witness.exists()
    pickle.loads((folder / "train.pkl").read_bytes())
    assert witness.exists()  # it would have


class Touches:
    """Unpickled, it makes a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return open, (self.path, "w")
