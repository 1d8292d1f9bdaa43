"""Words, times and option letters in normal form; a letter is an option only where it stands alone."""

from __future__ import annotations

import pytest

from thinkery.rewards.answers.words import answer_letters, parse_words, read_letters, same_product


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("\\text{Evelyn}", "evelyn"), ("Evelyn.", "evelyn"), ("YES", "yes"), ("no", "no"), ("对", "对"),
        ("New  York", "new york"), ("an ellipse", "ellipse"), ("10:30", "10:30"), ("10:30 a.m.", "10:30am"),
        ("no solution", "no solution"), ("\\text{No such } n", "no such n"), ("it is even", "it is even"),
        ("Quadrant I", "quadrant i"), ("x", None), ("2k", None), ("p - q", None), ("p-q", None), ("42", None),
        ("", None),
        ("\\pi", None), ("sin x", None), ("AB", None), ("x or y", None),
    ],
)  # fmt: skip
def test_reads_words(text: str, words: str | None) -> None:
    assert parse_words(text) == words


@pytest.mark.parametrize(
    ("reference", "letters"),
    [
        ("B", "B"), ("(b)", "B"), ("\\text{(B)}", "B"), ("B.", "B"), ("Option B", "B"), ("choice (B)", "B"),
        ("\\textbf{(B)}", "B"), ("A, C", "A, C"), ("\\text{(B) and (C)}", "B, C"),
        ("C = 2\\pi r", None), ("A + 1", None), ("A circle", None), ("J < K", None), ("(B) 42", None), ("B wins", None),
        ("H_0", None), ("AC", None), ("x", None), ("D (2, 3)", None),
    ],
)  # fmt: skip
def test_a_reference_is_an_option_only_if_it_is_nothing_else(reference: str, letters: str | None) -> None:
    assert read_letters(reference) == letters


@pytest.mark.parametrize(
    ("answer", "letters"),
    [
        ("B", "B"), ("(B) 42", "B"), ("B: it is blue", "B"), ("B. Jupiter", "B"), ("\\textbf{(B)}\\ 12", "B"),
        ("AC", "A, C"), ("A and C", "A, C"), ("A or B", None), ("(A) or (B)", None), ("(A)(B)", None), ("B wins", None),
        ("(B) not (A)", None), ("B = 5", None), ("CA", None), ("B 42", None),
    ],
)  # fmt: skip
def test_an_answer_may_carry_its_option_s_text(answer: str, letters: str | None) -> None:
    assert answer_letters(answer) == letters


def test_a_few_consonants_are_a_product() -> None:
    assert same_product("mgh", "hgm")
    assert not same_product("mgh", "mg")
    assert not same_product("even", "neve")
