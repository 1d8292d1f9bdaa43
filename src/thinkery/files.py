"""Writes that are there as a whole or not at all, whenever the process is killed or the power fails.

Everything is written beside its place under a hidden name, flushed to the disk and renamed. What a killed process
left behind under such a name is removed by ``remove_leftovers``. A full disk is a ``DiskFull``, and a file to read
that is none (``require_regular``) a ``UserError``. Left out: locking (``run/folder.py``).
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from thinkery.types import UserError

_MARK = ".tmp-"
_FULL = (errno.ENOSPC, errno.EDQUOT)
_NO_ROOM_BYTES = 1 << 20  # less than this is free: what a library failed to write, it had no room for
_KINDS = {
    stat.S_IFIFO: "a pipe (FIFO)",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class DiskFull(UserError):  # noqa: N818  (what happened)
    """There is no room for what must be kept. Says where; a run resumes from its last checkpoint."""


@contextmanager
def room_for(path: Path) -> Iterator[None]:
    """What is written inside belongs to ``path``. Raises ``DiskFull`` where there is no room for it."""
    try:
        yield
    except Exception as error:
        if not _for_want_of_room(error, path.parent):
            raise
        free = shutil.disk_usage(path.parent).free / 1e6
        raise DiskFull(
            f"no room for {path}: the disk at {_mount_of(path.parent)} is full, or your quota is used up ({free:,.1f} "
            "MB free); make room there and run the same command again: it resumes from its last checkpoint"
        ) from error


def require_regular(path: Path, *, stream: bool = False) -> None:
    """Raises ``UserError`` for what would be waited for without end: a pipe, a device, a socket, also in a folder.

    What is not there passes. So does, with ``stream``, what a shell hands over: ``/dev/stdin`` and ``<(command)``.
    """
    if stream and (path == Path("/dev/stdin") or path.is_relative_to("/dev/fd")):
        return
    for one in sorted(path.iterdir()) if path.is_dir() else [path]:
        try:
            kind = stat.S_IFMT(one.stat().st_mode)
        except OSError:
            continue
        if kind in _KINDS:
            raise UserError(f"{one}: {_KINDS[kind]}, where a file is expected; write its content to a file first")


def append_line(path: Path, line: str) -> None:
    """Appends a line as a whole: what a kill tears off is the last line at most, a full disk tears none."""
    with room_for(path), path.open("ab", buffering=0) as file:
        before, content = file.tell(), line.encode()
        try:
            if (written := file.write(content)) != len(content):
                raise OSError(errno.ENOSPC, f"{written} of {len(content)} bytes written", str(path))
        except OSError:
            with contextlib.suppress(OSError):  # the first error says more
                file.truncate(before)
            raise


def write_bytes_atomic(path: Path, content: bytes) -> None:
    """Writes a file."""
    temporary = _hidden(path)
    with room_for(path):
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
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
    temporary = _hidden(path)
    with room_for(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with room_for(path):
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
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


def _for_want_of_room(error: Exception, folder: Path) -> bool:
    """Libraries wrap what the system said in errors of their own."""
    if isinstance(error, OSError):
        return error.errno in _FULL
    if isinstance(error, UserError | AssertionError):
        return False
    cause = error.__cause__ or error.__context__
    if isinstance(cause, Exception) and _for_want_of_room(cause, folder):
        return True
    try:
        return os.strerror(errno.ENOSPC) in str(error) or shutil.disk_usage(folder).free < _NO_ROOM_BYTES
    except OSError:
        return False


def _mount_of(folder: Path) -> Path:
    """Where the file system that a folder is on begins."""
    folder = folder.resolve()
    while not folder.is_mount() and folder != folder.parent:
        folder = folder.parent
    return folder


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
