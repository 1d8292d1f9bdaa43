from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thinkery.rewards.builtin import ends_in_loop, repetition_reward, repetition_share
from thinkery.types import UserError

ROWS = [
    json.loads(line)
    for line in (Path(__file__).parent / "data" / "language_texts.jsonl").read_text(encoding="utf-8").splitlines()
]
HONEST = {row["target"]: " ".join(text for _, text in row["parts"]) for row in ROWS if row["kind"] == "long"}
TWENTY = [*("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "and", "so"), *"abcdefgh"]


def value(text: str, **options: Any) -> float:
    (one,) = repetition_reward([text], **options)
    assert one is not None
    return one


def test_the_share_is_what_lies_in_runs_seen_before() -> None:
    text = " ".join(TWENTY)
    assert repetition_share(text) == 0.0
    assert repetition_share(f"{text} {text}") == 0.5
    assert repetition_share(f"{text} and then {text} again") == pytest.approx(20 / 43)
    assert repetition_share(" ".join(TWENTY[:19]) + " | " + " ".join(TWENTY[:19])) == 0.0
    assert repetition_share("x y x y x y", ngram=2) == pytest.approx(4 / 6)


def test_the_penalty_is_linear_in_what_is_more_than_tolerated() -> None:
    text = " ".join(TWENTY)
    assert value(f"{text} {text}") == pytest.approx(-0.4 / 0.9)
    assert value(f"{text} {text}", tolerance=0.5) == 0.0
    assert value(f"{text} {text}", tolerance=0) == pytest.approx(-0.5)


@pytest.mark.parametrize("language", sorted(HONEST))
def test_honest_thinking_costs_nothing(language: str) -> None:
    assert repetition_share(HONEST[language]) == 0.0
    assert value(HONEST[language]) == 0.0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "3 + 4 = 7\n" * 3 + "so it is 7",
        "First 12*7=84, so 84+5=89. Check: 12*7=84. Correct, so 89.",
        "We try 2 * 3 = 6. No. We try 2 * 4 = 8. No. We try 2 * 5 = 10. No. We try 2 * 6 = 12. Yes, 2 * 6 = 12.",
        " ".join(str(number) for number in range(500)),
        "Let me count: apple, apple, apple, pear, apple, apple. So five apples.",
        "等等，检查一下：3+4=7。对，3+4=7。再检查一下：3+4=7。",
        "| a | b |\n|---|---|\n| 1 | 2 |\n| 3 | 4 |\n",
    ],
)
def test_short_lines_and_checks_cost_nothing(text: str) -> None:
    assert value(text) == 0.0
    assert not ends_in_loop(text)


@pytest.mark.parametrize("language", sorted(HONEST))
@pytest.mark.parametrize(
    "loop",
    [
        "Wait, let me check the answer once more.\n" * 30,
        "所以答案是十八。" * 40,
        "ok " * 200,
        "......" * 400,
        "😀" * 2000,
        "ab" * 3000,
        "対不起" * 60,
        ("The number is even and so is its half, therefore we divide again and look at what remains.\n" * 12)[:-31],
    ],
)
def test_a_text_that_ends_in_a_loop_gets_the_worst_wherever_it_was_cut(language: str, loop: str) -> None:
    assert ends_in_loop(HONEST[language] + loop)
    assert value(HONEST[language] + loop) == -1.0


def test_a_loop_that_the_model_left_again_costs_its_share_only() -> None:
    text = HONEST["en"] + "Wait, let me check.\n" * 30 + HONEST["de"]
    assert not ends_in_loop(text)
    assert -0.2 < value(text) < 0.0


@pytest.mark.shared
def test_solutions_of_gsm8k_cost_next_to_nothing(shared: Path) -> None:
    lines = (shared / "data" / "gsm8k_test.jsonl").read_text(encoding="utf-8").splitlines()
    values = [value(row["question"] + "\n" + row["answer"]) for row in map(json.loads, lines)]
    assert sum(one < 0 for one in values) <= len(values) * 0.005
    assert min(values) > -0.15


@pytest.mark.parametrize(
    "options",
    [{"ngram": 1}, {"ngram": 2.5}, {"ngram": True}, {"tolerance": 1}, {"tolerance": -0.1}, {"tolerance": "0.1"}],
)
def test_settings_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="reward 'repetition'"):
        value("x", **options)


@settings(deadline=None)
@given(st.text(), st.integers(2, 30), st.floats(0, 0.99))
def test_any_text_has_a_value_in_the_range(text: str, ngram: int, tolerance: float) -> None:
    assert 0.0 <= repetition_share(text, ngram) < 1.0
    assert -1.0 <= value(text, ngram=ngram, tolerance=tolerance) <= 0.0


@settings(deadline=None)
@given(st.lists(st.sampled_from([*TWENTY, "是", "的", "="]), min_size=1, max_size=60), st.integers(8, 20))
def test_what_goes_round_and_round_is_always_found(units: list[str], rounds: int) -> None:
    text = " ".join(units * (rounds * 20 // len(units) + 8))
    assert ends_in_loop(text)
    assert repetition_share(text) > 0.4


@pytest.mark.parametrize("piece", ["a", "a ", "ab ", "的", "的 ", ".", ".!", "\n", "1 2 3 ", "_", "\u0301", "😀"])
def test_long_texts_of_one_piece_are_read_in_linear_time(piece: str) -> None:
    began = time.perf_counter()
    value(piece * (100_000 // len(piece)))
    assert time.perf_counter() - began < 5.0
