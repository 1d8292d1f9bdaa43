"""Programming tasks, as contests, benchmarks and training sets write them.

The reference is JSON text that holds the tests as the data set wrote them, under the names that ``rewards/programs``
reads: ``{"language", "test_cases"}``, ``{"inputs", "outputs", "fn_name"}`` or ``{"unit_tests", "entry_point", "setup",
"prompt"}``. What a set says beside (a checker, an interactor) travels along in it: whoever grades must honour it or
refuse. A known solution becomes the column ``solution_code``. Prompts that don't say how to answer are made to. Left
out: running anything (``rewards``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from thinkery.problems.conventions.base import Fields, Task, prompt_of, shown
from thinkery.problems.conventions.packed import unpack_text

_BLOCK = "Give it in one ```python block."
_ASK_PROGRAM = (
    "Write a Python program that reads standard input and writes its answer to standard output. "
    "Give the whole program in one ```python block."
)
_ASK_FUNCTION = "Write the Python function {name}. Give it in one ```python block."
_ASK_CONTINUE = (
    "Complete this Python function. Give the whole function in one ```python block.\n\n```python\n{start}\n```"
)
_SYNTHETIC = {"fn_name": "fn_name", "test_case_inputs": "inputs", "test_case_outputs": "outputs"}  # theirs -> ours
_PYTHON3 = 3  # code_contests' number for it


def read_verification(fields: Fields) -> Task:
    """open-r1's ``verification_info``, and what SYNTHETIC-1 and 2 made of it: the task's type says what it holds."""
    prompt, kind = prompt_of(fields), str(fields.values.get("task_type") or "verifiable_code")
    info = fields.json("verification_info")
    if not isinstance(info, dict):
        raise fields.error("verification_info", f"must be an object with language and test_cases, not {shown(info)}")
    if "math" in kind and info.get("ground_truth") is not None:
        return Task(prompt, str(info["ground_truth"]), "math", {"gold_solution": fields.take("gold_standard_solution")})
    if "code" not in kind or "ground_truth" in info:
        raise fields.error("task_type", f"is {kind!r}, which is not read; read are code with tests, and math")
    renamed = {_SYNTHETIC.get(key, key): value for key, value in info.items()}
    return Task(prompt, written(renamed), "code", _solution(fields, "gold_standard_solution"))


def read_humaneval(fields: Fields) -> Task:
    """A function to complete, with ``check(candidate)``."""
    start, tests, name = fields.text(fields.prompt), fields.text("test"), fields.text("entry_point")
    body = fields.optional_text("canonical_solution")
    reference = {"language": "python", "unit_tests": tests, "entry_point": name, "setup": start, "prompt": start}
    solution = {"solution_code": start + body} if body else {}
    return Task(_ASK_CONTINUE.format(start=start.strip("\n")), written(reference), "code", solution)


def read_mbpp(fields: Fields) -> Task:
    """Assertions, which the prompt shows; MBPP+ has a test beside that holds more of them."""
    text = fields.text(fields.prompt)
    tests = fields.json("test_list")
    if not isinstance(tests, list) or not tests or not all(isinstance(test, str) for test in tests):
        raise fields.error("test_list", f"must be a list of assert statements, not {shown(tests)}")
    setup = fields.optional_text("test_setup_code")
    imports = fields.json("test_imports") or []
    if not isinstance(imports, list):
        raise fields.error("test_imports", f"must be a list of import statements, not {shown(imports)}")
    shown_tests = "\n".join(fields.checked("test_list", test) for test in tests)
    more = fields.text("test") if fields.values.get("test") is not None else shown_tests
    reference = {"language": "python", "unit_tests": more, "setup": "\n".join([*map(str, imports), setup]).strip()}
    prompt = f"{text.strip()}\n\nYour code should pass these tests:\n\n{shown_tests}\n\n{_BLOCK}"
    return Task(prompt, written(reference), "code", _solution(fields, "code"))


def read_kodcode(fields: Fields) -> Task:
    """A pytest file that imports the solution."""
    text, tests = fields.text(fields.prompt), fields.text("test")
    info = fields.values.get("test_info")
    told = [one.get("function_declaration") for one in info if isinstance(one, dict)] if isinstance(info, list) else []
    named = "\n".join(line for line in told if isinstance(line, str))
    ask = f"Your code is called like this:\n\n```python\n{named}\n```\n\n{_BLOCK}" if named else _BLOCK
    reference = {"language": "python", "unit_tests": tests}
    return Task(f"{text.strip()}\n\n{ask}", written(reference), "code", _solution(fields, "solution"))


def read_leetcode(fields: Fields) -> Task:
    """A method with ``check(candidate)``; the column ``prompt`` holds imports that both sides start with."""
    query, tests, name = fields.text(fields.prompt), fields.text("test"), fields.text("entry_point")
    reference = {"language": "python", "unit_tests": tests, "entry_point": name, "setup": fields.optional_text("prompt")}
    return Task(query, written(reference), "code", _solution(fields, "completion"))


def tests_in(column: str, **other: str) -> Callable[[Fields], Task]:
    """Reads tests that stand in one column, in whatever form ``tests_of`` knows; ``other``: further keys of theirs.

    APPS, TACO, DeepCoder, LiveCodeBench in its older forms, open-r1's codeforces.
    """

    def read(fields: Fields) -> Task:
        text = _statement(fields)
        tests = tests_of(fields, column)
        for ours, theirs in other.items():
            value = fields.take(theirs)
            if value not in (None, "", [], {}):
                tests[ours] = value
        return _task(fields, text, tests)

    return read


def read_rstar(fields: Fields) -> Task:
    """Inputs and outputs in columns of their own."""
    text = _statement(fields)
    tests = {"inputs": fields.json("inputs"), "outputs": fields.json("outputs")}
    name, owner = fields.optional_text("func_name"), fields.optional_text("class_name")
    if name:
        tests["fn_name"] = f"{owner}.{name}" if owner and "." not in name else name
    return _task(fields, text, tests)


def read_contests(fields: Fields) -> Task:
    """code_contests: public, private and generated tests are all tests."""
    text = _statement(fields)
    tests: dict[str, Any] = {"inputs": [], "outputs": []}
    for column in ("public_tests", "private_tests", "generated_tests"):
        part = fields.json(column) or {}
        for ours, theirs in (("inputs", "input"), ("outputs", "output")):
            values = part.get(theirs) if isinstance(part, dict) else None
            if not isinstance(values, list):
                raise fields.error(column, f"must be an object with the lists input and output, not {shown(part)}")
            tests[ours] += values
    for column in ("input_file", "output_file"):
        if fields.values.get(column):
            tests[column] = fields.take(column)
    return _task(fields, text, tests)


def read_livecodebench(fields: Fields) -> Task:
    """Public tests and private ones, the latter as JSON or packed (``packed.py``)."""
    text = _statement(fields)
    tests: dict[str, Any] = {"test_cases": []}
    for column in ("public_test_cases", "private_test_cases"):
        cases = fields.values.get(column)
        if column.startswith("private") and isinstance(cases, str) and cases.lstrip()[:1] not in ("[", ""):
            try:
                fields.values[column] = unpack_text(cases)
            except ValueError as error:
                raise fields.error(column, str(error)) from None
        cases = fields.json(column) or []
        if not isinstance(cases, list):
            raise fields.error(column, f"must be a list of tests with input, output and testtype, not {shown(cases)}")
        tests["test_cases"] += cases
    tests["metadata"] = fields.json("metadata")
    return _task(fields, text, tests)


def tests_of(fields: Fields, column: str) -> dict[str, Any]:
    """The tests that a column holds, as JSON or its text: a list of cases, or an object in any of these forms.

    Skywork's ``{"import_prefix", "test_code", "entry_point"}`` and ``{"assert_case": [...]}`` become unit tests.
    """
    tests = fields.json(column)
    if isinstance(tests, list):
        asserted = tests and all(isinstance(test, str) for test in tests)
        return {"unit_tests": "\n".join(tests)} if asserted else {"test_cases": tests}
    if not isinstance(tests, dict):
        raise fields.error(column, f"must be an object with inputs and outputs, not {shown(tests)}")
    if "test_code" in tests:
        known = {"test_code": "unit_tests", "import_prefix": "setup"}
        return {known.get(key, key): value for key, value in tests.items()}
    if "assert_case" in tests:
        return {"unit_tests": "\n".join(map(str, tests["assert_case"]))}
    return tests


def written(tests: Mapping[str, Any]) -> str:
    """JSON text. Escaped to ASCII, so that nothing in the tests can be unwritable."""
    return json.dumps({"language": "python", **tests}, default=str)


def _task(fields: Fields, text: str, tests: dict[str, Any]) -> Task:
    """The task of a statement and its tests, asking for a function where they call one, else for a program."""
    starter = fields.optional_text("starter_code").strip("\n")
    name = _function(tests)
    ask = _ASK_FUNCTION.format(name=name) if name else _ASK_PROGRAM
    if starter.strip():
        ask += f" It starts like this:\n\n```python\n{starter}\n```"
    language = fields.take("language") if str(fields.values.get("language")).lower() in ("cpp", "c++") else None
    if language:
        tests, ask = {**tests, "language": language}, _ASK_PROGRAM.replace("Python", "C++").replace("python", "cpp")
    known = _known_solution(fields)
    if fields.prompt == "prompt":  # a set's own prompt says how to answer
        return Task(text, written(tests), "code", {"solution_code": known} if known else {})
    return Task(f"{text.strip()}\n\n{ask}", written(tests), "code", {"solution_code": known} if known else {})


def _statement(fields: Fields) -> str:
    """What is asked; codeforces keeps the parts of a statement apart."""
    text = fields.text(fields.prompt)
    if fields.prompt != "description":
        return text
    parts = {"input_format": "Input", "output_format": "Output", "note": "Note"}
    told = [(head, fields.optional_text(column)) for column, head in parts.items()]
    return "\n\n".join([text.strip(), *(f"{head}\n{part.strip()}" for head, part in told if part.strip())])


def _function(tests: Mapping[str, Any]) -> str:
    """The function that tests call; "" where they run whole programs."""
    cases = tests.get("test_cases")
    first = cases[0] if isinstance(cases, list) and cases and isinstance(cases[0], dict) else {}
    for told in (tests, first, _object(tests.get("metadata")), _object(first.get("metadata"))):
        for key in ("fn_name", "func_name"):
            if told.get(key):
                return str(told[key])
    return ""


def _object(value: Any) -> Mapping[str, Any]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return {}
    return value if isinstance(value, Mapping) else {}


def _known_solution(fields: Fields) -> str:
    """The first solution in Python that a row lists; "" without one."""
    solutions = fields.values.get("solutions")
    if isinstance(solutions, Mapping):  # code_contests: numbers of languages beside the programs
        pairs = zip(_list(solutions.get("language")), _list(solutions.get("solution")), strict=False)
        return next((text for number, text in pairs if number == _PYTHON3 and isinstance(text, str)), "")
    listed = fields.json("solutions") if solutions else None
    return listed[0] if isinstance(listed, list) and listed and isinstance(listed[0], str) else ""


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else []


def _solution(fields: Fields, column: str) -> dict[str, Any]:
    source = fields.optional_text(column)
    return {"solution_code": source} if source.strip() else {}
