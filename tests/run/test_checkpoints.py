"""Checkpoints on a disk: every file has its checksum, two are kept, links are followed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from thinkery.files import link_or_copy
from thinkery.run.checkpoints import CHECKSUMS, Checkpoints, damage_of


def shards(folder: Path) -> Callable[[], None]:
    """A checkpoint of which a part is written later, as ranks write theirs: hidden files in folders."""
    (folder / "progress.json").write_text("1")

    def rest() -> None:
        (folder / "learner" / "shards").mkdir(parents=True)
        for name in (".metadata", "__0_0.distcp", "__1_0.distcp"):
            (folder / "learner" / "shards" / name).write_bytes(name.encode() * 100)

    return rest


@pytest.mark.parametrize(
    "name", ["progress.json", "learner/shards/.metadata", "learner/shards/__0_0.distcp", "learner/shards/__1_0.distcp"]
)
def test_what_is_written_in_the_background_has_checksums_too(name: str, tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.begin(1, shards)
    assert checkpoints.all() == []
    assert checkpoints.end() == 1
    (_, folder), *_ = checkpoints.all()
    assert damage_of(folder) is None
    path = folder / name
    content = bytearray(path.read_bytes())
    content[-1] ^= 128
    path.write_bytes(content)
    assert damage_of(folder) == f"{name}: other checksum"
    path.unlink()
    assert damage_of(folder) == f"{name}: missing"


def test_two_are_kept_and_the_damaged_are_out_of_the_way_until_the_end(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2, 3, 4):
        checkpoints.begin(step, lambda folder: (folder / "state").write_bytes(b"state") and None)
        checkpoints.end()
    assert [step for step, _ in checkpoints.all()] == [3, 4]
    (tmp_path / "step-000004" / "state").write_bytes(b"stale")
    found = Checkpoints(tmp_path)
    assert found.damaged() == {tmp_path / "step-000004": "state: other checksum"}
    found.put_damaged_away()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000003", "step-000004.damaged"]
    assert found.damaged() == {}
    found.drop()
    assert list(tmp_path.iterdir()) == []


def test_a_linked_file_keeps_the_checksum_that_it_was_written_with(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.begin(1, lambda folder: (folder / "part-0").write_bytes(b"rows") and None)
    checkpoints.end()
    (tmp_path / "step-000001" / "part-0").write_bytes(b"rots")  # the disk, between two checkpoints

    def link(folder: Path) -> None:
        link_or_copy(tmp_path / "step-000001" / "part-0", folder / "part-0")
        (folder / "part-1").write_bytes(b"more")

    checkpoints.begin(2, link)
    checkpoints.end()
    assert damage_of(tmp_path / "step-000002") == "part-0: other checksum"


def test_a_checkpoint_without_its_checksums_is_not_whole(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.begin(1, lambda folder: (folder / "state").write_bytes(b"state") and None)
    checkpoints.end()
    for content in ("", "[]", '{"state": 1}'):
        (tmp_path / "step-000001" / CHECKSUMS).write_text(content)
        assert damage_of(tmp_path / "step-000001") == f"{CHECKSUMS} is missing or damaged"
