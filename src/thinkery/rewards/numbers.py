r"""Answers that are plain numbers or plain words, read exactly: no floats, no sympy, microseconds.

A number is an integer, a terminating decimal, a fraction, a mixed number or a power of ten, dressed as people and
models write them: ``\$32,\!348``, ``\frac12``, ``7.``, ``-.5``, ``1e3``, ``1\frac{4}{5}``, ``x=5``, ``30^\circ``,
``5.4 \text{ cents}``, ``52_8``, ``５０％``. What still holds an operation (``6*7``, ``2^{10}``, ``84/12``) is not a
number: it would let a model answer a question by repeating it. (The grader of Lightman et al. 2023, PRM800K, demands
likewise an integer where the reference is one.) Left out: numerals in words, repeating decimals, decimal commas.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

MAX_ANSWER = 512  # characters; the longest gold of MATH-500 has 53

_CHARACTERS = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {  # full-width forms of ASCII
    ord(old): new
    for old, new in {
        "\u3000": " ", "\u00a0": " ", "\u202f": " ", "\u2009": " ", "\u2212": "-", "\u2013": "-", "。": ".",
        "×": r"\times ", "÷": "/", "·": r"\cdot ", "π": r"\pi ", "∞": r"\infty ", "°": r"^\circ ", "≤": r"\le ",
        "≥": r"\ge ", "≠": r"\ne ", "∪": r"\cup ", "∩": r"\cap ", "±": r"\pm ",
    }.items()
}  # fmt: skip
_ROOT = re.compile(r"√\s*(?:\(([^()]*)\)|(\d+|\w))")
_GROUPING = re.compile(r",\\!\s*|\{,\}")  # TeX's thousands separators: 10,\!080 and 10{,}080
_SPACING = re.compile(r"\\(?:left|right|displaystyle)(?![a-zA-Z])|(?<!\\)\\[!,;:]|~")
_SPACE = re.compile(r"(?<!\\)\\ ")
_LEAD_IN = re.compile(
    r"(?:\\text\s*\{)?\s*(?:(?:so|thus|hence|therefore),?\s+)?(?:the\s+)?(?:final\s+)?answer\s*(?:is\s*:?|:|=)\s*\}?"
    r"|(?:所以|因此)?[,，]?(?:最终|最后)?(?:的)?(?:答案|结果)\s*(?:是|为|:)+\s*",
    re.IGNORECASE,
)
_DELIMITERS = (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"), ("**", "**"))
_TEXT = re.compile(r"\\(?:text|mbox|mathrm|textrm|textbf|mathbf|textit)\s*\{([^{}]*)\}")
_ASSIGNMENT = re.compile(r"[A-Za-z](?:_\{?\w+\}?|\([a-z]\))?\s*=(?![=])\s*")


def clean(text: str) -> str:
    """An answer without its dress: full-width forms, delimiters, spacing commands, a lead-in phrase, a final dot."""
    if not text.isascii():
        text = _ROOT.sub(lambda match: rf"\sqrt{{{match[1] or match[2]}}}", text.translate(_CHARACTERS))
    if "\\" in text or "~" in text or "{,}" in text:
        text = _SPACE.sub(" ", _SPACING.sub("", _GROUPING.sub(",", text)))
    previous = None
    while text != previous:  # dress comes in layers: **$\text{The answer is }5.$**
        previous = text
        text = text.strip().removesuffix(".").rstrip()
        lead_in = _LEAD_IN.match(text)
        if lead_in:
            text = text[lead_in.end() :]
        for opening, closing in _DELIMITERS:
            inner = text[len(opening) : -len(closing)]
            enclosed = inner and text.startswith(opening) and text.endswith(closing)
            if enclosed and opening not in inner.replace(r"\$", ""):  # not $1$ and $2$; but $\$5$
                text = inner
    return text


def strip_assignment(text: str) -> str:
    """``x = 5`` -> ``5``; ``f(x) = 2x`` -> ``2x``; a chain or any other left-hand side stays as it is."""
    match = _ASSIGNMENT.match(text)
    return text[match.end() :] if match and "=" not in text[match.end() :] else text


@dataclass(frozen=True, slots=True)
class Number:
    """An exact value with the unit it was written with (empty if none): ``percent``, ``degree``, ``base 8``, ``cm``."""

    value: Fraction
    unit: str = ""

    def __str__(self) -> str:
        return str(self.value) + ("%" if self.unit == "percent" else "")

    def equals(self, other: Number) -> bool:
        """Equal values in equal units. A unit that only one of the two carries is taken for granted.

        So is a percent sign, read either way: ``50``, ``50%`` and ``0.5`` all answer ``50%``.
        """
        if self.unit and other.unit:
            return self.unit == other.unit and self.value == other.value
        if self.value == other.value:
            return True
        return (self.unit == "percent" and self.value == other.value * 100) or (
            other.unit == "percent" and other.value == self.value * 100
        )


_INTEGER = re.compile(r"[+-]?[0-9]{1,300}")
_NUMBER = re.compile(
    r"""
    (?P<sign>[+-]?)\s*(?:\\?[$€£¥]\s*(?P<inner_sign>-?))?
    (?: (?:(?P<whole>[0-9]+)\s*)?\\[dt]?frac\s*
        (?:\{\s*(?P<frac_n>[+-]?[0-9]+)\s*\}|(?P<digit_n>[0-9]))\s*
        (?:\{\s*(?P<frac_d>[0-9]+)\s*\}|(?P<digit_d>[0-9]))
      | (?:(?P<slash_whole>[0-9]+)\s+)?(?P<slash_n>[0-9]+)\s*/\s*(?P<slash_d>[0-9]+)
      | (?P<decimal>(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]*)?|\.[0-9]+)
        (?:[eE](?P<e>[+-]?[0-9]{1,3})|\s*(?:\\times|\\cdot|\*)\s*10\s*\^\s*(?P<ten>\{[+-]?[0-9]{1,3}\}|-?[0-9]{1,3}))?
    )
    (?P<unit>.*)
    """,
    re.VERBOSE | re.DOTALL,
)


def _value(match: re.Match[str]) -> Fraction | None:
    """The number that ``_NUMBER`` matched. A quotient that is an integer is an unevaluated division: None."""
    if match["decimal"]:
        exponent = match["e"] or (match["ten"] or "0").strip("{}")
        # A tiny exponent costs nothing; Fraction would compute 10**(10**9) if the pattern let it through.
        value = Fraction(match["decimal"].replace(",", "")) * Fraction(10) ** int(exponent)
    else:
        numerator = int(match["frac_n"] or match["digit_n"] or match["slash_n"])
        denominator = int(match["frac_d"] or match["digit_d"] or match["slash_d"])
        if denominator == 0 or numerator % denominator == 0:
            return None
        value = Fraction(numerator, denominator) + int(match["whole"] or match["slash_whole"] or 0)
    return -value if (match["sign"] == "-") != (match["inner_sign"] == "-") else value


_UNIT = re.compile(
    r"\s*\\(?:text|mbox|mathrm|textrm)\s*\{(?P<text>[^{}]*)\}\s*(?:\^\{?(?P<power>[23])\}?)?"
    r"|\s+(?P<words>[A-Za-z][A-Za-z.]+(?:[ /-][A-Za-z.]+){0,3})(?:\^(?P<words_power>[23]))?"
    r"|\s*(?P<cjk>[\u4e00-\u9fff]{1,6})"
)
# Words and characters that change the value, or join it to another: what they follow is not a plain number.
_NOT_UNITS = {
    "hundred", "thousand", "million", "billion", "trillion", "dozen", "half", "point", "pi", "and", "or", "not", "to",
    "of", "times", "plus", "minus", "over",
}  # fmt: skip
_NOT_CJK_UNITS = set("十百千万亿兆或和到点分之半加减乘除不")
_UNIT_NAMES = {
    "cm": "centimeter", "m": "meter", "km": "kilometer", "mm": "millimeter", "kg": "kilogram", "g": "gram",
    "in": "inch", "ft": "foot", "feet": "foot", "h": "hour", "hr": "hour", "min": "minute", "s": "second",
    "sec": "second", "deg": "degree", "inche": "inch", "centimetre": "centimeter", "metre": "meter",
    "kilometre": "kilometer",
}  # fmt: skip


def _unit(text: str) -> str | None:
    """What follows a number, as a unit in normal form; empty if nothing does; None if it is no unit."""
    text = text.rstrip()
    stripped = text.lstrip()
    if not stripped:
        return ""
    if stripped in ("%", r"\%"):
        return "percent"
    if stripped in (r"^\circ", r"^{\circ}", r"\degree"):
        return "degree"
    if base := re.fullmatch(r"_\{?([0-9]{1,2})\}?", text):
        return f"base {base[1]}"
    match = _UNIT.fullmatch(text)
    if match is None:
        return None
    if match["cjk"]:
        return None if _NOT_CJK_UNITS & set(match["cjk"]) else str(match["cjk"])
    words = re.findall(r"[a-z]+", (match["text"] or match["words"] or "").casefold())
    if _NOT_UNITS & set(words):
        return None
    power = match["power"] or match["words_power"]
    if words and words[0] in ("square", "sq", "cubic", "cu"):
        power = "2" if words.pop(0).startswith("sq") else "3"
    names = [_UNIT_NAMES.get(name, name) for name in (word.removesuffix("s") or word for word in words)]
    return " ".join(names) + (f"^{power}" if power else "")


@lru_cache(maxsize=8192)  # a group repeats its reference, and mostly its answers
def parse_number(text: str) -> Number | None:
    """Reads an answer as an exact number, or None if it is anything else."""
    if len(text) > MAX_ANSWER:
        return None
    if _INTEGER.fullmatch(text):
        return Number(Fraction(int(text)))
    text = strip_assignment(clean(text))
    match = _NUMBER.fullmatch(text)
    if match is None:
        return None
    unit = _unit(match["unit"])
    value = None if unit is None else _value(match)
    return None if unit is None or value is None else Number(value, unit)


_WORDS = re.compile(r"[^\W\d_]{3,}(?:[ '-]+[^\W\d_]{2,})*|no|[\u4e00-\u9fff]+")
_OPTION = re.compile(r"[A-J]|\(([A-Ja-j])\)|([A-Ja-j])\)")


@lru_cache(maxsize=8192)
def parse_words(text: str) -> str | None:
    """Reads an answer that is plain words or an option letter, in normal form; None if it is anything else."""
    if len(text) > MAX_ANSWER:
        return None
    text = clean(text)
    inside = _TEXT.fullmatch(text)
    text = clean(inside[1]) if inside else text
    option = _OPTION.fullmatch(text)
    if option:
        return (option[1] or option[2] or text).upper()
    folded = " ".join(text.casefold().split())
    return folded if _WORDS.fullmatch(folded) else None
