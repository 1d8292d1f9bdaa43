r"""Answers that are plain numbers or plain words, read exactly: no floats, no sympy, microseconds.

A number is an integer, a terminating or repeating decimal, a fraction, a mixed number, a ratio or a power of ten,
dressed as people and models write them: ``\$32,\!348``, ``\frac12``, ``7.``, ``-.5``, ``1e3``, ``1 000``, ``1'000``,
``1\frac{4}{5}``, ``0.\overline{3}``, ``3:4``, ``x=5``, ``30^\circ``, ``5.4 \text{ cents}``, ``52_8``, ``５０％``. What
still holds an operation (``6*7``, ``2^{10}``, ``84/12``) is not a number: it would let a model answer a question by
repeating it. (The grader of Lightman et al. 2023, PRM800K, demands likewise an integer where the reference is one.)
Left out: numerals in words, and what means different things in different countries (``1.000``, ``3,5``, ``1_000``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache

from thinkery.recipe.verification import MathPolicy
from thinkery.rewards.answers.cleaning import clean

ROUNDED_PLACES = 4  # a reference with as many decimals may be a rounded value; 0.5 is not
MAX_ANSWER = 512  # characters; the longest gold of MATH-500 has 53
_DEFAULT = MathPolicy()

_TEXT = re.compile(r"\\(?:text|mbox|mathrm|textrm|textbf|mathbf|textit)\s*\{([^{}]*)\}")
_ASSIGNMENT = re.compile(r"[A-Za-z](?:_\{?\w+\}?|\([a-z]\))?\s*=(?![=])\s*")


def strip_assignment(text: str) -> str:
    """``x = 5`` -> ``5``; ``f(x) = 2x`` -> ``2x``; a chain or any other left-hand side stays as it is."""
    match = _ASSIGNMENT.match(text)
    return text[match.end() :] if match and "=" not in text[match.end() :] else text


@dataclass(frozen=True, slots=True)
class Number:
    """An exact value with the unit it was written with (empty if none): ``percent``, ``degree``, ``base 8``, ``cm``.

    ``places`` counts the decimals it was written with.
    """

    value: Fraction
    unit: str = ""
    places: int = field(default=0, compare=False)

    def __str__(self) -> str:
        return str(self.value) + ("%" if self.unit == "percent" else "")

    def equals(self, other: Number, policy: MathPolicy = _DEFAULT) -> bool:
        """Whether two numbers are the same answer; ``policy`` decides about units and percents. Symmetric."""
        ours, theirs = self._literal(policy), other._literal(policy)
        if ours.value == theirs.value:
            quotient = {ours.unit, theirs.unit} == {"ratio", ""} and self.value.denominator > 1  # 3:4 is 3/4
            return quotient or units_agree(ours.unit, theirs.unit, policy)
        if policy.percent == "literal" or policy.units == "required":
            return False
        hundredfold = {"percent"} & {self.unit, other.unit} and not (self.unit and other.unit)
        percent, plain = (self, other) if self.unit == "percent" else (other, self)
        return bool(hundredfold) and percent.value == plain.value * 100

    def _literal(self, policy: MathPolicy) -> Number:
        if self.unit == "percent" and policy.percent == "literal":
            return Number(self.value / 100)
        return self


def units_agree(one: str, other: str, policy: MathPolicy) -> bool:
    """Whether the units of two equal values may stand for each other."""
    if one == other:
        return True
    if policy.units == "required":
        return False
    if "ratio" in (one, other) or (one.startswith("base ") and other.startswith("base ")):
        return False  # a ratio and a base are part of the value
    return not (one and other) or policy.units == "ignored"


_INTEGER = re.compile(r"[+-]?[0-9]{1,300}")
_NUMBER = re.compile(
    r"""
    (?P<sign>[+-]?)\s*(?:\\?(?P<currency>[$€£¥])\s*(?P<inner_sign>-?))?
    (?: (?:(?P<whole>[0-9]+)\s*)?\\frac\s*
        (?:\{\s*(?P<frac_n>[+-]?[0-9]+)\s*\}|(?P<digit_n>[0-9]))\s*
        (?:\{\s*(?P<frac_d>-?[0-9]+)\s*\}|(?P<digit_d>[0-9]))
      | (?:(?P<slash_whole>[0-9]+)\s+)?(?P<slash_n>[0-9]+)\s*/\s*(?P<slash_d>[0-9]+)
      | (?P<ratio_n>[0-9]+)\s*:\s*(?P<ratio_d>[0-9]+)
      | (?P<head>[0-9]*)\.(?P<stem>[0-9]*)\\(?:overline|bar|dot)\s*\{?(?P<period>[0-9]{1,40})\}?
      | (?P<decimal>(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]{1,3}(?:\ [0-9]{3})+|[0-9]{1,3}(?:'[0-9]{3})+|[0-9]+)(?:\.[0-9]*)?
                   |\.[0-9]+)
        (?:[eE](?P<e>[+-]?[0-9]{1,3})|\s*(?:\\times|\\cdot|\*)\s*10\s*\^\s*(?P<ten>\{[+-]?[0-9]{1,3}\}|-?[0-9]{1,3}))?
    )
    (?P<unit>.*)
    """,
    re.VERBOSE | re.DOTALL,
)
_CURRENCIES = {"$": "dollar", "€": "euro", "£": "pound", "¥": "yen"}


def _value(match: re.Match[str]) -> Fraction | None:
    """The number that ``_NUMBER`` matched. A quotient that is an integer is an unevaluated division: None."""
    if match["decimal"]:
        exponent = match["e"] or (match["ten"] or "0").strip("{}")
        # Three digits of exponent cost nothing; Fraction would compute 10**(10**9) if the pattern let it through.
        digits = match["decimal"].replace(",", "").replace(" ", "").replace("'", "")
        value = Fraction(digits) if "." in digits else Fraction(int(digits))
        if exponent != "0":
            value *= Fraction(10) ** int(exponent)
    elif match["period"]:
        shift = 10 ** len(match["stem"])
        repeated = Fraction(int(match["period"]), 10 ** len(match["period"]) - 1)
        value = (int((match["head"] + match["stem"]) or 0) + repeated) / shift
    elif match["ratio_n"]:
        if re.fullmatch("[0-5][0-9]", match["ratio_d"]) or not int(match["ratio_d"]):
            return None  # a time of day
        value = Fraction(int(match["ratio_n"]), int(match["ratio_d"]))
    else:
        numerator = int(match["frac_n"] or match["digit_n"] or match["slash_n"])
        denominator = int(match["frac_d"] or match["digit_d"] or match["slash_d"])
        if denominator == 0 or numerator % denominator == 0:
            return None
        value = Fraction(numerator, denominator) + int(match["whole"] or match["slash_whole"] or 0)
    return -value if (match["sign"] == "-") != (match["inner_sign"] == "-") else value


_UNIT = re.compile(
    r"\s*\\(?:text|mbox|mathrm|textrm)\s*\{(?P<text>[^{}]*)\}\s*(?:\^\s*\{?(?P<power>[23])\}?)?"
    r"|\s*(?P<words>[A-Za-z][A-Za-z.]+(?:[ /-][A-Za-z.]+){0,3})(?:\^\{?(?P<words_power>[23])\}?)?"
    r"|\s*(?P<cjk>[\u4e00-\u9fff\u30a0-\u30ff]{1,6})"
)
# Words and characters that change the value, or join it to another: what they follow is not a plain number.
_NOT_UNITS = {
    "hundred", "thousand", "million", "billion", "trillion", "dozen", "half", "point", "pi", "and", "or", "not", "to",
    "of", "times", "plus", "minus", "over", "squared", "cubed", "factorial", "choose", "mod", "less", "more", "than",
    "sqrt", "sin", "cos", "tan", "log", "ln", "exp", "frac", "oo", "inf", "infinity", "i",
}  # fmt: skip
_NOT_CJK_UNITS = set("十百千万亿兆或和到点分之半加减乘除不非倍约错误吗否无没別")
_UNIT_NAMES = {
    "cm": "centimeter", "m": "meter", "km": "kilometer", "mm": "millimeter", "kg": "kilogram", "g": "gram",
    "in": "inch", "ft": "foot", "feet": "foot", "h": "hour", "hr": "hour", "min": "minute", "s": "second",
    "sec": "second", "deg": "degree", "inche": "inch", "centimetre": "centimeter", "metre": "meter",
    "kilometre": "kilometer", "pct": "percent", "percentage": "percent", "buck": "dollar", "usd": "dollar",
    "eur": "euro", "lb": "pound", "litre": "liter",
}  # fmt: skip
_KNOWN = (
    "cm m km mm kg g ft centimeter meter kilometer millimeter kilogram gram inch inche foot feet mile yard pound ounce "
    "liter gallon hour minute second day week month year degree percent dollar cent euro"
)
UNIT_WORDS = frozenset(_KNOWN.split())  # singular; units in any sentence, like "18 dollars every day"
_DEGREE = re.compile(r"(?:\^\s*\{?\s*\\circ\s*\}?|\\degree)\s*(?:\\(?:text|mathrm)\s*\{\s*)?([CF]?)\s*\}?")


def read_unit(text: str) -> str | None:
    """What follows a number, as a unit in normal form; empty if nothing does; None if it is no unit."""
    text = text.rstrip()
    stripped = text.lstrip()
    if not stripped:
        return ""
    if stripped in ("%", r"\%"):
        return "percent"
    if stripped in ("$", r"\$", "€", "£", "¥"):
        return _CURRENCIES[stripped[-1]]
    if degree := _DEGREE.fullmatch(stripped):
        return " ".join(["degree", *degree[1].casefold()])
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
    if match["words"] and not text[0].isspace() and words[0] not in _UNIT_NAMES:
        return None  # 5xy is a product, 5cm a length
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
    unit = read_unit(match["unit"])
    value = None if unit is None else _value(match)
    if value is None:
        return None
    if match["currency"]:
        unit = _CURRENCIES[match["currency"]]
    elif match["ratio_n"]:
        unit = "ratio"
    return Number(value, unit or "", len((match["decimal"] or "").partition(".")[2]))


_WORDS = re.compile(r"[^\W\d_]{3,}(?:[ '-]+[^\W\d_]{2,})*|no|[\u4e00-\u9fff]+")
_TIME = re.compile(r"[0-9]{1,2}:[0-5][0-9](?::[0-5][0-9])?(?:\s*[AaPp]\.?[Mm])?")
_OPTION = re.compile(
    r"(?:(?i:option|choice|选项)\s*)?(?:([A-J])|\(([A-Ja-j])\)|([A-Ja-j])\))(?:[:.]?\s+(?P<label>[^\n]*))?",
    re.DOTALL,
)
_ANOTHER_OPTION = re.compile(r"\([A-Ja-j]\)|\b[A-J]\b|\b(?:or|and|not)\b|或|和|不")
_ARTICLE = re.compile(r"(?:an?|the) (?=\w{3})")


@lru_cache(maxsize=8192)
def parse_words(text: str) -> str | None:
    """Reads an answer that is plain words or an option letter, in normal form; None if it is anything else."""
    if len(text) > MAX_ANSWER:
        return None
    text = clean(text)
    inside = _TEXT.fullmatch(text)
    text = clean(inside[1]) if inside else text
    option = _OPTION.fullmatch(_TEXT.sub(r"\1", text))
    if option and not _ANOTHER_OPTION.search(option["label"] or ""):
        return str(option[1] or option[2] or option[3]).upper()
    if _TIME.fullmatch(text):
        return text.replace(" ", "").replace(".", "").casefold()
    folded = _ARTICLE.sub("", " ".join(text.casefold().split()), count=1)
    return folded if _WORDS.fullmatch(folded) else None
