"""A stage's checkpoints: the last two are kept, each with a checksum of every file, and the last whole one is taken.

    step-<n>/...              what the stage wrote
    step-<n>/checksums.json   file -> SHA-256, written last
    step-<n>.damaged          one that was found damaged, until the stage is done

A file that two checkpoints share (a link) is hashed once and damaged in both. Left out: what a checkpoint contains.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from thinkery.files import atomic_folder, files_under, remove_folder, sha256_of, write_json_atomic

CHECKSUMS = "checksums.json"
KEPT = 2
_STEP = re.compile(r"step-(\d+)")
_DAMAGED = ".damaged"
_AT_ONCE = 8  # files hashed at once: a model of many shards must not hold up the run

Rest = Callable[[], None]
Found = tuple[int, Path]


class Checkpoints:
    """The checkpoints in a stage's folder, of which one may be written in the background."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._begun: tuple[int, ExitStack, Path, Rest | None] | None = None
        self._looked_at: dict[Path, str | None] = {}  # checkpoint -> its damage

    def all(self) -> list[Found]:
        """Step and folder of those that are there, whole or not, in the order of their steps."""
        found = [(_STEP.fullmatch(path.name), path) for path in self.folder.glob("step-*")]
        return sorted((int(match[1]), path) for match, path in found if match)

    def damaged(self) -> dict[Path, str]:
        """Those after the last whole one, each with what is wrong with it, the newest first. Reads every file once."""
        found: dict[Path, str] = {}
        for _, path in reversed(self.all()):
            if path not in self._looked_at:
                self._looked_at[path] = damage_of(path)
            if (damage := self._looked_at[path]) is None:
                break
            found[path] = damage
        return found

    def put_damaged_away(self) -> None:
        """Renames the damaged ones after the last whole one, so that this one is the last."""
        for path in self.damaged():
            away = path.with_name(path.name + _DAMAGED)
            remove_folder(away)
            path.rename(away)

    def begin(self, step: int, write: Callable[[Path], Rest | None]) -> None:
        """Has ``write`` fill a folder. What it returns, if anything, ends that; ``end`` waits for it."""
        opened = ExitStack()
        folder = opened.enter_context(atomic_folder(self._path(step)))
        with opened:
            rest = write(folder)
            opened = opened.pop_all()
        self._begun = step, opened, folder, rest

    @property
    def is_whole(self) -> bool:
        """Whether the checkpoint that was begun lacks nothing but its checksums."""
        return self._begun is not None and self._begun[3] is None

    def end(self) -> int | None:
        """Waits for the checkpoint that was begun, and keeps it and the one before it. Its step; None if there is none.

        An error leaves nothing of it behind.
        """
        if self._begun is None:
            return None
        (step, opened, folder, rest), self._begun = self._begun, None
        before = [found for found in self.all() if found[0] != step]
        with opened:
            if rest is not None:
                rest()
            write_json_atomic(folder / CHECKSUMS, _sums(folder, before[-1][1] if before else None))
        for _, path in before[: 1 - KEPT]:
            remove_folder(path)
        self._looked_at[self._path(step)] = None
        return step

    def _path(self, step: int) -> Path:
        return self.folder / f"step-{step:06d}"

    def drop(self) -> None:
        """Removes them all, damaged ones too."""
        for path in [path for _, path in self.all()] + list(self.folder.glob(f"step-*{_DAMAGED}")):
            remove_folder(path)


def damage_of(folder: Path) -> str | None:
    """What is wrong with a checkpoint, by file; None if it is whole."""
    sums = _read_sums(folder)
    if sums is None:
        return f"{CHECKSUMS} is missing or damaged"
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        faults = pool.map(lambda name: fault_of(folder / name, sums[name], sha256_of), sums)
        wrong = [f"{name}: {fault}" for name, fault in zip(sums, faults, strict=True) if fault]
    return ", ".join(wrong) or None


def fault_of(path: Path, checksum: str, hashing: Callable[[Path], str]) -> str | None:
    """What is wrong with a file that should have this checksum; None if nothing is."""
    if not path.is_file():
        return "missing"
    try:
        return None if hashing(path) == checksum else "other checksum"
    except OSError as error:
        return f"can't be read ({error.strerror})"


def _read_sums(folder: Path) -> Mapping[str, str] | None:
    try:
        sums = json.loads((folder / CHECKSUMS).read_bytes())
    except (OSError, ValueError):
        return None
    return sums if isinstance(sums, dict) and all(isinstance(value, str) for value in sums.values()) else None


def _sums(folder: Path, before: Path | None) -> dict[str, str]:
    """Every file's checksum; that of a file that is also in the checkpoint ``before`` as it was written there."""
    known: dict[tuple[int, int], str] = {}
    for name, checksum in ((before and _read_sums(before)) or {}).items():
        if before is not None and (before / name).exists():
            known[_identity(before / name)] = checksum
    paths = files_under(folder)
    new = list({_identity(path): path for path in paths if _identity(path) not in known}.values())
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        known |= dict(zip(map(_identity, new), pool.map(sha256_of, new), strict=True))
    return {path.relative_to(folder).as_posix(): known[_identity(path)] for path in paths}


def _identity(path: Path) -> tuple[int, int]:
    """Which file it is, under whatever name."""
    status = path.stat()
    return status.st_dev, status.st_ino
