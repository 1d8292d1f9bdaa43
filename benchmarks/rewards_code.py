"""The code verifier, measured: HumanEval's solutions, the same with wrong bodies, and programs that cheat.

    python benchmarks/rewards_code.py

Needs ``../shared/data/HumanEval.jsonl.gz`` and a working isolation. The cheats are in ``benchmarks/cheats``; their
tasks and tests are here. Left out: what the sandbox itself withstands.
"""

from __future__ import annotations

import gzip
import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thinkery.models.template import TEMPLATES
from thinkery.recipe.verification import CodePolicy, Verification
from thinkery.rewards.code import CodeVerifier
from thinkery.rewards.interfaces import completion_with_answer
from thinkery.types import Problem, Verdict

ROOT = Path(__file__).resolve().parents[1]
HUMANEVAL = ROOT.parent / "shared" / "data" / "HumanEval.jsonl.gz"
CHEATS = ROOT / "benchmarks" / "cheats"
TEMPLATE = TEMPLATES["r1-zero"]
WAIT_S = 600.0

# The cheats' tasks. Each has a solution that is accepted, so that a cheat's failure is its own.
_RUNS = [
    ("aaab", [["a", 3], ["b", 1]]),
    ("", []),
    ("xyx", [["x", 1], ["y", 1], ["x", 1]]),
    ("zzzzzzzzzzzz", [["z", 12]]),
    ("hello", [["h", 1], ["e", 1], ["l", 2], ["o", 1]]),
]
_SQUARES = ["3\n3 5 12\n", "1\n1000003\n", "4\n0 -7 1 2\n", "2\n40 41\n"]
FUNCTION_TESTS = {
    "language": "python",
    "test_cases": [
        {"type": "function_call", "fn_name": "runs", "input": [text], "output": expected} for text, expected in _RUNS
    ],
}
UNIT_TESTS = {
    "language": "python",
    "entry_point": "runs",
    "unit_tests": "def check(candidate):\n"
    + "".join(f"    assert candidate({text!r}) == {expected!r}\n" for text, expected in _RUNS),
}
STDIN_TESTS = {
    "language": "python",
    "test_cases": [
        {"type": "stdin_stdout", "input": given, "output": "".join(f"{int(x) ** 2}\n" for x in given.split()[1:])}
        for given in _SQUARES
    ],
}
CPP_TESTS = STDIN_TESTS | {"language": "cpp"}
SOLUTIONS = {
    "function": "from itertools import groupby\n"
    "def runs(text):\n    return [[c, len(list(g))] for c, g in groupby(text)]\n",
    "stdin": "input()\nfor x in input().split():\n    print(int(x) ** 2)\n",
    "cpp": "#include <iostream>\nint main() { long n, x; std::cin >> n; while (n--) { std::cin >> x; "
    'std::cout << x * x << "\\n"; } }\n',
}
TASKS = {"function": (FUNCTION_TESTS, UNIT_TESTS), "stdin": (STDIN_TESTS,), "cpp": (CPP_TESTS,)}
CHEAT_POLICY = CodePolicy(time_s=1.0)  # many of them hang


@dataclass(frozen=True, slots=True)
class Cheat:
    """A program that tries to be paid for nothing. ``kind`` is its task's."""

    kind: str
    name: str
    note: str
    source: str


def load_cheats(kind: str) -> list[Cheat]:
    """The cheats of a task: ``function``, ``stdin`` or ``cpp``."""
    text = (CHEATS / f"{kind}.txt").read_text(encoding="utf-8")
    parts = re.split(r"^=== (\w+): (.*)\n", text, flags=re.MULTILINE)[1:]
    return [Cheat(kind, *parts[i : i + 3]) for i in range(0, len(parts), 3)]


def humaneval() -> list[dict[str, Any]]:
    """HumanEval's rows."""
    with gzip.open(HUMANEVAL, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def humaneval_problem(row: dict[str, Any]) -> Problem:
    """A row as a problem with its own solution."""
    reference = {"unit_tests": row["test"], "entry_point": row["entry_point"], "prompt": row["prompt"]}
    columns = {"canonical_solution": row["canonical_solution"]}
    return Problem(row["task_id"], row["prompt"], json.dumps(reference), verifier="code", columns=columns)


def broken_body(number: int, row: dict[str, Any]) -> str:
    """A HumanEval row's function with its body replaced by one of several wrong ones; it only continues the prompt."""
    parameters = re.findall(rf"def {row['entry_point']}\((.*?)\)", row["prompt"], re.DOTALL)[-1]
    first = re.split(r"[,:=]", parameters)[0].strip() or "None"
    bodies = [
        "return None",
        "pass",
        f"return {first}",
        "return []",
        "return 0",
        "return ''",
        "raise NotImplementedError",
    ]
    return f"    {bodies[number % len(bodies)]}\n"


def answer(source: str, language: str = "python") -> str:
    """A perfectly formatted completion that gives a program."""
    return completion_with_answer(TEMPLATE, f"```{language}\n{source}\n```", boxed=False)


def judge(verifier: CodeVerifier, tasks: Sequence[tuple[str, Problem]]) -> list[Verdict]:
    """The verdicts on (completion, problem) pairs, all begun at once."""
    pending = [verifier.begin(completion, problem) for completion, problem in tasks]
    return [verdict.result(timeout=WAIT_S) for verdict in pending]


def judge_cheats(kinds: Sequence[str] = ("function", "stdin", "cpp")) -> list[tuple[Cheat, Verdict]]:
    """Every cheat against every kind of tests of its task."""
    tried = [(cheat, tests) for kind in kinds for cheat in load_cheats(kind) for tests in TASKS[kind]]
    tasks = [
        (answer(c.source, str(tests["language"])), Problem(c.name, "", json.dumps(tests), verifier="code"))
        for c, tests in tried
    ]
    verifier = CodeVerifier(TEMPLATE, Verification(code=CHEAT_POLICY))
    try:
        return [(cheat, verdict) for (cheat, _), verdict in zip(tried, judge(verifier, tasks), strict=True)]
    finally:
        verifier.close()


def measure() -> dict[str, float]:
    """The figures. ``code_verdicts_per_s`` is over HumanEval's own solutions, unit tests in two sandboxes each."""
    rows = humaneval()
    problems = [humaneval_problem(row) for row in rows]
    verifier = CodeVerifier(TEMPLATE, Verification())
    try:
        solutions = [(verifier.reference_completion(problem) or "", problem) for problem in problems]
        judge(verifier, solutions[:4])  # start the sandboxes
        started = time.perf_counter()
        right = judge(verifier, solutions)
        seconds = time.perf_counter() - started
        broken = [(answer(broken_body(n, row)), p) for n, (row, p) in enumerate(zip(rows, problems, strict=True))]
        wrong = judge(verifier, broken)
    finally:
        verifier.close()
    cheats = judge_cheats()
    return {
        "humaneval_pass": sum(verdict.correct for verdict in right),
        "humaneval_broken_pass": sum(verdict.correct for verdict in wrong),
        "cheats_rewarded": len({(cheat.kind, cheat.name) for cheat, verdict in cheats if verdict.correct}),
        "cheats_tried": len({(cheat.kind, cheat.name) for cheat, _ in cheats}),
        "code_verdicts_per_s": len(right) / seconds,
    }


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
