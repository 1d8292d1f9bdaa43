"""Programs against their tests, in the real sandbox."""

from __future__ import annotations

import ast
import gzip
import json
import re
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thinkery.models.template import TEMPLATES
from thinkery.recipe.verification import CodePolicy, Verification
from thinkery.rewards.code import CodeVerifier, grade_code
from thinkery.rewards.interfaces import PendingVerdict
from thinkery.rewards.programs import harness
from thinkery.sandbox import Limits, Program, Sandbox, Status
from thinkery.sandbox.fusion import SandboxFusion
from thinkery.types import Outcome, Problem, Verdict

pytestmark = pytest.mark.slow

FAST = CodePolicy(time_s=1.0)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(workers=1) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def fusion(sandbox: Sandbox) -> Iterator[SandboxFusion]:
    """SandboxFusion's interface over HTTP, in front of the sandbox of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            limits = Limits(wall_s=asked["run_timeout"], output_bytes=1 << 19)
            result = sandbox.run(Program(asked["code"], asked["language"]), asked["stdin"], limits)
            late = result.status is Status.TIMEOUT
            ran = {
                "status": "TimeLimitExceeded" if late else "Finished",
                "return_code": None if late else result.exit_code,
                "execution_time": result.wall_s,
                "stdout": result.stdout,
                "stderr": result.stderr,
            }
            body = json.dumps(
                {"status": "Success" if result.ok else "Failed", "compile_result": None, "run_result": ran}
            )
            self.send_response(200)
            self.send_header("Content-Length", str(len(body.encode())))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with SandboxFusion(f"http://127.0.0.1:{server.server_port}") as client:
            yield client
        server.shutdown()


def grade(
    source: str, reference: dict[str, Any], sandbox: Sandbox | SandboxFusion, policy: CodePolicy = FAST
) -> Verdict:
    language = reference.get("language", "python")
    return grade_code(
        f"<think>ok</think>\n```{language}\n{source}\n```", json.dumps(reference), policy=policy, sandbox=sandbox
    )


def stdin_tests(*pairs: tuple[str, str], **more: str) -> dict[str, Any]:
    return {"test_cases": [{"input": i, "output": o, "type": "stdin_stdout"} for i, o in pairs]} | more


def call_tests(function: str, *pairs: tuple[Any, Any]) -> dict[str, Any]:
    return {"test_cases": [{"input": i, "output": o, "type": "function_call", "fn_name": function} for i, o in pairs]}


def unit_tests(source: str, entry_point: str = "", **more: str) -> dict[str, Any]:
    return {"unit_tests": source, "entry_point": entry_point} | more


DOUBLE_STDIN = stdin_tests(("1\n", "2\n"), ("21\n", "42\n"))
DOUBLE_CALL = call_tests("f", ([1], 2), ([21], 42))
DOUBLE_UNIT = unit_tests("def check(candidate):\n    assert candidate(1) == 2\n    assert candidate(21) == 42\n", "f")
ACCEPTED = [
    ("print(int(input()) * 2)", DOUBLE_STDIN),
    (
        "#include <iostream>\nint main() { int x; std::cin >> x; std::cout << x * 2; }",
        DOUBLE_STDIN | {"language": "cpp"},
    ),
    ("def f(x): return x * 2", DOUBLE_CALL),
    ("print('a lot')\ndef f(x):\n    print('more')\n    return x * 2", DOUBLE_CALL),
    ("class Solution:\n    def f(self, x): return x * 2", DOUBLE_CALL),
    ("class Solution:\n    def f(self, x): return x * 2", call_tests("Solution.f", ([1], 2))),
    ("def f(*, x): return x * 2", call_tests("f", ({"x": 1}, 2))),
    ("def f(x): return (x, [x])", call_tests("f", ([1], [1, [1]]))),
    ("def f(x): return x / 3", call_tests("f", ([1], 0.33333333333))),
    ("def f(x): return [x]", {"fn_name": "f", "inputs": [[1], [2]], "outputs": [[1], [2]]}),
    ("def f(x): return x", {"fn_name": "f", "inputs": [[1], [2]], "outputs": [[1], [2]]}),
    ("def f(x): return x * 2", DOUBLE_UNIT),
    ("def f(x): return x * 2", unit_tests("assert f(1) == 2\ny = f(2)\nassert y == 4")),
    ("def f(x): return x * 2", unit_tests("from solution import f\ndef test_one():\n    assert f(1) == 2")),
    ("def f(x): return x * 2", DOUBLE_UNIT | {"unit_tests": DOUBLE_UNIT["unit_tests"] + "\ncheck(f)\n"}),
    (
        "class Solution:\n    def two_sum(self, nums, target): return [0, 1]",
        unit_tests(
            "def check(candidate):\n    assert candidate(nums=[3, 3], target=6) == [0, 1]", "Solution().two_sum"
        ),
    ),
    ("class Solution:\n    def f(self, x): return x", unit_tests("assert Solution().f(3) == 3")),
    (
        "def f(x): return int(x)",
        unit_tests("import pytest\ndef test_it():\n    with pytest.raises(ValueError):\n        f('x')"),
    ),
    (
        "def f(x): return x / 3",
        unit_tests("import pytest\ndef test_it():\n    assert f(1) == pytest.approx(0.3333333)"),
    ),
    (
        "def f(x): return x * 2",
        unit_tests(
            "import pytest\n@pytest.mark.parametrize('x, y', [(1, 2), (3, 6)])\n"
            "def test_it(x, y):\n    assert f(x) == y"
        ),
    ),
    (
        "def f(x): return x * 2",
        unit_tests(
            "import unittest\nclass TestF(unittest.TestCase):\n    def setUp(self): self.x = 2\n"
            "    def test_it(self): self.assertEqual(f(self.x), 4)\nif __name__ == '__main__': unittest.main()"
        ),
    ),
    ("def f(x): return twice(x)", unit_tests("assert f(2) == twice(2)", setup="def twice(x): return 2 * x")),
    (
        "def f(x): return {1: (x, {2}), 'b': b'b', None: 1j}",
        unit_tests("assert f(1) == {1: (1, {2}), 'b': b'b', None: 1j}"),
    ),
    ("    return x * 2", DOUBLE_UNIT | {"prompt": "def f(x):\n    '''Twice.'''\n"}),
    (
        "from dataclasses import dataclass\n@dataclass\nclass A:\n    x: int\ndef f(x): return A(x).x",
        call_tests("f", ([1], 1)),
    ),
]


@pytest.mark.parametrize(("source", "reference"), ACCEPTED)
def test_a_right_program_is_accepted_in_every_form_of_tests(
    sandbox: Sandbox, source: str, reference: dict[str, Any]
) -> None:
    verdict = grade(source, reference, sandbox)
    assert (verdict.outcome, verdict.reason, verdict.score) == (Outcome.CORRECT, "", None)


REFUSED = [
    ("print(int(input()) + 1)", DOUBLE_STDIN, r"test 2, input '21\\n': printed '22\\n', expected '42\\n'"),
    ("print(1 / 0)", DOUBLE_STDIN, r"test 1, input '1\\n': ZeroDivisionError: division by zero"),
    ("while True: pass", DOUBLE_STDIN, r"test 1, input '1\\n': took too long"),
    ("x = bytearray(1 << 40)", DOUBLE_STDIN, "MemoryError|took too much memory"),
    ("while True: print('x' * 100_000)", DOUBLE_STDIN, "wrote too much"),
    ("print(", DOUBLE_STDIN, "SyntaxError"),
    (
        "int main() { return x; }",
        DOUBLE_STDIN | {"language": "cpp"},
        r"(?s)^does not compile.*'x' was not declared|‘x’ was not",
    ),
    ("def f(x): return x + 1", DOUBLE_CALL, r"test 2, arguments \[21\]: returned 22, expected 42"),
    ("def f(x): return [2][x]", DOUBLE_CALL, r"test 1, arguments \[1\]: IndexError: .* \(line 1: def f\(x\)"),
    ("def f(x): return object()", DOUBLE_CALL, "returned a value of type 'object', which is not plain data"),
    ("def f(x): return x == 1", call_tests("f", ([1], 1)), "returned True, expected 1"),
    ("def g(x): return x", DOUBLE_CALL, "does not define the function that the tests call"),
    ("def f(x: return x", DOUBLE_CALL, r"SyntaxError: .* \(line 1: def f"),
    ("1 / 0", DOUBLE_CALL, r"ZeroDivisionError: division by zero \(line 1: 1 / 0\)"),
    ("while True: pass", DOUBLE_CALL, "took too long"),
    ("def f(x):\n    while True: pass", DOUBLE_CALL, r"test 1, arguments \[1\]: took too long"),
    (
        "def f(x): return x if x > 1 else [x]",
        {"fn_name": "f", "inputs": [[1], [2]], "outputs": [[1], [2]]},
        "fits all|ret",
    ),
    ("def f(x): return x + 1", DOUBLE_UNIT, "check: line 3: assert candidate.21. == 42: AssertionError"),
    ("def f(x): raise KeyError('no')", DOUBLE_UNIT, "KeyError: 'no'; the program raised KeyError: no .line 1"),
    ("def f(x): pass", unit_tests("def test_it():\n    assert len(f(1)) == 1"), "test_it: line 2: .*TypeError"),
    ("def f(x):\n    while True: pass", DOUBLE_UNIT, "check: took too long"),
    ("def f(x): raise StopIteration", unit_tests("assert all(map(lambda x: f(x) == 2 * x, [1, 2]))"), "StopIteration"),
    ("def f(x): return x", unit_tests("while f(1) == 1: pass\nassert True"), "took too long"),
    ("def f(x): x.clear(); return []", unit_tests("x = [2, 1]\nassert f(x) == sorted(x)"), "AssertionError"),
]


@pytest.mark.parametrize(("source", "reference", "reason"), REFUSED)
def test_a_wrong_program_is_refused_with_what_went_wrong(
    sandbox: Sandbox, source: str, reference: dict[str, Any], reason: str
) -> None:
    verdict = grade(source, reference, sandbox)
    assert verdict.outcome is Outcome.WRONG
    assert re.search(reason, verdict.reason), verdict.reason


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ({"test_cases": []}, "test_cases: expected a list of at least one item"),
        (unit_tests("def check(candidate:"), "unit tests: SyntaxError"),
        (unit_tests("x = 1"), "no check.candidate., assert, test_. function or TestCase"),
        (unit_tests("def check(candidate):\n    assert True", ""), "check.candidate. needs an entry_point"),
        (unit_tests("assert 1 + 1 == 2"), "they never call the program"),
        (unit_tests("def f(x): return x\nassert f(1) == 1", "f"), "the unit tests define f themselves"),
        (
            unit_tests("assert f(object()) == 1"),
            "an argument of f is a value of type 'object', which is not plain data",
        ),
        (unit_tests("def test_it(fixture):\n    assert f(1) == 1"), "fixtures are not supported"),
        (unit_tests("assert Stack(3).pop() == 1"), "tests of objects that keep a state can't be run"),
        (unit_tests("assert f(1) == 1", setup="import nothing_of_that_name"), "ModuleNotFoundError"),
        (unit_tests("import time\nwhile True: pass\nassert f(1)"), "took too long"),
    ],
)
def test_tests_that_cannot_be_run_say_nothing_about_the_program(
    sandbox: Sandbox, reference: dict[str, Any], reason: str
) -> None:
    verdict = grade("def f(x): return x", reference, sandbox)
    assert verdict.outcome is Outcome.REFERENCE_UNPARSEABLE
    assert re.search(reason, verdict.reason), verdict.reason


def test_a_completion_without_a_program_has_no_answer(sandbox: Sandbox) -> None:
    verdict = grade_code("<think>a</think>No idea.", json.dumps(DOUBLE_CALL), sandbox=sandbox)
    assert verdict.outcome is Outcome.NO_ANSWER
    assert grade_code("I think", json.dumps(DOUBLE_CALL), prefilled_think=True).outcome is Outcome.NO_ANSWER


def test_a_fraction_of_the_tests_can_be_paid(sandbox: Sandbox) -> None:
    policy = CodePolicy(score="fraction", time_s=1.0)
    stdin = stdin_tests(("1", "1"), ("2", "4"), ("3", "9"), ("4", "16"))
    verdict = grade("x = int(input())\nprint(x * x if x < 3 else 9 / (4 - x))", stdin, sandbox, policy)
    assert (verdict.outcome, verdict.score) == (Outcome.WRONG, 0.5)
    assert "test 3" in verdict.reason
    call = call_tests("f", ([1], 1), ([2], 4), ([3], 9), ([4], 16))
    crash = (
        "import os\ndef f(x):\n    if x == 2: os._exit(1)\n    if x == 3:\n        while True: pass\n    return x * x"
    )
    assert grade(crash, call, sandbox, policy).score == 0.5
    unit = unit_tests("".join(f"def test_{x}(): assert f({x}) == {x * x}\n" for x in range(1, 5)))
    assert grade(crash, unit, sandbox, policy).score == 0.5
    asserts = unit_tests("".join(f"y = f({x})\nassert y == {x * x}\n" for x in (1, 5, 4)))
    assert grade("def f(x): return 16 if x == 4 else 1 if x == 1 else None", asserts, sandbox, policy).score == 2 / 3
    for reference in (call, unit):
        assert grade("def f(x): return x * x", reference, sandbox, policy).score == 1.0
        assert grade("def f(x: return x * x", reference, sandbox, policy).score == 0.0


def test_of_many_tests_only_so_many_are_run(sandbox: Sandbox) -> None:
    reference = call_tests("f", *[([x], x if x % 9 == 0 else -1) for x in range(100)])  # 0, 9, ..., 99 are right
    assert grade("def f(x): return x", reference, sandbox, CodePolicy(max_tests=12)).correct
    assert not grade("def f(x): return x", reference, sandbox, CodePolicy(max_tests=13)).correct


def test_programs_that_are_slow_in_every_test_run_into_the_verdicts_own_deadline(sandbox: Sandbox) -> None:
    reference = call_tests("f", *[([x], x) for x in range(50)])
    policy = CodePolicy(time_s=1.0, deadline_s=1.0)
    verdict = grade("import time\ndef f(x):\n    time.sleep(0.2)\n    return x", reference, sandbox, policy)
    assert (verdict.outcome, verdict.reason) == (Outcome.TIMEOUT, "not all tests were run within 1 s")


def test_a_verdict_is_the_same_every_time_though_the_tests_draw_random_numbers(sandbox: Sandbox) -> None:
    reference = unit_tests("import random\ndef test_it():\n    assert f(random.random()) > 0.5\n")
    verdicts = {grade("def f(x): return x", reference, sandbox).outcome for _ in range(4)}
    assert len(verdicts) == 1


@pytest.mark.parametrize("reference", [DOUBLE_STDIN, DOUBLE_CALL])
def test_programs_and_functions_are_judged_alike_on_sandbox_fusion(
    fusion: SandboxFusion, reference: dict[str, Any]
) -> None:
    whole = reference is DOUBLE_STDIN
    right = "print('2' if input() == '1' else 42)" if whole else "print('noise')\ndef f(x): return x * 2"
    assert grade(right, reference, fusion).correct
    for wrong in ("pass", "1 / 0", "def f(x): return x", "import os; os._exit(0)", "while True: pass"):
        assert grade(wrong, reference, fusion).outcome is Outcome.WRONG


def test_unit_tests_cannot_be_run_on_sandbox_fusion(fusion: SandboxFusion) -> None:
    verdict = grade("def f(x): return x * 2", DOUBLE_UNIT, fusion)
    assert verdict.outcome is Outcome.REFERENCE_UNPARSEABLE
    assert "remove fusion_url" in verdict.reason


def test_on_sandbox_fusion_a_program_cannot_blame_its_setup(fusion: SandboxFusion) -> None:
    reply = '{"tuple": ["error", "NameError", "x", 1]}\\n'
    forged = f"import os\nfor fd in range(3, 10):\n    try: os.write(fd, b'{reply}' * 9)\n    except OSError: pass"
    verdict = grade(forged, DOUBLE_CALL | {"setup": "import math"}, fusion)
    assert verdict.outcome is Outcome.WRONG


@pytest.fixture(params=["r1-zero", "chat-think"])
def verifier(request: pytest.FixtureRequest) -> Iterator[CodeVerifier]:
    verifier = CodeVerifier(TEMPLATES[request.param], Verification(code=FAST))
    yield verifier
    verifier.close()


def settled(verdict: Verdict | PendingVerdict) -> Verdict:
    return verdict if isinstance(verdict, Verdict) else verdict.result(timeout=120)


def test_the_verifier_accepts_a_problems_own_solution(verifier: CodeVerifier) -> None:
    solution = "def f(x):\n    '''```'''\n    return x * 2"
    columns: list[dict[str, Any]] = [
        {"solution_code": solution},
        {"canonical_solution": solution},
        {"gold_standard_solution": "Here:\n```python\ndef f(x): return x * 2\n```"},
        {"gold_solution": solution, "solution_code": None, "canonical_solution": " "},
    ]
    for column in columns:
        problem = Problem("p", "Double.", json.dumps(DOUBLE_UNIT), verifier="code", columns=column)
        reference_completion = verifier.reference_completion(problem)
        assert reference_completion is not None
        assert settled(verifier.begin(reference_completion, problem)).correct


def test_a_problem_without_a_solution_has_no_reference_and_one_without_tests_says_why(verifier: CodeVerifier) -> None:
    assert verifier.reference_completion(Problem("p", "Double.", json.dumps(DOUBLE_CALL), verifier="code")) is None
    broken = Problem("p", "Double.", "{}", verifier="code")
    verdict = settled(verifier.begin(verifier.reference_completion(broken) or "", broken))
    assert (verdict.outcome, verdict.reason[:8]) == (Outcome.REFERENCE_UNPARSEABLE, "no tests")


def test_beginning_never_waits_and_a_missing_verdict_is_a_timeout(verifier: CodeVerifier) -> None:
    problem = Problem("p", "Double.", json.dumps(DOUBLE_CALL), verifier="code")
    hang = "</think><answer>```python\nwhile True: pass\n```</answer>"
    pending = [verifier.begin(hang, problem) for _ in range(8)]
    verdict = pending[-1].result(timeout=0.05)
    assert (verdict.outcome, verdict.reason) == (Outcome.TIMEOUT, "no verdict after 0.05 s more")
    verifier.close()
    assert all(p.result(timeout=60).outcome in (Outcome.TIMEOUT, Outcome.WRONG) for p in pending)


def test_many_threads_share_two_small_sandboxes_without_waiting_for_each_other_for_ever(sandbox: Sandbox) -> None:
    with ThreadPoolExecutor(8) as threads:
        verdicts = [
            threads.submit(grade, "def f(x): return x * 2", reference, sandbox, CodePolicy())
            for reference in (DOUBLE_UNIT, DOUBLE_CALL) * 8
        ]
        assert all(verdict.result(timeout=120).correct for verdict in verdicts)


_PARTS = [
    "def f(x):",
    " return x",
    "\n",
    "    ",
    "f",
    "(1)",
    "assert ",
    " == 1",
    "import os",
    "while 1: 0",
    "raise ",
    "\0",
    "'",
]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.sampled_from(_PARTS), max_size=6).map("".join) | st.text(max_size=20),
    st.lists(st.sampled_from(_PARTS), max_size=6).map("".join) | st.text(max_size=20),
    st.sampled_from(["", "f", "A.b"]),
    st.sampled_from(["unit_tests", "calls", "stdin"]),
)
def test_any_program_and_any_tests_end_in_a_verdict(source: str, text: str, name: str, kind: str) -> None:
    references = {
        "unit_tests": unit_tests(text, name),
        "calls": {"fn_name": name, "inputs": [[text]], "outputs": [text]},
        "stdin": stdin_tests((text, text)),
    }
    policy = CodePolicy(time_s=0.5, deadline_s=5.0)
    completion = f"```python\n{source}\n```"
    assert grade_code(completion, json.dumps(references[kind]), policy=policy).outcome in Outcome


def test_what_runs_inside_the_sandbox_is_python_3_9_and_needs_nothing_but_the_standard_library() -> None:
    for path in Path(harness.__file__).parent.glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))
        for node in ast.walk(tree):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                own = name.startswith("thinkery.rewards.programs.harness.")
                assert own or name == "pytest" or name.partition(".")[0] in sys.stdlib_module_names


@pytest.mark.shared
def test_all_human_eval_solutions_pass_and_none_with_a_wrong_body_does(shared: Path) -> None:
    with gzip.open(shared / "data" / "HumanEval.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    verifier = CodeVerifier(TEMPLATES["r1-zero"], Verification())
    wrong = ["return None", "pass", "return []", "return 0", "return ''", "return True", "raise ValueError"]
    try:
        right, broken = [], []
        for number, row in enumerate(rows):
            reference = {"unit_tests": row["test"], "entry_point": row["entry_point"], "prompt": row["prompt"]}
            columns = {"canonical_solution": row["canonical_solution"]}
            problem = Problem(row["task_id"], row["prompt"], json.dumps(reference), verifier="code", columns=columns)
            right.append((row["task_id"], verifier.begin(verifier.reference_completion(problem) or "", problem)))
            body = f"```python\n    {wrong[number % len(wrong)]}\n```"
            broken.append((row["task_id"], verifier.begin(f"<think>.</think><answer>{body}</answer>", problem)))
        assert len(rows) == 164
        assert [(name, v.reason) for name, v in [(n, p.result(300)) for n, p in right] if not v.correct] == []
        assert [
            (name, v.outcome) for name, v in [(n, p.result(300)) for n, p in broken] if v.outcome is not Outcome.WRONG
        ] == []
    finally:
        verifier.close()
