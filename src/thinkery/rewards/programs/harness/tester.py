"""Runs a data set's tests, inside a sandbox of their own: what they call is a proxy, the program is elsewhere.

Messages on the channel are plain values (``plain``). The host asks, this answers:

    ("load", setup, tests, function, seed)  -> ("units", [name, ...]) | ("broken", text)
    ("run", number of the unit)             -> ("passed",) | ("failed", text) | ("broken", text)

and in the middle of a run it may answer ("call", function, arguments, keywords), upon which the host sends what the
program said: ("value", value) or ("error", kind, text). "broken" means that the tests are at fault.

A unit is one test: ``check(candidate)``, a top-level assert, a ``test_*`` function, a ``test_*`` method of a
``unittest.TestCase``. Other top-level statements run in their place, before the units after them. Arguments go over by
value: a program that changes them changes its copy. Standard library only; where pytest is missing, ``raises``,
``approx`` and ``mark.parametrize`` stand in for it. Left out: fixtures.
"""

from __future__ import annotations

import ast
import builtins
import os
import random
import struct
import symtable
import sys
import traceback
import types
from collections.abc import Callable
from typing import Any

from thinkery.rewards.programs.harness.numpy_names import stand_in as numpy_stand_in
from thinkery.rewards.programs.harness.plain import PlainError, decode, encode
from thinkery.rewards.programs.harness.pytest_names import stand_in as pytest_stand_in

CHANNEL = 3  # the descriptor that the sandbox gives its program; frames are a big-endian length and the bytes
_HEADER = struct.Struct(">I")
_FILE = "<tests>"
_MAX_TEXT = 500
# ``all(map(candidate, ...))`` would take these for its end and be true.
_ENDS_OF_LOOPS = (StopIteration, StopAsyncIteration)


class BrokenTests(BaseException):
    """The tests can't be run; says nothing about the program. No test's own ``except Exception`` catches it."""


class Remote:
    """The program's function of that name: a call is sent to the program, its plain result comes back."""

    def __init__(self, function: str) -> None:
        self._function = function

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        """Calls it. Raises what it raised, as the built-in exception of that name."""
        try:
            request = encode(("call", self._function, list(arguments), keywords))
        except PlainError as error:
            raise BrokenTests(f"an argument of {self._function} is {error}") from None
        _write(request)
        reply = _read_value()
        if reply[0] == "value":
            return reply[1]
        kind = getattr(builtins, reply[1], None)
        if not (isinstance(kind, type) and issubclass(kind, Exception)) or kind in _ENDS_OF_LOOPS:
            raise RuntimeError(f"{reply[1]}: {reply[2]}")
        try:
            raised = kind(reply[2])
        except TypeError:  # UnicodeDecodeError and its like want more than a message
            raised = kind.__new__(kind)
        raise raised


class RemoteClass:
    """The program's class of that name: ``Solution().method(...)`` calls the method on a fresh instance."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        """An instance; only a class without constructor arguments can be tested."""
        if arguments or keywords:
            raise BrokenTests(f"{self._name}(...) takes arguments: tests of objects that keep a state can't be run")
        return self

    def __getattr__(self, method: str) -> Any:
        if method.startswith("__"):
            raise AttributeError(method)
        return Remote(f"{self._name}.{method}")


class Suite:
    """A test source: its units, in order, and the statements between them."""

    def __init__(self, setup: str, tests: str, function: str, seed: int) -> None:
        """Compiles all, runs the setup. Raises ``BrokenTests``."""
        random.seed(seed)
        self._function = function
        self._source = tests.splitlines()
        self._space: dict[str, Any] = {"__name__": "tests", "__builtins__": builtins}
        self._install_modules()
        try:
            exec(compile(setup, "<setup>", "exec"), self._space)
            tree = ast.parse(tests, _FILE)
            self._bind(symtable.symtable(tests, _FILE, "exec"))
            self._steps: list[Callable[[], None]] = []
            self._waiting: list[int] = []  # how many steps come before each unit
            self._units: list[Callable[[], None]] = []
            self.names: list[str] = []
            self._read(tree)
        except BrokenTests:
            raise
        except BaseException as error:
            raise BrokenTests(f"{type(error).__name__}: {str(error)[:_MAX_TEXT]}") from None
        if not self.names:
            raise BrokenTests("no check(candidate), assert, test_* function or TestCase in the unit tests, nor a loop")
        self._done = 0

    def run(self, number: int) -> None:
        """Runs a unit, after the statements before it that haven't run. Raises what the test raises."""
        while self._done < self._waiting[number]:
            self._done += 1
            self._steps[self._done - 1]()
        self._units[number]()

    def where(self, error: BaseException) -> str:
        """The line of the tests at which they failed, as text."""
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == _FILE]
        if not lines or not lines[-1] or lines[-1] > len(self._source):
            return ""
        return f"line {lines[-1]}: {self._source[lines[-1] - 1].strip()[:200]}"

    def _install_modules(self) -> None:
        solution = types.ModuleType("solution")  # what pytest-like tests import from
        solution.__getattr__ = self._remote  # type: ignore[method-assign]
        sys.modules["solution"] = solution
        for name, stand_in in (("numpy", numpy_stand_in), ("pytest", pytest_stand_in)):
            try:
                __import__(name)
            except ImportError:
                sys.modules[name] = stand_in()

    def _remote(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        first, _, method = self._function.partition(".")
        if name == "candidate" and self._function:
            return Remote(self._function)
        return RemoteClass(name) if name[:1].isupper() and not (name == first and not method) else Remote(name)

    def _bind(self, table: symtable.SymbolTable) -> None:
        """Makes every name that the tests use and nobody defines a name of the program's; so, too, the entry point."""
        defined = {s.get_name() for s in table.get_symbols() if s.is_assigned() or s.is_imported()}
        known = defined | set(self._space) | set(vars(builtins))
        first = self._function.partition(".")[0]
        if any(s.get_name() == first and s.is_assigned() and not s.is_imported() for s in table.get_symbols()):
            raise BrokenTests(f"the unit tests define {first} themselves, so they would not test the program")
        for name in (_used(table) - known) | ({first} - defined - {""}):
            self._space[name] = self._remote(name)

    def _read(self, tree: ast.Module) -> None:
        later: list[ast.stmt] = []
        for statement in tree.body:
            if isinstance(statement, ast.Assert):
                self._add(f"assert in line {statement.lineno}", self._runner(statement))
            elif not _calls_check(statement):
                self._steps.append(self._runner(statement))
                later.append(statement)
        for statement in later:
            if isinstance(statement, ast.FunctionDef) and statement.name == "check":
                self._add("check", self._check)
            elif isinstance(statement, ast.FunctionDef) and statement.name.startswith("test"):
                self._add(statement.name, self._caller(statement.name))
            elif isinstance(statement, ast.ClassDef):
                for method in statement.body:
                    if isinstance(method, ast.FunctionDef) and method.name.startswith("test"):
                        self._add(f"{statement.name}.{method.name}", self._method(statement.name, method.name))
        if not self.names:  # EvalPlus: one loop over inputs and results, which calls a helper that asserts
            self._steps = [self._runner(statement) for statement in later if not isinstance(statement, ast.For)]
            for loop in later:
                if isinstance(loop, ast.For):
                    self._add(f"loop in line {loop.lineno}", self._runner(loop))

    def _add(self, name: str, unit: Callable[[], None]) -> None:
        self.names.append(name)
        self._units.append(unit)
        self._waiting.append(len(self._steps))

    def _runner(self, statement: ast.stmt) -> Callable[[], None]:
        code = compile(ast.Module([statement], []), _FILE, "exec")
        return lambda: exec(code, self._space)

    def _check(self) -> None:
        if not self._function:
            raise BrokenTests("check(candidate) needs an entry_point")
        self._space["check"](Remote(self._function))

    def _caller(self, name: str) -> Callable[[], None]:
        def call() -> None:
            test = self._space[name]
            wanted = test.__code__.co_argcount - len(test.__defaults__ or ()) if hasattr(test, "__code__") else 0
            if wanted:
                raise BrokenTests(f"{name} wants arguments: fixtures are not supported")
            test()

        return call

    def _method(self, owner: str, name: str) -> Callable[[], None]:
        def call() -> None:
            case = self._space[owner]
            if hasattr(case, "debug"):  # unittest: with setUp and tearDown
                case(name).debug()
            else:
                getattr(case(), name)()

        return call


def main() -> None:
    """Answers until the host closes the channel. What the tests print is not for anybody."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    suite: Suite | None = None
    while True:
        request = _read_value()
        answer: Any
        try:
            if request[0] == "load":
                suite = Suite(*request[1:])
                answer = ("units", suite.names)
            else:
                assert suite is not None
                suite.run(request[1])
                answer = ("passed",)
        except BrokenTests as error:
            answer = ("broken", str(error)[:_MAX_TEXT])
        except BaseException as error:
            place = suite.where(error) if suite else ""
            text = f"{type(error).__name__}: {str(error)[:_MAX_TEXT]}".removesuffix(": ")
            answer = ("failed", f"{place}: {text}" if place else text)
        _write(encode(answer))


def _used(table: symtable.SymbolTable) -> set[str]:
    """The global names that a source uses, at any depth."""
    top = table.get_type() == "module"
    used = {s.get_name() for s in table.get_symbols() if s.is_referenced() and (top or s.is_global())}
    for child in table.get_children():
        used |= _used(child)
    return used


def _calls_check(statement: ast.stmt) -> bool:
    """Whether it is ``check(...)``, which some data sets append: the unit of that name runs it already."""
    call = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "check"


def _read_value() -> Any:
    return decode(_read(_HEADER.unpack(_read(_HEADER.size))[0]))


def _read(count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = os.read(CHANNEL, count - len(data))
        if not part:
            os._exit(0)
        data += part
    return data


def _write(data: bytes) -> None:
    data = _HEADER.pack(len(data)) + data
    while data:
        data = data[os.write(CHANNEL, data) :]


if __name__ == "__main__":
    main()
