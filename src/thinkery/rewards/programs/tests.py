"""A coding problem's reference, read: which language, which tests, in any of the forms that data sets use.

The reference is JSON text, one object:

- open-r1: ``{"language", "test_cases": [{"input", "output", "type": "stdin_stdout" | "function_call", "fn_name"}]}``;
- LiveCodeBench: test cases with ``testtype`` ("stdin", or "functional": one JSON argument a line) and ``func_name``;
- APPS, TACO: ``{"inputs": [...], "outputs": [...], "fn_name"}``;
- HumanEval, MBPP, LeetCode, pytest: ``{"unit_tests" (or "test", "test_list"), "entry_point", "setup", "prompt"}``.

A key that asks for more than this (``UNHONOURED``: a checker, an interactor) makes the reference unreadable, because
without it another program would be called right.

``fn_name`` and ``entry_point`` may name a method: ``Solution.twoSum``, ``Solution().twoSum``. ``prompt`` is source that
a completion may continue, ``setup`` (else the prompt) source that is there before the program and before the tests.
Pure; test sources are read in the sandbox (``harness/tester.py``), not here. Left out: pickled tests, checkers and
interactive tasks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

from thinkery.rewards.programs.compare import is_blank, shown
from thinkery.rewards.programs.harness.plain import PlainError, encode
from thinkery.sandbox.types import Language

MAX_REFERENCE = 64 << 20  # characters

_LANGUAGES: Mapping[str, Language] = {
    "python": "python", "python3": "python", "py": "python", "cpp": "cpp", "c++": "cpp",
}  # fmt: skip
# What a reference, or one of its tests, may ask for that no judge here does yet; who teaches the judge takes it out.
UNHONOURED: Mapping[str, str] = {
    **dict.fromkeys(("checker", "checker_code", "generated_checker"), "a program that judges outputs can't be run"),
    **dict.fromkeys(("interactor", "interaction_format"), "a program that answers back can't be run"),
    **dict.fromkeys(("input_file", "output_file", "input_mode"), "programs talk by standard input and output"),
    **dict.fromkeys(("test_setup", "test_teardown"), "nothing is run before or after a test; setup goes in setup"),
}
_FUNCTION = re.compile(r"([A-Za-z_]\w*)(?:(?:\(\))?\.([A-Za-z_]\w*))?", re.ASCII)
_Test = TypeVar("_Test")


class UnreadableTestsError(ValueError):
    """The reference can't be read. Says where and what was expected."""


@dataclass(frozen=True, slots=True)
class StdinTest:
    """What a program reads and must print."""

    stdin: str
    expected: str


@dataclass(frozen=True, slots=True)
class CallTest:
    """A function's arguments, and its return value in each reading of the reference (see ``CallTests.readings``)."""

    arguments: tuple[Any, ...]
    keywords: Mapping[str, Any]
    expected: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class StdinTests:
    """Whole programs, run once a test."""

    tests: tuple[StdinTest, ...]


@dataclass(frozen=True, slots=True)
class CallTests:
    """Calls of one function (``name`` or ``Class.name``).

    APPS wraps each return value in a list, other sets don't, and nothing says which. If every expected value is a list
    of one item there are two ``readings``, as it is and unwrapped; a program must match all its tests in one of them.
    """

    function: str
    tests: tuple[CallTest, ...]
    readings: int


@dataclass(frozen=True, slots=True)
class UnitTests:
    """Source of tests that call the program. ``function`` is "" where the names that they don't define say what."""

    function: str
    source: str


@dataclass(frozen=True, slots=True)
class CodeTests:
    """A whole reference. ``prompt`` and ``setup`` are source, possibly empty."""

    language: Language
    tests: StdinTests | CallTests | UnitTests
    prompt: str = ""
    setup: str = ""


@lru_cache(maxsize=64)
def parse_tests(reference: str) -> CodeTests:
    """Reads a reference. Raises ``UnreadableTestsError``, and nothing else, for any other text."""
    if len(reference) > MAX_REFERENCE:
        raise UnreadableTestsError(f"the reference is longer than {MAX_REFERENCE} characters")
    record = _json(reference, "the reference")
    if not isinstance(record, dict):
        raise UnreadableTestsError(
            f"the reference is {_kind(record)}; expected a JSON object with test_cases, inputs or unit_tests"
        )
    _refuse_unhonoured(record, "")
    language = _language(record)
    tests = _tests(record)
    if language == "cpp" and not isinstance(tests, StdinTests):
        raise UnreadableTestsError("C++ programs can only be tested on standard input and output, type: stdin_stdout")
    prompt = _text(record, "prompt")
    return CodeTests(language, tests, prompt, _text(record, "setup", "test_setup_code") or prompt)


def _refuse_unhonoured(record: Mapping[str, Any], where: str) -> None:
    for key in UNHONOURED.keys() & record.keys():
        if record[key] and record[key] != "stdio":
            raise UnreadableTestsError(f"{where}{key}: can't be honoured: {UNHONOURED[key]}")


def spread(tests: Sequence[_Test], count: int) -> Sequence[_Test]:
    """At most ``count`` of the tests, evenly over the list, first and last among them."""
    if len(tests) <= count:
        return tests
    if count == 1:
        return tests[:1]
    return [tests[i * (len(tests) - 1) // (count - 1)] for i in range(count)]


def _json(text: str, what: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnreadableTestsError(f"{what} is not JSON: {str(error)[:200]}") from None


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "a boolean", int: "a number", float: "a number"}
    return names.get(type(value), "null")


def _text(record: Mapping[str, Any], *names: str) -> str:
    """The first of the fields that is there, as text; a list of lines is joined."""
    for name in names:
        value = record.get(name)
        if value is None:
            continue
        if isinstance(value, list) and all(isinstance(line, str) for line in value):
            return "\n".join(value)
        if not isinstance(value, str):
            raise UnreadableTestsError(f"{name}: expected text, got {_kind(value)}")
        return value
    return ""


def _language(record: Mapping[str, Any]) -> Language:
    name = _text(record, "language") or "python"
    if name.strip().lower() not in _LANGUAGES:
        raise UnreadableTestsError(f"language: {shown(name, 60)} is not known; write python or cpp")
    return _LANGUAGES[name.strip().lower()]


def _function(record: Mapping[str, Any], *, required: bool) -> str:
    """The function's name as ``name`` or ``Class.name``; "" where none is given and none is needed."""
    metadata = record.get("metadata")
    metadata = _json(metadata, "metadata") if isinstance(metadata, str) else metadata
    both = (metadata if isinstance(metadata, dict) else {}) | dict(record)
    name = _text(both, "entry_point", "fn_name", "func_name").strip()
    match = _FUNCTION.fullmatch(name)
    if match:
        return ".".join(part for part in match.groups() if part)
    if name or required:
        raise UnreadableTestsError(
            f"fn_name: expected a function's name such as two_sum or Solution.twoSum, got {shown(name, 60)}"
        )
    return ""


def _tests(record: Mapping[str, Any]) -> StdinTests | CallTests | UnitTests:
    if record.get("test_cases") is not None:
        return _test_cases(record)
    if record.get("inputs") is not None:
        return _inputs_and_outputs(record)
    source = _text(record, "unit_tests", "test", "test_list")
    if not source.strip():
        raise UnreadableTestsError("no tests: expected test_cases, or inputs and outputs, or unit_tests")
    return UnitTests(_function(record, required=False), source)


def _list(value: object, name: str) -> list[Any]:
    """A field that is a list, or the JSON text of one."""
    if isinstance(value, str):
        value = _json(value, name)
    if not isinstance(value, list) or not value:
        raise UnreadableTestsError(
            f"{name}: expected a list of at least one item, got {_kind(value) if value != [] else 'none'}"
        )
    return value


def _test_cases(record: Mapping[str, Any]) -> StdinTests | CallTests:
    cases = _list(record["test_cases"], "test_cases")
    kinds = set()
    for number, case in enumerate(cases):
        if not isinstance(case, dict) or not {"input", "output"} <= case.keys():
            raise UnreadableTestsError(f"test_cases[{number}]: expected an object with input and output")
        _refuse_unhonoured(case, f"test_cases[{number}].")
        kinds.add(str(case.get("type") or case.get("testtype") or "stdin_stdout"))
    if kinds <= {"stdin_stdout", "stdin"}:
        return _stdin_tests([(case["input"], case["output"]) for case in cases], "test_cases")
    if kinds == {"functional"}:  # LiveCodeBench: JSON text, one argument a line
        calls = [(_json_lines(c["input"], n), _functional_output(c["output"], n)) for n, c in enumerate(cases)]
        return _call_tests(_function(cases[0] | dict(record), required=True), calls, "test_cases", wrapped=False)
    if kinds == {"function_call"}:
        names = {str(case.get("fn_name")) for case in cases if case.get("fn_name")}
        if len(names) > 1:
            raise UnreadableTestsError(f"test_cases: expected one fn_name for all, got {shown(sorted(names))}")
        return _call_tests(
            _function(cases[0] | {k: v for k, v in record.items() if v}, required=True),
            [(case["input"], case["output"]) for case in cases],
            "test_cases",
            wrapped=True,
        )
    raise UnreadableTestsError(
        f"test_cases: expected type stdin_stdout or function_call, one for all, got {shown(sorted(kinds))}"
    )


def _inputs_and_outputs(record: Mapping[str, Any]) -> StdinTests | CallTests:
    inputs, outputs = _list(record["inputs"], "inputs"), _list(record.get("outputs"), "outputs")
    if len(inputs) != len(outputs):
        raise UnreadableTestsError(f"inputs and outputs: expected equally many, got {len(inputs)} and {len(outputs)}")
    pairs = list(zip(inputs, outputs, strict=True))
    function = _function(record, required=False)
    return _call_tests(function, pairs, "inputs", wrapped=True) if function else _stdin_tests(pairs, "inputs")


def _stdin_tests(pairs: Sequence[tuple[Any, Any]], name: str) -> StdinTests:
    tests = tuple(
        StdinTest(_lines(given, f"{name}[{number}]"), _lines(expected, f"{name}[{number}]"))
        for number, (given, expected) in enumerate(pairs)
    )
    if all(is_blank(test.expected) for test in tests):
        raise UnreadableTestsError(f"{name}: no test expects any output, so a program that does nothing would pass")
    return StdinTests(tests)


def _lines(value: object, where: str) -> str:
    """Text, or APPS's list of lines."""
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        value = "\n".join(value)
    if not isinstance(value, str):
        raise UnreadableTestsError(f"{where}: expected the text of standard input and output, got {_kind(value)}")
    return value


def _json_lines(value: object, number: int) -> list[Any]:
    where = f"test_cases[{number}].input"
    return [_json(line, where) for line in _lines(value, where).split("\n") if line.strip()]


def _functional_output(value: object, number: int) -> Any:
    return _json(_lines(value, f"test_cases[{number}].output"), f"test_cases[{number}].output")


def _call_tests(function: str, pairs: Sequence[tuple[Any, Any]], name: str, *, wrapped: bool) -> CallTests:
    """``wrapped``: the data set may have wrapped each return value in a list of one."""
    read = [_read_call(given, expected, f"{name}[{number}]") for number, (given, expected) in enumerate(pairs)]
    both = wrapped and all(isinstance(expected, list) and len(expected) == 1 for _, expected in read)
    tests = []
    for given, expected in read:
        readings = (expected, expected[0]) if both else (expected,)
        tests.append(CallTest((), given, readings) if isinstance(given, dict) else CallTest(tuple(given), {}, readings))
    return CallTests(function, tuple(tests), 2 if both else 1)


def _read_call(given: Any, expected: Any, where: str) -> tuple[Any, Any]:
    """A call's arguments, a list or an object of keywords, and its return value; JSON text is read, then both are."""
    if isinstance(given, str):
        given = _json(given, where)
        expected = _json(expected, where) if isinstance(expected, str) else expected
    if not isinstance(given, list | dict):
        raise UnreadableTestsError(
            f"{where}: expected a list of arguments, or an object of keywords, got {_kind(given)}"
        )
    try:
        encode(given)
        encode(expected)
    except PlainError as error:
        raise UnreadableTestsError(f"{where}: {error}") from None
    return given, expected
