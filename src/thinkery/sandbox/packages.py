"""This environment's packages inside the sandbox: for scorers that need them and evaluate what a model wrote.

The folders of the packages and of their interpreter are shown read-only; nothing else of them changes. An interpreter
that the sandbox's user cannot reach is stood in for by the system's, if that is of the same version. Left out: this
project's own modules, which travel as source, and packages in folders that are on the path for other reasons.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from thinkery.sandbox.bubblewrap import SYSTEM_PYTHON
from thinkery.types import UserError

_SYSTEM = Path("/usr")  # shown anyway
_HIDDEN = Path("/tmp")  # every run has its own
_ELSE = "or, if you trust the text with everything your account can do, say --unsafe-local"
_FOLDERS = ("site-packages", "dist-packages")


@dataclass(frozen=True, slots=True)
class Packages:
    """What a server shows and imports beside the standard library."""

    python: str
    folders: tuple[str, ...]  # read-only, beside the system's
    path: tuple[str, ...]  # appended to the import path
    modules: tuple[str, ...]  # imported once, before the first run


def environment_packages(modules: Iterable[str], *, isolated: bool = True) -> Packages:
    """The packages of this environment. Raises ``UserError`` if the sandbox's user cannot reach them.

    Without isolation that user is ourselves, and sees the folders where they are.
    """
    path = [Path(entry).resolve() for entry in sys.path if Path(entry).name in _FOLDERS and Path(entry).is_dir()]
    if not isolated:
        return Packages(sys.executable, (), tuple(map(str, dict.fromkeys(path))), tuple(modules))
    for folder in path:
        _require_reachable(folder)
    python, needed = _interpreter()
    folders: list[Path] = []
    for folder in (*needed, *path):
        if not any(folder.is_relative_to(shown) for shown in (_SYSTEM, *folders)):
            folders.append(folder)
    return Packages(python, tuple(map(str, folders)), tuple(map(str, dict.fromkeys(path))), tuple(modules))


def _interpreter() -> tuple[str, list[Path]]:
    """(interpreter, folders that it needs): ours, else the system's where compiled packages work with that, too."""
    prefix = Path(sys.base_prefix).resolve()
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    own = prefix / "bin" / version
    if own.exists() and _reachable(prefix):
        return str(own), [prefix]
    if SYSTEM_PYTHON.resolve().name == version:
        return str(SYSTEM_PYTHON), []
    _require_reachable(prefix)
    raise UserError(f"the interpreter of this environment is not where it says: there is no {own}")


def _require_reachable(folder: Path) -> None:
    if folder.is_relative_to(_HIDDEN):
        raise UserError(
            f"{folder} is below {_HIDDEN}, which the sandbox replaces: install the environment elsewhere, {_ELSE}"
        )
    if not _reachable(folder):
        raise UserError(
            f"{folder} is in a folder that is closed to other users, and the sandbox's user is another one where you "
            f"are root: install the environment in an open folder, do not work as root, {_ELSE}"
        )


def _reachable(folder: Path) -> bool:
    """Whether the sandbox's user may read it: one without rights where we are root, else ourselves."""
    if folder.is_relative_to(_HIDDEN):
        return False
    return os.geteuid() != 0 or all(part.stat().st_mode & 0o5 == 0o5 for part in (folder, *folder.parents))
