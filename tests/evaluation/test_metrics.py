"""avg@k, pass@k against brute force, and cons@k by hand."""

from itertools import combinations
from math import comb

import pytest

from thinkery.evaluation.metrics import avg_at_k, cons_at_k, pass_at_k
from thinkery.types import Outcome, Verdict


def votes(text: str) -> list[Verdict]:
    """One letter a sample: C a correct one, - none, ! a timeout, any other letter a wrong answer of that name."""
    outcomes = {"C": Outcome.CORRECT, "-": Outcome.NO_ANSWER, "!": Outcome.TIMEOUT}
    return [Verdict(outcomes.get(c, Outcome.WRONG), "", None if c in "-!" else f"{c}{i if c == 'C' else ''}")
            for i, c in enumerate(text)]  # fmt: skip


@pytest.mark.parametrize("n", range(1, 8))
def test_pass_at_k_equals_the_mean_over_all_subsets(n: int) -> None:
    for c in range(n + 1):
        for k in range(1, n + 1):
            hits = sum(min(subset) < c for subset in combinations(range(n), k))  # samples 0..c-1 are correct
            assert pass_at_k(n, c, k) == pytest.approx(hits / comb(n, k), abs=1e-12)


def test_pass_at_k_does_not_overflow() -> None:
    assert pass_at_k(10_000, 1, 5_000) == pytest.approx(0.5)


@pytest.mark.parametrize(("n", "c", "k"), [(4, 1, 5), (4, 5, 1), (4, -1, 1), (4, 1, 0)])
def test_pass_at_k_refuses_nonsense(n: int, c: int, k: int) -> None:
    with pytest.raises(ValueError, match="not defined"):
        pass_at_k(n, c, k)


@pytest.mark.parametrize(
    ("samples", "score"),
    [
        ("CCC", 1.0),  # three renderings of the correct answer are one class
        ("CCaab", 0.5),
        ("CCaabb", 1 / 3),
        ("Caa", 0.0),
        ("CCa", 1.0),
        ("Cabc", 0.25),
        ("C---", 1.0),  # who has no answer has no vote
        ("a!!!", 0.0),
        ("----", 0.0),
        ("aaa", 0.0),
    ],
)
def test_cons_at_k_by_hand(samples: str, score: float) -> None:
    assert cons_at_k(votes(samples)) == pytest.approx(score)


def test_avg_at_k() -> None:
    assert avg_at_k(votes("Ca-!")) == 0.25
