"""Users' own Python files: found, loaded once, and named by file and line when something in them goes wrong.

A file is loaded under a name of its own, so two files called alike don't clash. Modules beside it can be imported at
the top of the file, as in a script; ``sys.path`` and ``sys.modules`` are afterwards as they were. Left out: isolation.
A user's code runs with the user's rights; untrusted code belongs in the sandbox.
"""

from __future__ import annotations

import ast
import difflib
import hashlib
import importlib
import importlib.util
import inspect
import linecache
import os
import re
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

import thinkery
from thinkery.files import require_regular
from thinkery.types import UserError

_SHOWN_FRAMES = 3
_SHOWN_MESSAGE = 500  # characters
_OURS = Path(thinkery.__file__).parent
_LIBRARIES = tuple({sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib")})

_DUMPED = re.compile(r'^ +File "(.*)", line (\d+) in ', re.MULTILINE)  # faulthandler's line for a frame
_ESCAPED = re.compile(r"\\x[0-9a-f]{2}|\\u[0-9a-f]{4}|\\U[0-9a-f]{8}")

_loaded: dict[tuple[Path, str], ModuleType] = {}  # by file and hash of its content


@dataclass(frozen=True, slots=True)
class Place:
    """A line of code, as a person names it."""

    file: str
    line: int

    def __str__(self) -> str:
        text = linecache.getline(self.file, self.line).strip()
        return f"{shown_path(Path(self.file))}, line {self.line}" + (f": {text}" if text else "")


def place_of(error: BaseException) -> Place | None:
    """The innermost line that raised, of the user's own code where the traceback has any."""
    return _innermost([(f.f_code.co_filename, line) for f, line in traceback.walk_tb(error.__traceback__)])


def place_of_frame(frame: FrameType | None) -> Place | None:
    """The innermost line that a running frame is at, of the user's own code where there is any."""
    frames: list[tuple[str, int]] = []
    while frame is not None:
        frames.insert(0, (frame.f_code.co_filename, frame.f_lineno))
        frame = frame.f_back
    return _innermost(frames)


def place_of_awaitable(awaitable: Any) -> Place | None:
    """The innermost line that a coroutine waits at, of the user's own code where there is any."""
    lines: list[tuple[str, int]] = []
    while inspect.iscoroutine(awaitable) and awaitable.cr_frame is not None:
        lines.append((awaitable.cr_code.co_filename, awaitable.cr_frame.f_lineno))
        awaitable = awaitable.cr_await
    return _innermost(lines)


def place_of_dump(text: str) -> Place | None:
    """The innermost line of a user's own code in what ``faulthandler`` wrote, of the thread that is at one."""
    found: list[Place | None] = []
    for thread in text.split("(most recent call first):")[1:]:
        frames = [(_unescaped(file), int(line)) for file, line in _DUMPED.findall(thread)]
        found.append(_innermost(frames[::-1]))
    users = [place for place in found if place and _is_users(place.file)]
    return users[0] if users else None


def _unescaped(file: str) -> str:
    """A file's name as it is: ``faulthandler`` writes ASCII."""
    return _ESCAPED.sub(lambda match: chr(int(match[0][2:], 16)), file)


def shown_path(path: Path) -> str:
    """A path as a user would write it: relative where it lies below the working directory."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def load_function(spec: str) -> Callable[..., Any]:
    """The function that ``path/to/file.py:name`` or ``package.module:name`` names.

    Raises ``UserError`` with the file, the line and what to write instead.
    """
    where, name = split_spec(spec)
    module = _load_file(source_file(where)) if where.endswith(".py") else _import_module(where)
    found = vars(module).get(name)
    if found is None:
        raise UserError(f"{where} has no function {name!r}; {_suggest(name, _functions(module), 'it has')}")
    if isinstance(found, type) or not callable(found):
        kind = "class" if isinstance(found, type) else type(found).__name__
        raise UserError(f"{spec} is a {kind}, not a function; {_suggest(name, _functions(module), 'functions are')}")
    return found  # type: ignore[no-any-return]  # a callable of the user's: nothing more is known


def split_spec(spec: str) -> tuple[str, str]:
    """The file or module, and the function. Raises ``UserError`` where one is missing."""
    where, _, name = spec.rpartition(":")
    if not where or not name.isidentifier():
        raise UserError(f"{spec!r} names no function: write my_rewards.py:function or package.module:function")
    return where, name


def source_file(where: str) -> Path:
    """The file of ``path/to/file.py`` or ``package.module``. Raises ``UserError`` if there is none."""
    if not where.endswith(".py"):
        with _importable(Path.cwd()):
            try:
                spec = importlib.util.find_spec(where)
            except (ImportError, ValueError):
                spec = None
        if spec is None or not spec.has_location or spec.origin is None:
            raise UserError(f"there is no module {where!r}; for a file write its path, for example my_rewards.py:name")
        return Path(spec.origin)
    path = Path(where).expanduser()
    require_regular(path)
    if path.is_file():
        return path.resolve()
    folder = path.parent
    if not folder.is_dir():
        raise UserError(f"{where}: there is no folder {folder} in {Path.cwd()}")
    known = sorted(entry.name for entry in folder.glob("*.py"))
    raise UserError(f"{where}: there is no such file in {folder.resolve()}; {_suggest(path.name, known, 'it has')}")


def source_files(specs: Iterable[str]) -> list[Path]:
    """The files behind functions, with the files beside them that they import, sorted.

    Raises ``UserError`` for a file that is not there.
    """
    return sorted({file for spec in specs for file in with_siblings(source_file(split_spec(spec)[0]))})


def with_siblings(path: Path) -> list[Path]:
    """A source file and the files beside it that it imports, directly or through one another, sorted."""
    seen: set[Path] = set()
    waiting = [path]
    while waiting:
        current = waiting.pop()
        if current not in seen:
            seen.add(current)
            names = _imported_names(_parse(current, current.read_bytes()))
            waiting += [file for name in names for file in _files_of(path.parent, name)]
    return sorted(seen)


def _innermost(lines: Sequence[tuple[str, int]]) -> Place | None:
    """The last of ``lines`` (outermost first) that is the user's, or at least of a library that the user called."""
    chosen = [line for line in lines if _is_users(line[0])] or [line for line in lines if not _is_ours(line[0])]
    return Place(*chosen[-1]) if chosen else None


def _is_ours(file: str) -> bool:
    return file.startswith("<") or Path(file).is_relative_to(_OURS)


def _is_users(file: str) -> bool:
    return not _is_ours(file) and not file.startswith(_LIBRARIES)


def _suggest(name: str, known: Sequence[str], introduction: str) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f"did you mean {close[0]}?"
    return f"{introduction}: {', '.join(known)}" if known else f"{introduction} none"


def _functions(module: ModuleType) -> list[str]:
    """The public functions that a module defines itself."""
    public = {name: member for name, member in vars(module).items() if not name.startswith("_")}
    own = {name: member for name, member in public.items() if getattr(member, "__module__", "") == module.__name__}
    return sorted(name for name, member in own.items() if callable(member) and not isinstance(member, type))


def _parse(path: Path, source: bytes) -> ast.Module:
    try:
        return ast.parse(source, str(path))
    except SyntaxError as error:
        line = f"{shown_path(path)}, line {error.lineno or 1}"
        text = f": {error.text.strip()}" if error.text else ""
        raise UserError(f"{line}: {error.msg}{text}") from None
    except ValueError as error:  # null bytes
        raise UserError(f"{shown_path(path)} is not Python: {error}") from None


def _load_file(path: Path) -> ModuleType:
    source = path.read_bytes()
    key = path, hashlib.sha256(source).hexdigest()
    if key not in _loaded:
        unique = hashlib.sha256(f"{path}\0{key[1]}".encode()).hexdigest()[:16]
        _loaded[key] = _execute(path, _parse(path, source), f"thinkery_user_{path.stem}_{unique}")
    return _loaded[key]


def _execute(path: Path, tree: ast.Module, name: str) -> ModuleType:
    """Runs a file as a new module. No byte code is written or read: two edits within a second are two files."""
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None:
        raise UserError(f"{shown_path(path)} cannot be loaded as Python")
    module = importlib.util.module_from_spec(spec)
    before = set(sys.modules)
    sys.modules[name] = module  # dataclasses and type hints look there
    linecache.checkcache(str(path))
    try:
        with _importable(path.parent), _explained(shown_path(path)):
            exec(compile(tree, str(path), "exec", dont_inherit=True), vars(module))
    except BaseException:
        del sys.modules[name]
        raise
    finally:
        _forget_siblings(path.parent, set(sys.modules) - before - {name})
    return module


def _import_module(where: str) -> ModuleType:
    source_file(where)  # says what is wrong with the name itself
    with _importable(Path.cwd()), _explained(where):
        return importlib.import_module(where)


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Puts a folder in front of ``sys.path`` for a while."""
    entry = str(folder)
    sys.path.insert(0, entry)
    importlib.invalidate_caches()  # a file may be younger than the last look into its folder
    try:
        yield
    finally:
        if entry in sys.path:  # the user's code may have changed the path itself
            sys.path.remove(entry)


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Turns whatever a user's module raises while it is imported into a ``UserError`` with its last lines."""
    try:
        yield
    except KeyboardInterrupt:
        raise
    except SyntaxError as error:  # of a module that it imports
        text = f": {error.text.strip()}" if error.text else ""
        file = shown_path(Path(error.filename)) if error.filename else what
        raise UserError(f"{what} cannot be imported: {file}, line {error.lineno}: {error.msg}{text}") from None
    except BaseException as error:  # SystemExit too: a script without a guard for its main part
        frames = [Place(f.f_code.co_filename, line) for f, line in traceback.walk_tb(error.__traceback__)]
        users = [f"  {place}" for place in frames if _is_users(place.file)]
        lines = [f"{what} cannot be imported: {described(error)}", *users[-_SHOWN_FRAMES:]]
        if isinstance(error, ModuleNotFoundError):
            lines.append("  Install what it needs where Thinkery is installed, or correct the name.")
        raise UserError("\n".join(lines)) from error


def described(error: BaseException) -> str:
    """An exception in one line: its type and its message."""
    message = " ".join(str(error).split())
    message = message if len(message) <= _SHOWN_MESSAGE else message[:_SHOWN_MESSAGE] + " ..."
    return type(error).__name__ + (f": {message}" if message else "")


def _forget_siblings(folder: Path, names: set[str]) -> None:
    """Takes the modules beside a file out of ``sys.modules``: another folder may have one of the same name."""
    for name in names:
        top = folder / name.partition(".")[0]
        if top.is_dir() or top.with_suffix(".py").is_file():  # else it is none of them, whatever object it is
            module = sys.modules[name]
            places = map(Path, filter(None, [getattr(module, "__file__", None), *getattr(module, "__path__", [])]))
            if any(place == top.with_suffix(".py") or place.is_relative_to(top) for place in places):
                del sys.modules[name]


def _imported_names(tree: ast.Module) -> set[str]:
    """Top-level names that a module imports, wherever in the file."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


def _files_of(folder: Path, name: str) -> list[Path]:
    """The files in ``folder`` that ``import name`` would find there: a package's, or the module's one."""
    if (folder / name / "__init__.py").is_file():
        return sorted((folder / name).rglob("*.py"))
    return [folder / f"{name}.py"] if (folder / f"{name}.py").is_file() else []
