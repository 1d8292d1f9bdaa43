"""Programs that cheat are never paid; and they are real cheats: a naive harness pays dozens of them."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from thinkery.recipe.verification import Verification
from thinkery.rewards.code import CodeVerifier
from thinkery.sandbox import Limits, Program, Sandbox
from thinkery.types import Outcome, Problem

pytestmark = pytest.mark.slow

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "rewards_code.py"

# What graders in the wild do: the program and the tests share a process, and its exit code is the verdict.
NAIVE_FUNCTION = """
inputs = [[text] for text, expected in CASES]
outputs = [expected for text, expected in CASES]

def check(candidate):
    for arguments, want in zip(inputs, outputs):
        expected = want
        assert candidate(*arguments) == expected

exec(PROGRAM, globals())
check(runs)
"""
NAIVE_STDIN = """
import contextlib, io, sys

for given, expected in CASES:
    sys.stdin = io.StringIO(given)
    with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.suppress(SystemExit):
        exec(PROGRAM, {"__name__": "__main__"})
    pairs = zip(map(float, printed.getvalue().split()), map(float, expected.split()))
    assert all(abs(p - e) <= 1e-6 * max(abs(p), abs(e)) for p, e in pairs)
"""


@pytest.fixture(scope="module")
def benchmark() -> Iterator[ModuleType]:
    """The benchmark's module: it holds the cheats and their tasks."""
    spec = importlib.util.spec_from_file_location("rewards_code", BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_there_are_more_than_a_hundred_different_cheats(benchmark: ModuleType) -> None:
    cheats = [cheat for kind in benchmark.TASKS for cheat in benchmark.load_cheats(kind)]
    assert len({(cheat.kind, cheat.source) for cheat in cheats}) == len(cheats) >= 100
    assert all(cheat.note for cheat in cheats)


@pytest.mark.parametrize("kind", ["function", "stdin", "cpp"])
def test_an_honest_solution_of_the_cheats_task_is_accepted(benchmark: ModuleType, kind: str) -> None:
    tasks = [
        (benchmark.answer(benchmark.SOLUTIONS[kind], tests["language"]), Problem(kind, "", json.dumps(tests)))
        for tests in benchmark.TASKS[kind]
    ]
    verifier = CodeVerifier(benchmark.TEMPLATE, Verification(code=benchmark.CHEAT_POLICY))
    try:
        assert [verdict.outcome for verdict in benchmark.judge(verifier, tasks)] == [Outcome.CORRECT] * len(tasks)
    finally:
        verifier.close()


@pytest.mark.parametrize("kind", ["function", "stdin", "cpp"])
def test_every_cheat_is_judged_wrong(benchmark: ModuleType, kind: str) -> None:
    # Not "timeout" and not "reference_unparseable" either: a program must not talk its way out of a verdict.
    verdicts = benchmark.judge_cheats([kind])
    assert [(c.name, v.outcome, v.reason) for c, v in verdicts if v.outcome is not Outcome.WRONG] == []


@pytest.mark.parametrize(("kind", "at_least"), [("function", 30), ("stdin", 15)])
def test_a_naive_harness_pays_many_of_the_cheats(benchmark: ModuleType, kind: str, at_least: int) -> None:
    naive, tests = (
        (NAIVE_FUNCTION, benchmark.FUNCTION_TESTS) if kind == "function" else (NAIVE_STDIN, benchmark.STDIN_TESTS)
    )
    cases = [
        (*case["input"], case["output"]) if kind == "function" else (case["input"], case["output"])
        for case in tests["test_cases"]
    ]
    with Sandbox(workers=2) as sandbox:
        runs = [
            sandbox.submit(
                Program(f"CASES = {cases!r}\nPROGRAM = {cheat.source!r}\n{naive}"), limits=Limits(wall_s=1.5, cpu_s=1.0)
            )
            for cheat in benchmark.load_cheats(kind)
        ]
        assert sum(run.result(timeout=300).ok for run in runs) >= at_least
