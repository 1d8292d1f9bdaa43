"""The language reward against texts whose proportions are known by construction, and against those who would cheat it.

``data/language_texts.jsonl`` holds one text a line: its target, its parts with their languages ("" for what is no
prose) and the expected share, counted from the parts by ``naive_words``, which shares nothing with the reward.
"""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thinkery.models.template import TEMPLATES
from thinkery.rewards.interfaces import RewardContext
from thinkery.rewards.language import LANGUAGES, language_proportion, language_reward, strip_symbols
from thinkery.rewards.words import SCRIPT_OF, Identifier
from thinkery.types import UserError

DATA = Path(__file__).parent / "data" / "language_texts.jsonl"
ROWS: list[dict[str, Any]] = [json.loads(line) for line in DATA.read_text(encoding="utf-8").splitlines()]

EN = "First I expand the product on the left side, and then the roots are easy to find."
DE = "Zuerst schreibe ich auf, was gegeben ist, und dann teile ich beide Seiten durch den gemeinsamen Faktor."
ZH = "首先我们展开左边的乘积，然后用因式分解求出两个根。它们都是负数，这和系数的符号是一致的。"


def text_of(row: dict[str, Any]) -> str:
    return " ".join(text for _, text in row["parts"])


def naive_words(language: str, text: str) -> int:
    """Words by white space, or letters of Chinese and Japanese."""
    if language in ("zh", "ja"):
        return sum(character.isalpha() for character in text)
    return sum(any(character.isalpha() for character in word) for word in text.split())


def value(text: str, target: str, **options: Any) -> float | None:
    context = RewardContext(TEMPLATES["r1-zero"], 100)
    return language_reward([text], [target], context=context, **options)[0]


def test_there_are_enough_texts_and_their_labels_are_what_a_naive_count_says() -> None:
    assert len(ROWS) >= 200
    assert {row["target"] for row in ROWS} == set(LANGUAGES)
    for row in ROWS:
        own = sum(naive_words(language, text) for language, text in row["parts"] if language == row["target"])
        every = sum(naive_words(language, text) for language, text in row["parts"] if language)
        assert row["expected"] == pytest.approx(own / every, abs=1e-4)


@pytest.mark.parametrize("kind", sorted({row["kind"] for row in ROWS}))
def test_every_text_gets_its_proportion(kind: str) -> None:
    wrong = []
    for row in ROWS:
        if row["kind"] == kind:
            share = language_proportion(text_of(row), row["target"])
            if share is None or abs(share - row["expected"]) > 0.05:
                wrong.append((row["target"], row["expected"], share, text_of(row)))
    assert not wrong


@pytest.mark.parametrize("row", [row for row in ROWS if row["kind"] in ("pure", "long")][::9])
def test_more_configured_languages_do_not_change_a_text(row: dict[str, Any]) -> None:
    more = (*LANGUAGES, "it", "pt", "nl", "sv", "pl", "uk", "bg", "ko", "ar")
    assert language_proportion(text_of(row), row["target"], more) == pytest.approx(row["expected"], abs=0.05)


@pytest.mark.parametrize(
    ("nothing", "target"),
    [
        ("", "en"),
        (" \n\t", "zh"),
        ("$x^2 = 4$, \\[ y = \\frac{1}{2} \\]", "en"),
        ("3 + 4 = 7; 7 * 2 = 14", "zh"),
        ("... !!! ??? — 😀😀😀", "en"),
        ("```python\nfor i in range(10):\n    print(i)\n```", "zh"),
        ("`total` x y z n_max https://example.org/some/path <think></think>", "en"),
        ("sin x + cos y, 5 km", "zh"),
        ("ok " * 300, "en"),
        ("ok sure " * 300, "en"),
        ("好的" * 100, "zh"),
        ("的" * 100, "zh"),
    ],
)
def test_where_nothing_is_said_nothing_counts(nothing: str, target: str) -> None:
    assert language_proportion(nothing, target) is None


@pytest.mark.parametrize(
    ("filler", "as_if"),
    [
        (" ok" * 500, 0),
        (" ok sure" * 500, 0),
        (" ok sure fine then" * 500, 7),
        ((" " + EN) * 50, 17 + 3),
    ],
)
@pytest.mark.parametrize(("foreign", "words"), [(ZH, 40), (DE, 17)])
def test_repeating_a_filler_gains_no_more_than_saying_it_once(
    filler: str, as_if: int, foreign: str, words: int
) -> None:
    share = language_proportion(foreign + filler, "en")
    assert share is not None
    assert share <= as_if / (as_if + words) + 0.01


def test_shuffling_a_few_words_gains_little() -> None:
    words = ["ok", "so", "well", "then", "fine", "now", "wait", "yes", "good", "right"]
    shuffled = " ".join(words[(i * i + i // 7) % 10] for i in range(2000))
    foreign = [row["parts"][0][1] for row in ROWS if row["kind"] == "pure" and row["target"] == "zh"]
    characters = sum(naive_words("zh", text) for text in foreign)
    share = language_proportion("".join(foreign) + shuffled, "en")
    assert share is not None
    assert share < 55 / (55 + 0.95 * characters)


@pytest.mark.parametrize(("foreign", "target"), [(ZH, "en"), (DE, "en"), (EN, "zh"), (DE, "fr"), (ZH, "ja")])
@pytest.mark.parametrize("times", [2, 5, 50])
def test_saying_everything_many_times_changes_nothing(foreign: str, target: str, times: int) -> None:
    own = next(text_of(row) for row in ROWS if row["kind"] == "pure" and row["target"] == target)
    once, repeated = (language_proportion((own + "\n") * n + (foreign + "\n") * n, target) for n in (1, times))
    assert once == pytest.approx(repeated, abs=0.03)
    assert language_proportion((own + foreign + "\n") * times, target) == pytest.approx(once, abs=0.03)


def test_one_foreign_word_in_a_loop_is_not_forgotten() -> None:
    share = language_proportion(ZH + " ok" * 500, "zh")
    assert share is not None
    assert share < 1.0


@pytest.mark.parametrize(
    "hidden",
    [
        f"```text\n{DE}\n```",
        f"`{DE}`",
        f"$\\text{{{DE}}}$",
        f"\\[ \\text{{{ZH}}} \\]",
        f"$${ZH}$$",
        f"~~~\n{ZH}",
        f"<{DE}>",
        DE.upper(),
        "".join(chr(ord(c) + 0xFEE0) if 33 <= ord(c) < 127 else c for c in DE),
        f"\\text{{{DE}}}",
        f"[asy] {DE} [/asy]",
    ],
)
def test_prose_cannot_hide_in_code_formulas_or_odd_letters(hidden: str) -> None:
    share = language_proportion(f"{EN} {hidden}", "en")
    assert share is not None
    assert share < 0.6


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("It costs $5 for one and $10 for two, so we save money.", "en"),
        ("速度是 60 km/h，设 x 为 5，sin x 和 GCD 都要算。", "zh"),
        ("设 a 和 b 是整数，用 `foo_bar(x)` 计算 n_max。", "zh"),
        ("日语的「の」表示所属，这个说法没有问题。", "zh"),
        ("先算$3+4=7$，再算$7*2=14$。", "zh"),
        ("面積を求める。三角形面積計算。答えは五です。", "ja"),
        ("Let's see: it doesn't matter, I'm sure. Ahmed and Yuki have 12 kg of apples.", "en"),
        ("J'ai vu que l'homme n'est pas là, s'il te plaît, d'accord.", "fr"),
        ("First 12*7=84, so 84+5=89. Check: 12*7=84. Correct, so 89.", "en"),
        ("3+4=7, so 7*2=14, so 14.", "en"),
        ("Я вижу, что x равен 5 и y равен 6.", "ru"),
    ],
)
def test_symbols_names_and_quotations_do_not_lower_an_honest_text(text: str, target: str) -> None:
    assert language_proportion(text, target) == 1.0


def test_chinese_with_a_kana_in_every_sentence_is_not_japanese() -> None:
    assert language_proportion(ZH.replace("，", "の，").replace("。", "の。"), "ja") == 0.0


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("이 문제를 다시 한 번 확인해 보겠습니다.", "ko"),
        ("دعونا نتحقق من هذه الخطوة مرة أخرى.", "ar"),
        ("Спочатку запишемо, що дано, і знайдемо відповідь на це запитання.", "uk"),
        ("हम इस चरण की फिर से जाँच करते हैं।", "hi"),
        ("Ας ελέγξουμε ξανά αυτό το βήμα προσεκτικά.", "el"),
        ("เราจะตรวจสอบขั้นตอนนี้อีกครั้ง", "th"),
        ("Verifichiamo ancora una volta questo passaggio, perché il risultato sembra sbagliato.", "it"),
    ],
)
def test_other_languages_are_read_too(text: str, target: str) -> None:
    assert language_proportion(text, target) == 1.0
    assert language_proportion(text, "en", ("en", target)) == 0.0
    assert language_proportion(text, "zh", ("zh", "en", target)) == 0.0


def test_only_the_thinking_counts_and_all_of_a_text_without_one() -> None:
    assert value(f"<think>{EN}</think><answer>{ZH}</answer>", "en") == 1.0
    assert value(f"<think>{ZH}</think><answer>{EN}</answer>", "en") == 0.0
    assert value(f"<think></think><answer>{EN}</answer>", "en") is None
    assert value(EN, "en") == 1.0
    assert value(f"<think>{EN}", "en") == 1.0


def test_the_target_need_not_be_configured_and_may_carry_a_region() -> None:
    assert value(f"<think>{DE}</think>", "de-AT", languages=["en", "zh"]) == 1.0
    assert value(f"<think>{ZH}</think>", "zh_CN", languages=["en"]) == 1.0


@pytest.mark.parametrize("languages", ["en", [], ["klingon"], ["en", "sr"], [None], [1]])
def test_languages_that_cannot_be_told_apart_are_refused(languages: Any) -> None:
    with pytest.raises(UserError, match=r"language"):
        language_reward([], [], context=RewardContext(TEMPLATES["r1-zero"], 100), languages=languages)


def test_a_problem_in_an_unknown_language_and_a_missing_column_are_named() -> None:
    with pytest.raises(UserError, match="'english'"):
        value(EN, "english")
    with pytest.raises(UserError, match="column language"):
        language_reward([EN], context=RewardContext(TEMPLATES["r1-zero"], 100))


def test_every_known_language_is_one_of_the_model() -> None:
    for script in set(SCRIPT_OF.values()):
        languages = tuple(language for language, own in SCRIPT_OF.items() if own == script)
        assert Identifier(languages).label(["word"], before=languages[0])


def test_threads_get_the_same_answers() -> None:
    rows = ROWS[::4]
    alone = [language_proportion(text_of(row), row["target"]) for row in rows]
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(lambda row: language_proportion(text_of(row), row["target"]), rows * 4))
    assert together == alone * 4


@pytest.mark.shared
def test_solutions_of_gsm8k_are_english(shared: Path) -> None:
    rows = [
        json.loads(line) for line in (shared / "data" / "gsm8k_test.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    shares = [language_proportion(row["answer"].split("####")[0], "en") or 0.0 for row in rows]
    assert sum(share >= 0.95 for share in shares) / len(shares) > 0.985


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(st.text(max_size=300), st.sampled_from(sorted(SCRIPT_OF)))
def test_any_text_has_a_proportion_or_none(text: str, target: str) -> None:
    share = language_proportion(text, target)
    assert share is None or 0.0 <= share <= 1.0


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from(["$", "$$", "\\[", "\\]", "\\(", "`", "```", "~~~", "\n", " a b ", "5", EN, ZH]), max_size=20
    )
)
def test_any_nesting_of_code_and_formulas_is_read(pieces: list[str]) -> None:
    text = "".join(pieces)
    assert len(strip_symbols(text)) <= len(text) + 2 * len(pieces)
    share = language_proportion(text, "en")
    assert share is None or 0.0 <= share <= 1.0


@pytest.mark.slow
@pytest.mark.parametrize(
    "piece",
    [
        *(
            "\\(",
            "\\[",
            "$",
            "$$",
            "`",
            "``",
            "```",
            "~~~",
            "[asy]",
            "\\begin{equation}",
            "\\begin{align}",
            "\\end{",
            "{",
        ),
        *("<", "<a", "a", "_", "a_", "1", "'", "a'", "A", "AB", "\\", "http://", "www.", ".", ","),
        *("好", "の", "я", "是", "ก", "ا", "ﷺ", "😀", "。", "\u0301", "\u200b", "\u0e31"),
    ],
)
@pytest.mark.parametrize("target", ["en", "zh"])
def test_long_texts_of_one_piece_are_read_in_linear_time(piece: str, target: str) -> None:
    for text in (piece * (100_000 // len(piece)), f"{piece} \n" * (100_000 // (len(piece) + 2))):
        began = time.process_time()
        language_proportion(text, target)
        assert time.process_time() - began < 5.0
