"""The comparisons' own parts: lengths of random models, sides that take turns, sides that fail. No peer is needed."""

from __future__ import annotations

import importlib
import json
import random
import statistics
import sys
from pathlib import Path
from typing import Any

import pytest

from thinkery.models.loading import load_policy
from thinkery.rollout import NativeRollout
from thinkery.types import Problem, Sampling

pytestmark = pytest.mark.slow

COUNTS = """
from child import Line
line = Line()
print("a library's chatter")
line.ready()
for number in range(1, 100):
    line.done(number)
"""
DIES = """
from child import Line
line = Line()
line.ready()
raise ValueError("no such luck")
"""


@pytest.fixture(scope="module")
def child() -> Any:
    return importlib.import_module("peers.child")


@pytest.fixture(scope="module")
def models() -> Any:
    return importlib.import_module("peers.models")


@pytest.fixture(scope="module")
def tiny() -> Any:
    return importlib.import_module("speed_shapes").SHAPES["tiny"]


def side(child: Any, folder: Path, code: str) -> Any:
    script = folder / "side.py"
    script.write_text(f"import sys\nsys.path.append({str(Path(child.__file__).parent)!r})\n{code}")
    return child.Side(Path(sys.executable), script, {}, folder / "side.log", {})


def test_a_side_does_a_round_when_told_to(child: Any, tmp_path: Path) -> None:
    with side(child, tmp_path, COUNTS) as counting:
        rounds = [counting.round() for _ in range(3)]
    assert [one.tokens for one in rounds] == [1, 2, 3]
    assert all(one.seconds >= 0 for one in rounds)
    assert "chatter" in (tmp_path / "side.log").read_text()


def test_a_side_that_dies_says_why(child: Any, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no such luck"), side(child, tmp_path, DIES) as dying:
        dying.round()


def test_sides_take_turns_and_the_first_rounds_do_not_count(child: Any, tmp_path: Path) -> None:
    duel = importlib.import_module("peers.duel")
    with side(child, tmp_path, COUNTS) as ours, side(child, tmp_path, COUNTS) as peer:
        pairs = duel.alternate(ours, peer, rounds=3)
    assert [(pair.ours.tokens, pair.peer.tokens) for pair in pairs] == [(2, 2), (3, 3), (4, 4)]


def test_sides_that_do_different_work_are_not_compared(child: Any, tmp_path: Path) -> None:
    duel = importlib.import_module("peers.duel")
    twice = COUNTS.replace("done(number)", "done(2 * number)")
    (tmp_path / "other").mkdir()
    with (
        side(child, tmp_path, COUNTS) as ours,
        side(child, tmp_path / "other", twice) as peer,
        pytest.raises(RuntimeError, match="not the same work"),
    ):
        duel.alternate(ours, peer, rounds=2)


def test_of_several_settings_the_fastest_that_works_is_found(child: Any, tmp_path: Path) -> None:
    duel = importlib.import_module("peers.duel")
    slow = COUNTS.replace("line.done(number)", "sum(range(3_000_000))\n    line.done(number)")
    codes, sides = {"slow": slow, "dies": DIES, "fast": COUNTS}, {}
    for name, code in codes.items():
        (tmp_path / name).mkdir()
        sides[name] = side(child, tmp_path / name, code)
    best, taken = duel.fastest(sides)
    assert best == "fast"
    assert taken.keys() == {"slow", "fast"}


@pytest.mark.parametrize(("mean", "limit"), [(85, 256), (3, 4), (20, 1000)])
def test_the_end_comes_as_often_as_the_mean_length_asks(models: Any, mean: int, limit: int) -> None:
    p, draw = models.end_probability(mean, limit), random.Random(0)
    lengths = []
    for _ in range(4000):
        length = 1
        while length < limit and draw.random() >= p:
            length += 1
        lengths.append(length)
    error = statistics.stdev(lengths) / len(lengths) ** 0.5
    assert abs(statistics.fmean(lengths) - mean) < 4 * error


def test_a_random_models_completions_have_the_length_asked_for(models: Any, tiny: Any, tmp_path: Path) -> None:
    models.write_model(tmp_path, tiny, mean_length=12, max_length=40)
    policy = load_policy(tmp_path, template=None, device="cpu")
    problems = [Problem(str(number), f"What is {number}?", "") for number in range(8)]
    sampling = Sampling(num_generations=64, max_completion_length=40)
    lengths = [
        len(completion.token_ids)
        for completion in NativeRollout(policy).generate(problems, sampling, seed=0, step=0, stage="")
    ]
    error = statistics.stdev(lengths) / len(lengths) ** 0.5
    assert abs(statistics.fmean(lengths) - 12) < 4 * error


def test_a_model_that_never_ends_fills_its_completions(models: Any, tiny: Any, tmp_path: Path) -> None:
    models.write_model(tmp_path, tiny, mean_length=None, max_length=30)
    policy = load_policy(tmp_path, template=None, device="cpu")
    sampling = Sampling(num_generations=32, max_completion_length=30)
    completions = NativeRollout(policy).generate([Problem("p", "Why?", "")], sampling, seed=0, step=0, stage="")
    assert {len(completion.token_ids) for completion in completions} == {30}


def test_our_side_of_a_step_runs_the_recipe_a_step_a_round(child: Any, models: Any, tiny: Any, tmp_path: Path) -> None:
    models.write_model(tmp_path / "model", tiny, mean_length=5, max_length=8)
    models.write_prompts(tmp_path / "prompts.json", 2)
    settings = {
        "model": str(tmp_path / "model"),
        "prompts": str(tmp_path / "prompts.json"),
        "output": str(tmp_path / "output"),
        "num_generations": 4,
        "max_completion_length": 8,
        "learning_rate": 1e-6,
    }
    script = Path(child.__file__).with_name("thinkery_rl.py")
    with child.Side(Path(sys.executable), script, settings, tmp_path / "side.log", {}) as ours:
        assert 8 <= ours.round().tokens <= 64
    lines = (tmp_path / "output" / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2]
