"""Thinking of the miniature world from English into Chinese and back, phrase by phrase.

The phrases are those that the world's people write with, and the words of the domains' tables; numbers, formulas,
programs and symbols stay as they are. A text that is not made of such phrases alone is not translated at all. Left
out: questions and answers, and the general domain, where people write freely.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from thinkery.mini.choices import Texts
from thinkery.mini.code_operations import WORDS
from thinkery.mini.logic import DAYS, PEOPLE
from thinkery.mini.solutions import PHRASES
from thinkery.mini.stem_tables import CHAINS, CLASSES, FORMULAS, PAIRS, RANKS
from thinkery.mini.written_steps import PICK
from thinkery.types import Problem

# What the domains say without a table of their own.
_PAIRS = (
    ("if x is even", "如果x是偶数"),
    ("if x is odd", "如果x是奇数"),
    ("if x is above {c}", "如果x大于{c}"),
    ("if x is below {c}", "如果x小于{c}"),
    ("else ", "否则"),
    ("brackets", "括号"),
    ("largest", "最大"),
    ("smallest", "最小"),
    ("north", "北"),
    ("east", "东"),
    ("south", "南"),
    ("west", "西"),
    ("right", "右转"),
    ("around", "后转"),
    ("left", "左转"),
    ("tells the truth", "说真话"),
    ("lies", "说谎"),
    ("{c} lie", "{c}人说谎"),
    *((f"second {en}", f"第二{zh}") for en, zh in (("tallest", "高"), ("fastest", "快"), ("heaviest", "重"))),
    ("tallest", "最高"),
    ("shortest", "最矮"),
    ("fastest", "最快"),
    ("slowest", "最慢"),
    ("heaviest", "最重"),
    ("lightest", "最轻"),
)
_MARKS = {",": "，", ":": "：", ";": "；", ".": "。"}
_SAME = frozenset({"for", "in", "if", "else", "and", "not", "sum", "len", "sorted", "upper", "lower"})  # Python's own
_HAN = "\u3400-\u4dbf\u4e00-\u9fff"
_CONSTANT = "([0-9]+|[A-Za-z]{1,6})"
_CHINESE = re.compile(f"[{_HAN}，。：；]")
_WORD = re.compile(r"[A-Za-z]{2,}")
_QUOTED = re.compile(r"'[^']*'")


def translate(text: str, language: str) -> str | None:
    """The text in ``language`` (``en`` or ``zh``); None where some of it is no phrase of the world.

    What is in that language already stays as it is.
    """
    if language == "zh":
        translated = _in_chinese_marks("".join(said for said, _ in _pieces(text, "zh")))
        foreign = any(word not in _same_words() for word in _WORD.findall(_QUOTED.sub("", translated)))
    elif language == "en":
        translated = _spaced(_pieces(text, "en"))
        foreign = _CHINESE.search(translated) is not None
    else:
        return None
    return None if foreign else translated


def _pieces(text: str, language: str) -> Iterator[tuple[str, bool]]:
    """The text in pieces, each with whether it was translated."""
    pattern, phrases = _phrases(language)
    done = 0
    for match in pattern.finditer(text):
        if match.start() > done:
            yield text[done : match.start()], False
        assert match.lastgroup is not None  # every alternative is a group
        said = phrases[match.lastgroup]
        if "{c}" in said:  # the group within the phrase's own
            said = said.replace("{c}", match[pattern.groupindex[match.lastgroup] + 1])
        yield said, True
        done = match.end()
    yield text[done:], False


@cache
def _phrases(language: str) -> tuple[re.Pattern[str], dict[str, str]]:
    """One pattern for every phrase of the other language, the longest first, and what each becomes, by its group."""
    pairs: dict[str, str] = {}
    for en, zh in _pairs():
        source, target = (en, zh) if language == "zh" else (zh, en)
        pairs.setdefault(source, target)
    ordered = sorted(pairs, key=len, reverse=True)
    groups = {f"p{number}": source for number, source in enumerate(ordered)}
    alternatives = (f"(?P<{name}>{_pattern(source)})" for name, source in groups.items())
    return re.compile("|".join(alternatives)), {name: pairs[source] for name, source in groups.items()}


def _pattern(source: str) -> str:
    """A phrase as a pattern; an English one is no part of a longer word."""
    pattern = re.escape(source).replace(re.escape("{c}"), _CONSTANT)
    before = r"(?<![A-Za-z])" if source[0].isascii() and source[0].isalpha() else ""
    after = r"(?![A-Za-z])" if source[-1].isascii() and source[-1].isalpha() else ""
    return before + pattern + after


def _pairs() -> Iterator[tuple[str, str]]:
    """Phrases in English and Chinese. A phrase ends where the world puts its formula."""
    options = [(english, PHRASES["zh"][key]) for key, english in PHRASES["en"].items()]
    for english, chinese in [*options, (PICK["en"], PICK["zh"])]:
        for en, zh in zip(english, chinese, strict=True):
            if en.strip(" .,{s}"):
                yield en.partition("{")[0], zh.partition("{")[0]
    yield from _PAIRS
    yield from WORDS.values()
    for both in _words():
        if both["en"] != both["zh"]:
            yield both["en"], both["zh"]


def _words() -> Iterator[Texts]:
    """The words of the domains' tables."""
    yield from PEOPLE
    yield from DAYS
    for pairs in PAIRS:
        for row in pairs.rows:
            yield from row
    for groups in CLASSES:
        for group in groups:
            yield from (group.name, *group.members)
    for ranks in RANKS:
        yield from (name for name, _ in ranks.rows)
    for formula in (*FORMULAS, *(formula for first, second, _ in CHAINS for formula in (first, second))):
        yield from (quantity.name for quantity in (formula.result, formula.first, formula.second))


@cache
def _same_words() -> frozenset[str]:
    """What is written in Latin letters in Chinese, too."""
    return _SAME | {both["zh"] for both in _words() if both["en"] == both["zh"]}


def _in_chinese_marks(text: str) -> str:
    """Full stops, and commas and colons beside Chinese, as Chinese has them."""
    text = re.sub(r"\.(?: |$)", "。", text)
    text = re.sub(f"(?<=[{_HAN}])([,:;]) |([,:;]) (?=[{_HAN}])", lambda m: _MARKS[m[1] or m[2]], text)
    return re.sub(f"(?<=[{_HAN}，。：；]) +(?=[{_HAN}])", "", text)


def _spaced(pieces: Iterator[tuple[str, bool]]) -> str:
    """English pieces with the spaces that Chinese doesn't need, and English marks."""
    text, joined = "", False
    for piece, translated in pieces:
        if text and piece and (translated or joined) and text[-1].isalnum() and piece[0].isalnum():
            text += " "
        text += piece
        joined = translated
    for mark, chinese in _MARKS.items():
        text = text.replace(chinese, f"{mark} ")
    return text.strip()


class MiniTranslator:
    """What the miniature world registers in ``thinkery.translators``."""

    def covers(self, problem: Problem) -> bool:
        """Whether a problem is of this world."""
        return problem.id.startswith("mini-")

    def translate(self, text: str, language: str) -> str | None:
        """See the function ``translate``."""
        return translate(text, language)


TRANSLATOR = MiniTranslator()
