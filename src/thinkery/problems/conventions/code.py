"""Programming tasks, as contests, benchmarks and training sets write them.

The reference is JSON text that holds the tests as the data set wrote them, under the names that ``rewards/programs``
reads: ``{"language", "test_cases"}``, ``{"inputs", "outputs", "fn_name"}`` or ``{"unit_tests", "entry_point", "setup",
"prompt"}``. What a set says beside (a checker, an interactor) travels along in it: whoever grades must honour it or
refuse. A known solution becomes the column ``solution_code``. Prompts that don't say how to answer are made to. Left
out: running anything (``rewards``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from thinkery.problems.conventions.base import Fields, ParsedRow, prompt_of, shown
from thinkery.problems.conventions.packed import unpack_text

BLOCK = "{text}\n\nGive it in one ```python block."
CONTINUE = "Complete this Python function. Give the whole function in one ```python block.\n\n```python\n{code}\n```"
ASSERTIONS = "{text}\n\nYour code should pass these tests:\n\n{test_list}\n\nGive it in one ```python block."
AS_IT_IS = "{text}"
_PROGRAM = (
    "Write a Python program that reads standard input and writes its answer to standard output. "
    "Give the whole program in one ```python block."
)
_FUNCTION = "Write the Python function {name}. Give it in one ```python block."
_STARTS = " It starts like this:\n\n```python\n{starter}\n```"
# Other people's names of what ``rewards/programs`` reads: SYNTHETIC-2's, and Skywork's unit tests.
_NAMES = {"test_case_inputs": "inputs", "test_case_outputs": "outputs", "test_code": "unit_tests",
          "assert_case": "unit_tests", "import_prefix": "setup"}  # fmt: skip
_PARTS = {"input_format": "Input", "output_format": "Output", "note": "Note"}  # of codeforces' statements
_SOURCES = ("unit_tests", "setup", "prompt")
_PYTHON3 = 3  # code_contests' number for it


def programs(whole: str = "", *, ask: str = "", solution: str = "", **keys: str) -> Callable[[Fields], ParsedRow]:
    """A reader of tests. ``whole`` is a column that holds all of them; ``keys`` say where single keys stand.

    A place is a column, ``column.key`` of one that holds objects, ``a | b`` (the first that is there) or ``a + b``
    (lists or texts, one after the other). ``ask`` makes the prompt of the ``{text}``, its ``{code}`` and the row's
    ``{test_list}``; without it the task asks for a function or a program, as the tests are. ``solution`` is the place
    of a known one; without it the column ``solutions`` lists some.
    """

    def read(fields: Fields) -> ParsedRow:
        text = _statement(fields)
        fields.values[fields.prompt] = text  # a key, or the solution, may need it as well
        row = {"text": text.strip(), "code": text.strip("\n"), "test_list": _source(fields, "test_list")}
        known = _source(fields, solution) if solution else _listed_solution(fields)
        reference = tests_of(fields, whole) if whole else {}
        for ours, place in keys.items():
            value = _source(fields, place) if ours in _SOURCES else _at(fields, place)
            if value not in (None, "", [], {}) or ours == "setup":
                reference[ours] = value
        if not reference:
            raise fields.error(fields.answer, "holds no tests")
        for place in keys.values():
            for column in place.replace(" | ", " + ").split(" + "):
                fields.take(column.partition(".")[0])
        fields.take(fields.prompt)
        fields.take("incorrect_solutions")  # code_contests': hundreds a problem, and of no use to a reward
        prompt = ask.format(**row) if ask else f"{row['text']}\n\n{_asked(fields, reference)}"
        if fields.prompt == "prompt" and not ask:  # a set's own prompt says how to answer
            prompt = text
        return ParsedRow(prompt, written(reference), "code", {"solution_code": known} if known.strip() else {})

    return read


def read_verification(fields: Fields) -> ParsedRow:
    """open-r1's ``verification_info``, and what SYNTHETIC-1 and 2 made of it: the task's type says what it holds."""
    prompt, kind = prompt_of(fields), str(fields.values.get("task_type") or "verifiable_code")
    info = fields.json("verification_info")
    if not isinstance(info, dict):
        raise fields.error("verification_info", f"must be an object with language and test_cases, not {shown(info)}")
    known = fields.optional_text("gold_standard_solution")
    if "math" in kind and info.get("ground_truth") is not None:
        return ParsedRow(prompt, str(info["ground_truth"]), "math", {"solution": known} if known else {})
    if "code" not in kind or "ground_truth" in info:
        raise fields.error("task_type", f"is {kind!r}, which is not read; read are code with tests, and math")
    return ParsedRow(prompt, written(info), "code", {"solution_code": known} if known.strip() else {})


def tests_of(fields: Fields, column: str) -> dict[str, Any]:
    """The tests that a column holds, as JSON or its text: an object, a list of cases, or of assert statements."""
    found = fields.json(column)
    if isinstance(found, list):
        return {"unit_tests" if found and isinstance(found[0], str) else "test_cases": found}
    if not isinstance(found, dict):
        raise fields.error(column, f"must be an object with inputs and outputs, not {shown(found)}")
    return found


def written(found: Mapping[str, Any]) -> str:
    """JSON text. Escaped to ASCII, so that nothing in the tests can be unwritable."""
    return json.dumps({"language": "python"} | {_NAMES.get(k, k): v for k, v in found.items()}, default=str)


def _statement(fields: Fields) -> str:
    text = fields.text(fields.prompt)
    if fields.prompt != "description":
        return text
    told = [(head, fields.optional_text(column).strip()) for column, head in _PARTS.items()]
    return "\n\n".join([text.strip(), *(f"{head}\n{part}" for head, part in told if part)])


def _at(fields: Fields, place: str) -> Any:
    """What stands at a place."""
    values = [_first(fields, part) for part in place.split(" + ")]
    found = [value for value in values if value is not None]
    if all(isinstance(value, list) for value in found):
        return [item for value in found for item in value] if found else None
    return found[0] if len(found) == 1 else "".join(map(str, found))


def _source(fields: Fields, place: str) -> str:
    """What stands at a place, as text of a program: lines or statements in a list are joined."""
    values = [_first(fields, part) for part in place.split(" + ")]
    texts = []
    for value in values:
        lines = value if isinstance(value, list) else [] if value is None else [value]
        if not all(isinstance(line, str) for line in lines):
            raise fields.error(place, f"must be source, or a list of its lines, not {shown(value)}")
        texts += [fields.checked(place, line) for line in lines]
    joint = "" if place.startswith("prompt + ") else "\n"  # HumanEval's body goes on in the prompt's last line
    return joint.join(text for text in texts if text)


def _first(fields: Fields, alternatives: str) -> Any:
    for place in alternatives.split(" | "):
        column, _, key = place.partition(".")
        value = fields.values.get(column)
        if column == "private_test_cases" and isinstance(value, str) and value.lstrip()[:1] not in ("[", ""):
            try:
                value = unpack_text(value)
            except ValueError as error:
                raise fields.error(column, str(error)) from None
        if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
            value = Fields(fields.place, {column: value}, "", "").json(column)
        elif isinstance(value, str):
            fields.checked(column, value)
        if key and value is not None:
            value = value.get(key) if isinstance(value, Mapping) else None
            if not isinstance(value, list):
                raise fields.error(column, f"must be an object with the list {key}")
        if value is not None:
            return value
    return None


def _asked(fields: Fields, reference: dict[str, Any]) -> str:
    """What the tests ask for: a function where they call one, else a program."""
    starter, name = fields.optional_text("starter_code").strip("\n"), _function(reference)
    if str(reference.get("language")).lower() in ("cpp", "c++"):
        return _PROGRAM.replace("Python", "C++").replace("python", "cpp")
    ask = _FUNCTION.format(name=name) if name else _PROGRAM
    return ask + (_STARTS.format(starter=starter) if starter.strip() else "")


def _function(reference: Mapping[str, Any]) -> str:
    """The function that tests call; "" where they run whole programs."""
    cases = reference.get("test_cases")
    first = cases[0] if isinstance(cases, list) and cases and isinstance(cases[0], Mapping) else {}
    told = (reference, first, reference.get("metadata"), first.get("metadata"))
    names = (one.get(key) for one in told if isinstance(one, Mapping) for key in ("fn_name", "func_name"))
    return str(next(filter(None, names), ""))


def _listed_solution(fields: Fields) -> str:
    """The first solution in Python that the column ``solutions`` lists; "" without one."""
    listed = fields.json("solutions") if fields.values.get("solutions") else None
    if isinstance(listed, Mapping):  # code_contests: numbers of languages beside the programs
        numbers, programs = listed.get("language"), listed.get("solution")
        pairs = zip(numbers, programs, strict=False) if isinstance(numbers, list) and isinstance(programs, list) else ()
        listed = [program for number, program in pairs if number == _PYTHON3]
    return listed[0] if isinstance(listed, list) and listed and isinstance(listed[0], str) else ""
