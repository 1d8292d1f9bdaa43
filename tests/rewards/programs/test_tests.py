from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thinkery.rewards.programs.tests import CallTests, StdinTests, UnitTests, UnreadableTestsError, parse_tests, spread


def read(reference: Any) -> Any:
    return parse_tests(json.dumps(reference)).tests


def calls(reference: Any) -> list[tuple[Any, ...]]:
    tests = read(reference)
    assert isinstance(tests, CallTests)
    return [(tests.function, test.arguments, dict(test.keywords), test.expected) for test in tests.tests]


def test_open_r1_programs_on_standard_input() -> None:
    case = {"input": "1 2\n", "output": "3\n", "type": "stdin_stdout", "fn_name": None}
    tests = parse_tests(json.dumps({"language": "python", "test_cases": [case, case]}))
    assert tests.language == "python"
    assert isinstance(tests.tests, StdinTests)
    assert [(test.stdin, test.expected) for test in tests.tests.tests] == [("1 2\n", "3\n")] * 2


def test_open_r1_function_calls() -> None:
    case = {"input": [[3, 1], 2], "output": 7, "type": "function_call", "fn_name": "f"}
    assert calls({"language": "python", "test_cases": [case]}) == [("f", ([3, 1], 2), {}, (7,))]


def test_function_calls_with_keywords_and_with_json_text() -> None:
    keywords = {"input": {"nums": [1]}, "output": 1, "type": "function_call"}
    assert calls({"fn_name": "f", "test_cases": [keywords]}) == [("f", (), {"nums": [1]}, (1,))]
    text = {"input": "[[1, 2]]", "output": "3", "type": "function_call"}
    assert calls({"fn_name": "f", "test_cases": [text]}) == [("f", ([1, 2],), {}, (3,))]


def test_live_code_bench_functional_tests_give_one_argument_a_line() -> None:
    case = {"input": "[2, 7]\n9\n", "output": "[0, 1]", "testtype": "functional"}
    reference = {"test_cases": [case], "metadata": json.dumps({"func_name": "two_sum"})}
    assert calls(reference) == [("two_sum", ([2, 7], 9), {}, ([0, 1],))]
    stdin = {"input": "2\n", "output": "4\n", "testtype": "stdin"}
    assert isinstance(read({"test_cases": [stdin]}), StdinTests)


def test_apps_programs_and_their_lists_of_lines() -> None:
    tests = read({"inputs": ["1\n", ["1", "2"]], "outputs": ["2\n", ["3", "4"]]})
    assert [(test.stdin, test.expected) for test in tests.tests] == [("1\n", "2\n"), ("1\n2", "3\n4")]


def test_apps_return_values_can_be_read_with_and_without_their_list() -> None:
    reference = {"fn_name": "f", "inputs": [[1], [2]], "outputs": [[10], [20]]}
    assert [expected for *_, expected in calls(reference)] == [([10], 10), ([20], 20)]
    assert [e for *_, e in calls(reference | {"outputs": [[10], [20, 30]]})] == [([10],), ([20, 30],)]


def test_a_method_may_be_named_in_any_of_its_spellings() -> None:
    for name in ("Solution.twoSum", "Solution().twoSum"):
        tests = read({"unit_tests": "assert True", "entry_point": name})
        assert tests == UnitTests("Solution.twoSum", "assert True")


def test_human_eval_and_mbpp_unit_tests() -> None:
    human = {"prompt": "def f(x):\n", "test": "def check(candidate): ...", "entry_point": "f"}
    tests = parse_tests(json.dumps(human))
    assert (tests.tests, tests.prompt, tests.setup) == (UnitTests("f", human["test"]), human["prompt"], human["prompt"])
    mbpp = {"test_list": ["assert f(1) == 2", "assert f(2) == 3"], "test_setup_code": "import math"}
    tests = parse_tests(json.dumps(mbpp))
    assert (tests.tests, tests.setup) == (UnitTests("", "assert f(1) == 2\nassert f(2) == 3"), "import math")


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("", "the reference is not JSON"),
        ("42", "the reference is a number; expected a JSON object with test_cases, inputs or unit_tests"),
        ("[]", "the reference is a list"),
        ("{}", "no tests: expected test_cases, or inputs and outputs, or unit_tests"),
        ("[" * 100_000, "the reference is not JSON"),
        ('{"unit_tests": " "}', "no tests"),
        ('{"language": "cobol", "unit_tests": "assert f()"}', "language: 'cobol' is not known; write python or cpp"),
        ('{"language": "cpp", "unit_tests": "assert f()"}', r"C\+\+ programs can only be tested on standard input"),
        ('{"test_cases": []}', "test_cases: expected a list of at least one item, got none"),
        ('{"test_cases": {}}', "test_cases: expected a list of at least one item, got an object"),
        ('{"test_cases": [1]}', r"test_cases\[0\]: expected an object with input and output"),
        ('{"test_cases": [{"input": "1"}]}', r"test_cases\[0\]: expected an object with input and output"),
        ('{"test_cases": [{"input": 1, "output": "1"}]}', r"test_cases\[0\]: expected the text of standard input"),
        (
            '{"test_cases": [{"input": "", "output": "1", "type": "magic"}]}',
            "expected type stdin_stdout or function_call",
        ),
        (
            '{"test_cases": [{"input": [1], "output": 1, "type": "function_call"}]}',
            "fn_name: expected a function's name such as",
        ),
        (
            '{"test_cases": [{"input": 1, "output": 1, "type": "function_call", "fn_name": "f"}]}',
            "expected a list of arg",
        ),
        ('{"fn_name": "f(", "inputs": [[1]], "outputs": [1]}', r"fn_name: expected .* Solution.twoSum, got 'f\('"),
        ('{"inputs": ["1"], "outputs": []}', "outputs: expected a list of at least one item, got none"),
        ('{"inputs": ["1", "2"], "outputs": ["1"]}', "expected equally many, got 2 and 1"),
        ('{"inputs": ["1", "2"], "outputs": ["", " \\n"]}', "no test expects any output"),
        ('{"unit_tests": 3}', "unit_tests: expected text, got a number"),
        ('{"fn_name": "f", "inputs": [[' + "[" * 100 + "]" * 100 + ']], "outputs": [1]}', "deeper than 64"),
    ],
)
def test_what_cannot_be_read_is_refused_with_what_was_expected(reference: str, message: str) -> None:
    with pytest.raises(UnreadableTestsError, match=message):
        parse_tests(reference)


def test_of_many_tests_some_are_taken_evenly_with_the_first_and_the_last() -> None:
    assert list(spread(range(5), 10)) == [0, 1, 2, 3, 4]
    assert list(spread(range(100), 4)) == [0, 33, 66, 99]
    assert list(spread(range(100), 1)) == [0]


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["f", "[1]", "cpp"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
_CASES = st.lists(
    st.fixed_dictionaries(
        {"input": _JSON, "output": _JSON},
        optional={
            "type": st.sampled_from(["stdin_stdout", "function_call"]),
            "testtype": st.sampled_from(["stdin", "functional"]),
            "fn_name": st.sampled_from(["f", "A.b", ""]) | _JSON,
        },
    ),
    max_size=3,
)
_FIELDS = ["language", "inputs", "outputs", "unit_tests", "test_list", "entry_point", "fn_name", "setup", "metadata"]


@pytest.mark.slow
@given(st.fixed_dictionaries({}, optional={"test_cases": _CASES | _JSON} | dict.fromkeys(_FIELDS, _JSON)))
def test_any_reference_is_read_or_refused_and_nothing_else(reference: Any) -> None:
    try:
        tests = parse_tests(json.dumps(reference))
    except UnreadableTestsError:
        return
    assert isinstance(tests.tests, UnitTests) or tests.tests.tests


@given(st.text())
def test_any_text_is_read_or_refused_and_nothing_else(reference: str) -> None:
    with pytest.raises(UnreadableTestsError, match=r"\w"):
        parse_tests(reference)
