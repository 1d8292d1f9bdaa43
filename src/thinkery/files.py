"""Writes that are there as a whole or not at all, whenever the process is killed or the power fails.

Everything is written beside its place under a hidden name, flushed to the disk and renamed. What a killed process
left behind under such a name is removed by ``remove_leftovers``. Left out: locking (``run.py``).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_MARK = ".tmp-"


def write_bytes_atomic(path: Path, content: bytes) -> None:
    """Writes a file."""
    temporary = _hidden(path)
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    _sync_folder(path.parent)


def write_text_atomic(path: Path, text: str) -> None:
    """Writes a text file in UTF-8."""
    write_bytes_atomic(path, text.encode())


def write_json_atomic(path: Path, value: Any) -> None:
    """Writes a JSON file. Raises ``ValueError`` on NaN and infinity, which JSON doesn't know."""
    write_text_atomic(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Gives a new folder to write into, which becomes ``path`` if the block ends without an error.

    A folder that is already at ``path`` is replaced; a kill between the two renames leaves neither, never a mixture.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _hidden(path)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        for file in files_under(temporary):
            _sync(file)
        for folder in [temporary, *(entry for entry in temporary.rglob("*") if entry.is_dir())]:
            _sync_folder(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    remove_folder(path)
    os.replace(temporary, path)
    _sync_folder(path.parent)


def remove_folder(path: Path) -> None:
    """Removes a folder, if it is there, so that nobody ever sees a part of it."""
    if path.exists():
        hidden = path.with_name(f".{path.name}{_MARK}removed-{os.getpid()}")
        shutil.rmtree(hidden, ignore_errors=True)
        os.replace(path, hidden)
        shutil.rmtree(hidden)


def remove_leftovers(folder: Path) -> None:
    """Removes what killed processes left under a folder. Call it only where no other process is writing."""
    for entry in sorted(folder.rglob(f".*{_MARK}*")):
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """The hash of a file, or of a folder's files with their relative names."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    digest = hashlib.sha256()
    for file_path in files_under(path):
        digest.update(f"{file_path.relative_to(path).as_posix()}\0{sha256_of(file_path)}\n".encode())
    return digest.hexdigest()


def files_under(folder: Path) -> list[Path]:
    """All files in a folder and its folders, sorted."""
    return sorted(entry for entry in folder.rglob("*") if entry.is_file())


def link_or_copy(source: Path, target: Path) -> None:
    """The same file in another place, without a copy where the file system knows how."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _hidden(path: Path) -> Path:
    return path.with_name(f".{path.name}{_MARK}{os.getpid()}")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(path: Path) -> None:
    """Makes renames in a folder durable. Windows can't open folders and needs no such thing."""
    if os.name == "posix":
        _sync(path)
