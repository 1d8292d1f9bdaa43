r"""Answers that are words, a time of day, or the letter of an option, in normal form.

A letter is an option only where the reference is nothing else: ``B``, ``(B)``, ``\textbf{(B)}``, ``Option B``. Then an
answer may carry its option's text behind a bracket, dot or colon: ``(B) 42``. Left out: options that a problem lists
(``options``), and what words mean.
"""

from __future__ import annotations

import re
from functools import lru_cache

from thinkery.rewards.answers.cleaning import clean, unstyled
from thinkery.rewards.answers.options import Options, read_reference, spell

_MAX = 512  # characters
_WORDS = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?(?:[ -]+[^\W\d_]+(?:['’][^\W\d_]+)?)*")
_CJK_WORDS = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]+")
_TIME = re.compile(r"[0-9]{1,2}:[0-5][0-9](?::[0-5][0-9])?(?:\s*[AaPp]\.?[Mm]\.?)?")
_LETTER = re.compile(r"(?:(?i:option|choice|answer|选项)\s*)?(?:([A-J])|\(([A-Ja-j])\)|([A-Ja-j])\))[.:]?")
_LABELLED = re.compile(
    r"(?:(?i:option|choice|选项)\s*)?(?:([A-J])\s*[:.]|\(([A-Ja-j])\)[:.]?|([A-Ja-j])\)[:.]?)(?P<label>\s*\S.*)",
    re.DOTALL,
)
_ANOTHER = re.compile(r"\([A-Ja-j]\)|\b[A-J][):.]|\b(?:or|and|not)\b|(?:^|[\s,;/])[A-J](?:$|[\s,;/])|或|和|不")
_LETTERS = re.compile(r"\(?[A-J]\)?(?:\s*(?:,|;|&|,?\s*\band\b|和|、)\s*\(?[A-J]\)?)+")
_ARTICLE = re.compile(r"(?:an?|the) (?=\w{3})")
_FUNCTIONS = frozenset(
    [
        "sin",
        "cos",
        "tan",
        "cot",
        "sec",
        "csc",
        "log",
        "ln",
        "exp",
        "sqrt",
        "pi",
        "inf",
        "infinity",
        "max",
        "min",
        "gcd",
        "lcm",
        "arcsin",
        "arccos",
        "arctan",
    ]
)
_PRODUCT = re.compile(r"[b-df-hj-np-tv-xzB-DF-HJ-NP-TV-XZ]{1,4}")
_SHORT = frozenset(["no", "yes"])
_CONNECTIVES = frozenset(["or", "and", "oder", "ou"])


@lru_cache(maxsize=8192)
def parse_words(text: str) -> str | None:
    """Reads an answer that is plain words or a time of day, in normal form; None if it is anything else."""
    if len(text) > _MAX:
        return None
    text = clean(text)
    if _TIME.fullmatch(bare := " ".join(unstyled(text).split())):
        return bare.replace(" ", "").replace(".", "").casefold()
    folded = _ARTICLE.sub("", " ".join(unstyled(text).casefold().split()), count=1).rstrip(".!")
    if _CJK_WORDS.fullmatch(folded):
        return folded
    if not _WORDS.fullmatch(folded):
        return None
    words = re.split(r"[ -]+", folded)
    if _FUNCTIONS & set(words):
        return None
    if len(words) > 1 and _CONNECTIVES & set(words) and all(len(word) < 3 for word in words):
        return None  # x or y
    return folded if any(len(word) > 2 or word in _SHORT or not word.isascii() for word in words) else None


@lru_cache(maxsize=4096)
def read_letters(reference: str) -> str | None:
    """The option letters that a reference is, and nothing else; None if it is anything else."""
    text = unstyled(clean(reference)).strip()
    if letter := _LETTER.fullmatch(text):
        return str(letter[1] or letter[2] or letter[3]).upper()
    if _LETTERS.fullmatch(text):
        letters = read_reference(text, Options())
        return spell(letters) if letters else None
    return None


def answer_letters(answer: str) -> str | None:
    """The option letters that an answer chooses, where its reference is letters."""
    text = unstyled(clean(answer)).strip()
    if letters := read_letters(answer):
        return letters
    labelled = _LABELLED.fullmatch(text)
    if labelled and not _ANOTHER.search(labelled["label"]):
        return str(labelled[1] or labelled[2] or labelled[3]).upper()
    run = re.fullmatch(r"[A-J]{2,10}", text)
    if run and list(text) == sorted(set(text)):
        return spell(text)
    return None


def same_product(expected: str, given: str) -> bool:
    """``mgh`` and ``hgm``: a few letters that are no word, since none is a vowel, are a product."""
    texts = ["".join(clean(text).split()) for text in (expected, given)]
    return all(map(_PRODUCT.fullmatch, texts)) and sorted(texts[0]) == sorted(texts[1])
