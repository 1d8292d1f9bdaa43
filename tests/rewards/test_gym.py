"""reasoning-gym's verifier: only an exact 1.0 counts, in every template, and no text of others is run as code."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from reasoning_gym import create_dataset
from reasoning_gym.factory import DATASETS

from thinkery.models.template import TEMPLATES
from thinkery.recipe.verification import CodePolicy, Verification
from thinkery.rewards.gym import EVALUATING, GymVerifier
from thinkery.rewards.gym_scorer import is_formula, score
from thinkery.rewards.interfaces import completion_with_answer
from thinkery.sandbox import isolation
from thinkery.sandbox.isolation import IsolationProbe
from thinkery.sandbox.packages import environment_packages
from thinkery.sandbox.sandbox import Sandbox
from thinkery.sandbox.types import Program, Status
from thinkery.types import Outcome, Problem, UserError, Verdict

pytestmark = pytest.mark.slow

# No own answers, or entries that are no plain literals; all of them are refused as sources.
BROKEN = {"boxnet", "composite", "graph_color", "knights_knaves", "propositional_logic", "rubiks_cube", "rush_hour"}
# Another process makes other problems of these, so they can't be named; all of them are refused as sources.
UNNAMEABLE = {"isomorphic_strings", "list_functions", "polynomial_multiplication", "ransom_note", "word_ladder"}
# The last two take seconds to make.
FAMILIES = sorted(set(DATASETS) - BROKEN - UNNAMEABLE - {"knight_swap", "sokoban"})


def problem_of(family: str, seed: int = 11, index: int = 0) -> Problem:
    entry = create_dataset(family, seed=seed, size=500)[index]
    named = {"family": family, "seed": seed, "index": index, "size": 500}
    return Problem(f"{family}-{index}", entry["question"], entry["answer"].strip(), verifier="gym",
                   columns={"gym": named})  # fmt: skip


@pytest.fixture(params=["r1-zero", "chat-think"])
def verifier(request: pytest.FixtureRequest) -> Iterator[GymVerifier]:
    made = GymVerifier(TEMPLATES[request.param], Verification(deadline_s=20))
    yield made
    made.close()


def settled(verifier: GymVerifier, completion: str, problem: Problem) -> Verdict:
    verdict = verifier.begin(completion, problem)
    return verdict if isinstance(verdict, Verdict) else verdict.result(timeout=90)


def test_every_family_accepts_its_own_answer_in_every_template(verifier: GymVerifier) -> None:
    problems = [problem_of(family) for family in FAMILIES]
    begun = [(problem, verifier.begin(verifier.reference_completion(problem) or "", problem)) for problem in problems]
    verdicts = {p.id: v if isinstance(v, Verdict) else v.result(timeout=90) for p, v in begun}
    assert {name: verdict for name, verdict in verdicts.items() if not verdict.correct} == {}


def test_partial_credit_is_no_credit(verifier: GymVerifier) -> None:
    problem = problem_of("caesar_cipher")
    template = TEMPLATES["r1-zero"] if verifier._template.answer_tag else TEMPLATES["chat-think"]
    wrong = settled(verifier, completion_with_answer(template, f"{problem.reference} or so"), problem)
    assert (wrong.outcome, wrong.reason.startswith("scored 0.")) == (Outcome.WRONG, True)


def test_what_is_no_answer_or_no_entry_says_so() -> None:
    verifier = GymVerifier(TEMPLATES["r1-zero"], Verification())
    problem = problem_of("chain_sum")
    try:
        assert settled(verifier, "<think>on and on", problem).reason == "the thinking never ends"
        assert settled(verifier, "<think>t</think><answer> </answer>", problem).outcome is Outcome.NO_ANSWER
        assert settled(verifier, f"<think>t</think><answer>{'9' * 20_000}</answer>", problem).outcome is Outcome.WRONG
        bare = Problem("x", "p", "1", verifier="gym")
        assert settled(verifier, "<think>t</think><answer>1</answer>", bare).outcome is Outcome.REFERENCE_UNPARSEABLE
        good: dict[str, Any] = {"family": "chain_sum", "seed": 11, "index": 0, "size": 500}
        for wrong in ({"seed": "11"}, {"index": 500}, {"index": -1}, {"size": 1 << 40}, {"family": "none"},
                      {"index": 1}, {"entry": "{}"}, {"seed": True}):  # fmt: skip
            damaged = replace(problem, columns={"gym": good | wrong})
            verdict = settled(verifier, verifier.reference_completion(damaged) or "", damaged)
            assert verdict.outcome is Outcome.REFERENCE_UNPARSEABLE, wrong
        for changed in ({"prompt": problem.prompt + " "}, {"reference": "1"}):
            altered = replace(problem, **changed)
            verdict = settled(verifier, verifier.reference_completion(altered) or "", altered)
            assert (verdict.outcome, "changed" in verdict.reason) == (Outcome.REFERENCE_UNPARSEABLE, True)
    finally:
        verifier.close()


def test_a_scorer_that_hangs_is_a_timeout() -> None:
    verifier = GymVerifier(TEMPLATES["r1-zero"], Verification(deadline_s=2, workers=1))
    try:
        problem = problem_of("countdown")
        hanging = settled(verifier, "<think>t</think><answer>9**9**9**9**9</answer>", problem)
        assert hanging.outcome is Outcome.TIMEOUT
        assert settled(verifier, verifier.reference_completion(problem) or "", problem).correct
    finally:
        verifier.close()


EVALUATES = re.compile(
    r"(?<![.\w])(?:eval|exec|compile|__import__)$|(?:^|\.)(?:parse_expr|sympify|import_module|loads?|Popen|system)$"
)


def attacks_on(witness: Path) -> tuple[str, ...]:
    return (
        f"__import__('os').system('touch {witness}')",
        f"__import__('pathlib').Path({str(witness)!r}).touch()",
        f"[open({str(witness)!r}, 'w')]",
        f"exec(\"open({str(witness)!r}, 'w')\")",
        f"(lambda: open({str(witness)!r}, 'w'))()",
    )


def test_every_scorer_that_evaluates_text_is_known() -> None:
    """By what its code calls, methods of the same module included; json.loads reads, and evaluates nothing."""
    found = set()
    for family, (dataset, _) in DATASETS.items():
        tree = ast.parse(inspect.getsource(sys.modules[dataset.__module__]))
        functions = {f.name: f for f in ast.walk(tree) if isinstance(f, ast.FunctionDef)}
        scorers = ["score_answer"] if "score_answer" in functions else []
        seen: set[str] = set()
        while scorers:
            name = scorers.pop()
            seen.add(name)
            for call in (node for node in ast.walk(functions[name]) if isinstance(node, ast.Call)):
                called = ast.unparse(call.func)
                own = called.removeprefix("self.")
                if own in functions:  # the module's own, even where it has a famous name
                    scorers += [own] if own not in seen else []
                elif EVALUATES.search(called) and called != "json.loads":
                    found.add(family)
    assert found == EVALUATING


@pytest.mark.parametrize("family", sorted(EVALUATING))
def test_an_answer_is_never_run_as_code(family: str, tmp_path: Path) -> None:
    """Not even where the scorer runs, whatever stands around it."""
    entry = repr(create_dataset(family, seed=1, size=5)[0])
    witness = tmp_path / "ran"
    for attack in attacks_on(witness):
        assert score(family, attack, entry)["outcome"] == "wrong"
    assert not witness.exists()


def test_an_answer_that_is_code_leaves_no_mark_and_earns_nothing(tmp_path: Path) -> None:
    witness = tmp_path / "ran"
    verifier = GymVerifier(TEMPLATES["r1-zero"], Verification(deadline_s=20))
    try:
        problems = [problem_of(family) for family in sorted(EVALUATING - UNNAMEABLE)]
        begun = [
            (problem.id, attack, verifier.begin(f"<think>t</think><answer>{attack}</answer>", problem))
            for problem in problems
            for attack in attacks_on(witness)[:2]
        ]
        for name, attack, verdict in begun:
            said = verdict if isinstance(verdict, Verdict) else verdict.result(timeout=90)
            assert said.outcome is Outcome.WRONG, (name, attack, said)
    finally:
        verifier.close()
    assert not witness.exists()


@pytest.mark.parametrize("level", [level for level in isolation.LEVELS if isolation.probe(level).works])
def test_code_that_a_scorer_runs_reaches_nothing_of_the_machine(level: Any, tmp_path: Path) -> None:
    """The wall behind the wall: the scorer as it comes, with nothing taken from it."""
    witness = tmp_path / "ran"
    tmp_path.chmod(0o777)
    named = "binary_matrix"
    entry = create_dataset(named, seed=1, size=5)[0]
    source = f"""
import reasoning_gym, sys
dataset = reasoning_gym.create_dataset({named!r})
for attack in {attacks_on(witness)!r}:
    print(dataset.score_answer(attack, {entry!r}))
print(dataset.score_answer("__import__('os').system('touch /tmp/inside && echo alive')", {entry!r}))
"""
    packages = environment_packages(["reasoning_gym.factory"])
    with Sandbox(workers=1, isolation=level, packages=packages) as sandbox:
        result = sandbox.run(Program(source))
        assert (result.status, "alive" in result.stdout) == (Status.OK, True), result
        hidden = sandbox.run(Program(f"import os\nprint(os.access({__file__!r}, os.R_OK), os.path.exists('/root'))"))
        assert hidden.stdout == "False False\n", hidden
    assert not witness.exists()


def test_without_isolation_a_scorer_that_evaluates_is_refused_as_programs_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "_working", {})
    monkeypatch.setattr(isolation, "_probe", lambda level: IsolationProbe(level, False, "not here", "elsewhere"))
    reading, evaluating = problem_of("chain_sum"), problem_of("countdown")
    for unsafe in (False, True):
        policy = CodePolicy(unsafe_local=unsafe)
        verifier = GymVerifier(TEMPLATES["r1-zero"], Verification(deadline_s=20, code=policy))
        try:
            assert settled(verifier, verifier.reference_completion(reading) or "", reading).correct
            if unsafe:
                assert settled(verifier, verifier.reference_completion(evaluating) or "", evaluating).correct
            else:
                with pytest.raises(UserError, match=r"countdown: its scorer evaluates text as code") as refused:
                    verifier.begin(verifier.reference_completion(evaluating) or "", evaluating)
                assert "no isolation works here" in str(refused.value)
                assert "--unsafe-local" in str(refused.value)
        finally:
            verifier.close()


def test_an_unevaluated_integral_is_no_answer_to_an_integral() -> None:
    entry = create_dataset("simple_integration", seed=1, size=5)[0]
    asked = entry["metadata"]["integrand"]
    variable = entry["metadata"]["variable"]
    family = "simple_integration"
    assert score(family, f"Integral({asked}, {variable})", repr(entry))["outcome"] == "wrong"
    assert score(family, entry["answer"], repr(entry))["outcome"] == "correct"


@pytest.mark.parametrize("text", ["2*x**3/3 + C", "sin(2*x)*exp(-x)", "(1 + 2) * 3 / .5", "x^2", "", "sqrt(2)*pi"])
def test_formulas_are_let_through(text: str) -> None:
    assert is_formula(text)


@pytest.mark.parametrize(
    "text", ["x.y", "__x", "a[0]", "'a'", "lambda: 1", "Symbol(x)", "1;2", "x=1", "f'a'", "ａｂ", "open(x)"]
)
def test_anything_else_is_no_formula(text: str) -> None:
    assert not is_formula(text)
