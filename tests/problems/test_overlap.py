"""Overlap with benchmarks and among problems: what was planted is found, what is merely similar is not."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thinkery.problems.overlap import Benchmarks, Item, contamination, find_duplicates, grams, tokens, words_of
from thinkery.problems.source import read_benchmarks, read_items

EN = "Janet's ducks lay 16 eggs per day. She eats three for breakfast every morning and sells the rest for $2 each."
ZH = "小明每天早上骑自行车去学校，路程是三千米，他每分钟骑二百五十米，问他需要多少分钟才能到达学校？"
TEX = r"If $\frac{3x-2}{x+1} = 5$, $y \times z \leq 10,\!080$, find the most of $\left(x + y\right)^2$ for real z."


def items(*texts: str) -> list[Item]:
    return [Item(f"line {number}", (text,)) for number, text in enumerate(texts, start=1)]


def found(text: str, *benchmark: str, words: int = 10, characters: int = 16) -> str | None:
    """What a text shares with a benchmark."""
    match = Benchmarks({"bench": items(*benchmark)}, words=words, characters=characters).match(items(text)[0])
    return match.shared if match else None


@pytest.mark.parametrize(
    ("benchmark", "text"),
    [
        (EN, EN),
        (EN, f"Solve this. {EN} Think first."),
        (EN, EN.upper().replace(".", " !").replace(",", "")),
        (EN, EN.replace(" ", "\n  ").replace("'", "’")),
        (EN, "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in EN)),  # full width
        (EN, EN.split(". ")[1]),  # a sentence of it
        (ZH, f"请回答：{ZH}"),
        (ZH, ZH.replace("，", " , ").replace("？", "?")),
        (ZH, ZH[8:30]),
        (TEX, TEX.replace(r"\frac", r"\dfrac").replace(r"\left", "").replace(r"\right", "").replace("$", "")),
        (TEX, TEX.replace(r"\times", "×").replace(r"\leq", "≤").replace(r"10,\!080", "10{,}080").replace(" ", "  ")),
        (f"{ZH} {EN}", f"{EN[:50]} {ZH} {EN}"),
    ],
)
def test_planted_overlaps_are_found_whatever_their_dress(benchmark: str, text: str) -> None:
    assert found(text, "Something else entirely, said at some length about nothing in particular.", benchmark)


@pytest.mark.parametrize(
    ("benchmark", "text"),
    [
        (EN, "Janet's ducks lay 16 eggs per day. He sells all of them."),  # 8 words in a row
        (EN, EN.replace("16", "17").replace("three", "four").replace("every", "each").replace("rest", "others")),
        (ZH, ZH[:15] + "公园"),  # 15 characters in a row
        (ZH, "小红每天晚上走路去公园，距离是两千米，她每分钟走八十米，问她要用多少分钟？"),
        ("What is 6*7?", "What is 6*8?"),
        ("What is 6*7?", "What is 6+7?"),
        ("What is 6*7?", "Here is a question. What is 6*7?"),  # shorter than n: only as a whole
    ],
)
def test_near_misses_are_left_alone(benchmark: str, text: str) -> None:
    assert found(text, benchmark) is None


@pytest.mark.parametrize(
    "text", ["what is 6 * 7", "What  is\n6×7 ?", r"What is $6 \times 7$?", "Ｗｈａｔ ｉｓ ６＊７？"]
)
def test_a_short_item_matches_as_a_whole(text: str) -> None:
    assert found(text, "What is 6*7?") == "what is 6 * 7"


def test_the_length_of_an_n_gram_is_a_choice() -> None:
    shared = "one two three four five six seven eight nine"
    texts = f"a {shared} b", f"c {shared} d"
    assert found(*texts, words=9) == shared
    assert found(*texts, words=10) is None
    chinese = "今天天气很好我们去公园"
    assert found(f"甲{chinese}乙", f"丙{chinese}丁", characters=len(chinese)) == " ".join(chinese)
    assert found(f"甲{chinese}乙", f"丙{chinese}丁", characters=len(chinese) + 1) is None


def test_n_grams_are_as_long_as_their_script_asks() -> None:
    words, characters = [f"w{n}" for n in range(12)], list("今天天气很好我们去公园玩吧好不好呀")
    assert list(grams(words, 10, 16)) == [(0, 10), (1, 11), (2, 12)]
    assert list(grams(characters, 10, 16)) == [(0, 16), (1, 17)]
    mixed = words[:5] + characters  # 5 words are worth half an n-gram, 8 characters the other half
    assert next(grams(mixed, 10, 16)) == (0, 13)


def test_what_every_item_of_a_benchmark_says_is_no_overlap() -> None:
    told = "Let us think step by step and put the final answer at the end of the text."
    questions = [f"{' '.join(random.Random(n).choices(EN.split(), k=12))} {told}" for n in range(100)]
    benchmarks = Benchmarks({"bench": items(*questions)})
    assert benchmarks.common > 0
    assert benchmarks.match(items(f"How many legs have nine spiders? {told}")[0]) is None
    assert benchmarks.match(items(questions[40])[0]) is not None


def test_a_report_says_what_is_shared_with_which_item() -> None:
    benchmarks = Benchmarks({"en": items(EN, "What is 6*7?"), "zh": items(ZH)})
    report = contamination(items("fine", f"x {EN}", "what is 6*7", ZH), benchmarks)
    assert [(m.place, m.benchmark, m.item, m.exact) for m in report.matches] == [
        ("line 2", "en", "line 1", False),
        ("line 3", "en", "line 2", True),
        ("line 4", "zh", "line 1", True),
    ]
    assert report.matches[0].shared == "janet s ducks lay 16 eggs per day she eats"
    assert report.summary() == (
        "overlaps with benchmarks (10 words or 16 characters in a row): 3 of 4 problems, 2 with en, 1 with zh"
    )


def test_answers_are_compared_as_texts_of_their_own() -> None:
    solution = "First multiply six by seven which gives the number forty two as everyone knows."
    benchmarks = Benchmarks({"bench": [Item("line 1", ("Question one?", solution))]})
    assert benchmarks.match(Item("a", ("Another question", f"Well: {solution}"))) is not None
    assert benchmarks.match(Item("a", ("Another question one? First multiply six", "by seven which"))) is None


def test_duplicates_are_found_whatever_their_dress() -> None:
    duplicates = find_duplicates(items(EN, ZH, EN.upper(), "What is 6*7?", f" {ZH} ", EN.replace("ducks", "geese")))
    assert [(d.place, d.first, d.exact) for d in duplicates] == [
        ("line 3", "line 1", True),
        ("line 5", "line 2", True),
    ]
    longer = f"{EN} {TEX}"
    (near,) = find_duplicates(items(longer, ZH, longer.replace("real z", "real w")))
    assert (near.place, near.first, near.exact) == ("line 3", "line 1", False)
    assert 0.8 <= near.similarity < 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is 6*7?", "What is 6+7?"),
        ("5!", "5"),
        (f"{EN} {TEX}", f"{EN} {TEX}".replace("16", "18")),  # another story
        ("Are the brackets (())(", "Are the brackets (()))"),
        ("3.5 + 1", "35 + 1"),
    ],
)
def test_other_numbers_or_operators_make_another_problem(one: str, other: str) -> None:
    assert find_duplicates(items(one, other)) == []


@pytest.mark.slow
def test_no_near_duplicate_is_missed() -> None:
    """Against every pair compared in full."""
    rng = random.Random(4)
    words = [f"{a}{b}" for a in "abcdefghij" for b in "klmnopqrst"]
    texts = [rng.choices(words, k=rng.randrange(5, 40)) for _ in range(150)]
    for _ in range(150):
        changed = list(rng.choice(texts))
        for _ in range(rng.randrange(4)):
            changed[rng.randrange(len(changed))] = rng.choice(words)
        texts.append(changed)
    rng.shuffle(texts)

    def shingles(text: list[str]) -> set[tuple[str, ...]]:
        return {tuple(text[i : i + 5]) for i in range(len(text) - 4)}

    for threshold in (0.6, 0.8, 1.0):
        kept: list[int] = []
        expected = []
        for position, text in enumerate(texts):
            mine = shingles(text)
            for earlier in kept:
                theirs = shingles(texts[earlier])
                if texts[earlier] == text or (mine and len(mine & theirs) >= threshold * len(mine | theirs)):
                    expected.append(f"line {position + 1}")
                    break
            else:
                kept.append(position)
        duplicates = find_duplicates(items(*(" ".join(text) for text in texts)), near=threshold)
        assert [duplicate.place for duplicate in duplicates] == expected


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=200))
def test_every_text_is_found_in_itself(text: str) -> None:
    if tokens(text):
        assert found(text, text) == " ".join(tokens(text))
        assert len(find_duplicates(items(text, text))) == 1
    assert all(token[0].isalnum() for token in words_of(tokens(text)))


@pytest.mark.slow
@pytest.mark.shared
def test_gsm8k_is_found_in_itself_and_nowhere_else(shared: Path) -> None:
    data = shared / "data"
    gsm8k = list(read_items(str(data / "gsm8k_test.jsonl")))
    assert len(contamination(gsm8k, read_benchmarks([str(data / "gsm8k_test.jsonl")])).matches) == 1319
    others = [str(data / name) for name in ("rllm_math.json", "rllm_aime.json", "HumanEval.jsonl.gz")]
    assert contamination(gsm8k, read_benchmarks(others)).matches == ()
    assert find_duplicates(gsm8k) == []
