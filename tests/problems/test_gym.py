"""reasoning-gym as a source: only families whose scorer can be trusted, splits that don't meet, the same every time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from reasoning_gym.factory import DATASETS, create_dataset, get_score_answer_fn

from thinkery.problems.gym import GymProblems, why_refused
from thinkery.problems.source import GymSource, open_source
from thinkery.recipe import ProblemSpec
from thinkery.types import Problem, UserError

pytestmark = pytest.mark.slow

REFUSED = {
    "boxnet": "without an answer",
    "composite": "Must specify at least one dataset",
    "fraction_simplification": "followed by ' and more'",
    "game_of_life_halting": "followed by ' and more'",
    "graph_color": "without an answer",
    "gsm_symbolic": "followed by ' and more'",
    "isomorphic_strings": "changes with every process",
    "kakurasu": "followed by ' and more'",
    "knight_swap": "changes with every process",
    "knights_knaves": "followed by ' and more'",
    "letter_jumble": "followed by ' and more'",
    "list_functions": "does not give the same problems",
    "polynomial_multiplication": "changes with every process",
    "propositional_logic": "without an answer",
    "puzzle24": "accepts 56 of 56 answers of other problems",
    "quantum_lock": "followed by ' 17'",
    "ransom_note": "changes with every process",
    "rubiks_cube": "without an answer",
    "rush_hour": "without an answer",
    "sokoban": "followed by ' and more'",
    "survo": "followed by ' and more'",
    "time_intervals": "followed by ' and more'",
    "word_ladder": "changes with every process",
}
ADMITTED = sorted(set(DATASETS) - set(REFUSED))
REPRODUCED = """
import json, sys
from thinkery.problems import gym
gym.why_refused = lambda family: ""  # asked in this process already
families = sys.argv[1].split(",")
problems = gym.GymProblems(families, "train", seed=3)
print(json.dumps([[p.id, p.prompt, p.reference] for p in (problems[i] for i in range(len(families)))]))
"""
scorer_of = cache(get_score_answer_fn)


@cache
def opened(family: str, seed: int, size: int) -> Any:
    return create_dataset(family, seed=seed, size=size)


def problem_at(family: str, index: int, seed: int = 7) -> Problem:
    return GymProblems([family], "train", seed)[index]


def accepts(answer: str, problem: Problem) -> bool:
    named = problem.columns["gym"]
    entry = opened(named["family"], named["seed"], named["size"])[named["index"]]
    try:
        return bool(scorer_of(named["family"])(answer, entry) == 1.0)
    except Exception:
        return False


def test_families_that_cannot_be_trusted_are_refused_with_the_reason() -> None:
    reasons = {family: reason for family in DATASETS if (reason := why_refused(family))}
    assert reasons.keys() == REFUSED.keys()
    assert {family: reason for family, reason in reasons.items() if REFUSED[family] not in reason} == {}
    with pytest.raises(UserError, match="gym://rush_hour: refused: its problems come without an answer of their own"):
        GymProblems(["chain_sum", "rush_hour"], "train")
    with pytest.raises(UserError, match="reasoning-gym has no such family; it has ab, acre, "):
        open_source(ProblemSpec(source="gym://chainsum"))


@pytest.mark.filterwarnings("ignore:loadtxt")
@pytest.mark.parametrize("family", ADMITTED)
def test_an_admitted_family_accepts_its_own_answers_alone(family: str) -> None:
    """On other problems than those that admission looked at. Puzzles with many solutions accept a few of others."""
    problems = [problem_at(family, index) for index in range(3)]
    assert all(accepts(problem.reference, problem) for problem in problems)
    for problem in problems:
        for wrong in ("", " ", *(problem.reference + more for more in (" and more", "\nand more", " 17"))):
            assert not accepts(wrong, problem), wrong
    others = [
        accepts(other.reference, problem)
        for problem, other in permutations(problems, 2)
        if problem.reference != other.reference
    ]
    assert sum(others) <= 1


def test_another_process_makes_the_same_problems() -> None:
    """Whatever the order of its sets, which Python's hash seed decides."""
    problems = GymProblems(ADMITTED, "train", seed=3)
    ours = [[p.id, p.prompt, p.reference] for p in (problems[index] for index in range(len(ADMITTED)))]
    command = [sys.executable, "-c", REPRODUCED, ",".join(ADMITTED)]
    environment = os.environ | {"PYTHONHASHSEED": "12345"}
    done = subprocess.run(command, env=environment, capture_output=True, check=True, timeout=300)
    theirs = json.loads(done.stdout.decode().splitlines()[-1])
    assert [pair for pair in zip(ours, theirs, strict=True) if pair[0] != pair[1]] == []


def test_problems_are_counted_not_carried() -> None:
    families = ["chain_sum", "spell_backward", "acre"]
    forwards = GymSource(families, "train", seed=1).draw(0, 30)
    source = GymSource(families, "train", seed=1)
    assert [source.draw(position, 1)[0] for position in reversed(range(30))][::-1] == forwards
    assert [problem.columns["family"] for problem in forwards] == families * 10
    assert forwards != GymSource(families, "train", seed=2).draw(0, 30)


def test_neighbouring_seeds_share_no_sequence() -> None:
    first, second = ({p.prompt for p in GymSource(["chain_sum"], "train", seed).draw(0, 200)} for seed in (1, 2))
    assert len(first & second) < 5


def test_no_text_is_in_both_splits_whatever_the_seeds() -> None:
    families = ["coin_flip", "leg_counting", "gcd", "count_bits"]
    train = {problem.prompt for seed in (0, 1) for problem in GymSource(families, "train", seed).draw(0, 400)}
    test = {problem.prompt for seed in (0, 2) for problem in GymSource(families, "test", seed).draw(0, 200)}
    assert train
    assert test
    assert not train & test


def test_a_problem_says_where_it_comes_from() -> None:
    (problem,) = open_source(ProblemSpec(source="gym://chain_sum", split="test", n=1)).fixed(1)
    assert (problem.verifier, problem.domain, problem.columns["family"]) == ("gym", "arithmetic", "chain_sum")
    named = problem.columns["gym"]
    assert named.keys() == {"family", "seed", "index", "size"}
    entry = opened(named["family"], named["seed"], named["size"])[named["index"]]
    assert (entry["question"], entry["answer"]) == (problem.prompt, problem.reference)


def test_what_reasoning_gym_has_not_is_refused() -> None:
    with pytest.raises(UserError, match=r"problems\.levels: reasoning-gym has none"):
        open_source(ProblemSpec(source="gym://chain_sum", levels=[1]))
    with pytest.raises(UserError, match="is endless, say how many"):
        open_source(ProblemSpec(source="gym://chain_sum")).fixed(None)


NAMED = {"family": "chain_sum", "seed": 7, "index": 0, "size": 512}


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({}, "the field gym must name the problem's entry, and is null"),
        ({"gym": "chain_sum"}, "the field gym must name the problem's entry, and is 'chain_sum'"),
        ({"gym": NAMED | {"seed": "7"}}, "the field gym must name the problem's entry"),
        ({"gym": NAMED | {"entry": "{}"}}, "the field gym must name the problem's entry"),
        (
            {"gym": NAMED | {"family": "rush_hour"}},
            "the field gym names a family that is refused: rush_hour: its pro",
        ),
        (
            {"gym": NAMED | {"family": "os"}},
            "the field gym names a family that is refused: os: reasoning-gym",
        ),
        ({"gym_entry": "{}"}, "the field gym_entry must not be there"),
        ({"gym": NAMED, "gym_entry": "{}"}, "the field gym_entry must not be there"),
    ],
)
@pytest.mark.parametrize("said_by", ["row", "recipe"])
def test_a_row_names_its_entry_and_never_brings_one(
    columns: dict[str, object], expected: str, said_by: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.jsonl"
    good = {"prompt": "p", "answer": "1", "verifier": "math"}
    row = {"prompt": "p", "answer": "1"} | ({"verifier": "gym"} if said_by == "row" else {}) | columns
    path.write_text("".join(json.dumps(one) + "\n" for one in ([good, row] if said_by == "row" else [row])))
    with pytest.raises(UserError) as refused:
        open_source(ProblemSpec(source=str(path), verifier=None if said_by == "row" else "gym")).fixed(None)
    line = 2 if said_by == "row" else 1
    assert str(refused.value).startswith(f"{path}, line {line}: {expected}")
    if "refused" not in expected:
        assert "write source: gym://family in the recipe" in str(refused.value)
