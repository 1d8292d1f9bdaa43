"""Programming tasks: open-r1's ``verification_info``, HumanEval, MBPP, APPS and TACO.

The reference is JSON text that holds the tests as the data set wrote them, ``{"language", "test_cases"}``, ``{"inputs",
"outputs", "fn_name"}`` or ``{"language", "unit_tests", "entry_point", "setup", "prompt"}``; the code verifier reads all
three. A known solution becomes the column ``solution_code``. Prompts that don't say how to answer are made to. Left
out: running anything (``rewards``).
"""

from __future__ import annotations

import json
from typing import Any

from thinkery.problems.conventions.base import Convention, Fields, Task, prompt_of, shown

_PLAIN = ("plain", "gsm8k")
_ASK_PROGRAM = (
    "Write a Python program that reads standard input and writes its answer to standard output. "
    "Give the whole program in one ```python block."
)
_ASK_FUNCTION = "Write the Python function {name}. Give it in one ```python block."
_ASK_CONTINUE = (
    "Complete this Python function. Give the whole function in one ```python block.\n\n```python\n{start}\n```"
)


def _read_open_r1(fields: Fields) -> Task:
    prompt = prompt_of(fields)
    info = fields.json("verification_info")
    if not isinstance(info, dict):
        raise fields.error("verification_info", f"must be an object with language and test_cases, not {shown(info)}")
    return Task(prompt, _written(info), "code", _solution(fields, "gold_standard_solution"))


def _read_humaneval(fields: Fields) -> Task:
    start, tests, name = fields.text(fields.prompt), fields.text("test"), fields.text("entry_point")
    body = fields.optional_text("canonical_solution")
    reference = {"language": "python", "unit_tests": tests, "entry_point": name, "setup": start, "prompt": start}
    solution = {"solution_code": start + body} if body else {}
    return Task(_ASK_CONTINUE.format(start=start.strip("\n")), _written(reference), "code", solution)


def _read_mbpp(fields: Fields) -> Task:
    text = fields.text(fields.prompt)
    tests = fields.json("test_list")
    if not isinstance(tests, list) or not tests or not all(isinstance(test, str) for test in tests):
        raise fields.error("test_list", f"must be a list of assert statements, not {shown(tests)}")
    setup = fields.optional_text("test_setup_code")
    imports = fields.json("test_imports") or []
    if not isinstance(imports, list):
        raise fields.error("test_imports", f"must be a list of import statements, not {shown(imports)}")
    shown_tests = "\n".join(fields.checked("test_list", test) for test in tests)
    reference = {
        "language": "python",
        "unit_tests": shown_tests,
        "setup": "\n".join([*map(str, imports), setup]).strip(),
    }
    prompt = f"{text.strip()}\n\nYour code should pass these tests:\n\n{shown_tests}\n\nGive it in one ```python block."
    return Task(prompt, _written(reference), "code", _solution(fields, "code"))


def _read_apps(fields: Fields) -> Task:
    text = fields.text(fields.prompt)
    tests = fields.json("input_output")
    if not isinstance(tests, dict):
        raise fields.error("input_output", f"must be an object with inputs and outputs, not {shown(tests)}")
    starter = fields.optional_text("starter_code").strip("\n")
    name = str(tests.get("fn_name") or "")
    ask = _ASK_FUNCTION.format(name=name) if name else _ASK_PROGRAM
    if starter.strip():
        ask += f" It starts like this:\n\n```python\n{starter}\n```"
    solutions = fields.json("solutions") if fields.values.get("solutions") else None
    known = solutions[0] if isinstance(solutions, list) and solutions and isinstance(solutions[0], str) else ""
    reference = {"language": "python"} | tests
    return Task(f"{text.strip()}\n\n{ask}", _written(reference), "code", {"solution_code": known} if known else {})


def _solution(fields: Fields, column: str) -> dict[str, Any]:
    source = fields.optional_text(column)
    return {"solution_code": source} if source.strip() else {}


def _written(reference: dict[str, Any]) -> str:
    """JSON text. Escaped to ASCII, so that nothing in the tests can be unwritable."""
    return json.dumps(reference, default=str)


_STATEMENTS = ("problem", "prompt", "problem_statement", "question")
OPEN_R1 = Convention(
    "open-r1 code", _STATEMENTS, (("verification_info",),), "tests = verification_info", _read_open_r1, over=_PLAIN
)
HUMANEVAL = Convention(
    "humaneval", ("prompt",), (("test",),), "tests = test", _read_humaneval, needs=("entry_point",), over=_PLAIN
)
MBPP = Convention("mbpp", ("text", "prompt"), (("test_list",),), "tests = test_list", _read_mbpp, over=_PLAIN)
APPS = Convention("apps", ("question",), (("input_output",),), "tests = input_output", _read_apps, over=_PLAIN)
