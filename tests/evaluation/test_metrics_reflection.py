"""Reflection words: whole words in English, anywhere in Chinese."""

import pytest

from thinkery.evaluation.metrics import count_reflections, reflection_share, reflections_per_completion


@pytest.mark.parametrize(
    ("thinking", "count"),
    [
        ("Wait, 3 is wrong. Let me CHECK.", 3),
        ("waiter, button, checked, terror, rebut", 0),
        ("等等，5 不对，重新算。", 3),
        ("验算：对。检查：错", 3),
        ("那么wait一下", 1),
        ("", 0),
    ],
)
def test_counts_words(thinking: str, count: int) -> None:
    assert count_reflections(thinking) == count


def test_shares_are_over_all_completions() -> None:
    thinkings = ["wait, wait", "3+4=7", None, "but 错"]
    assert reflection_share(thinkings) == 0.5
    assert reflections_per_completion(thinkings) == 1.0
    assert reflection_share([]) == 0.0
