r"""The forms in which plain text asserts a value: ``She makes 18 dollars every day.``, ``她每天赚18美元。``

A sentence asserts its one number if it is built of the words listed here and no others: who or what, a verb right
before the number, and after it a unit, a time or a place. No listed word takes back, weakens or changes a value, so
``under 7``, ``far from 7``, ``I doubt that it is 7`` and a negation in any language are no assertions. English,
Chinese,
French, German, Spanish, Japanese, Russian. Left out: formulas that introduce an answer (``cleaning.LEAD_IN``).
"""

from __future__ import annotations

import re

from thinkery.rewards.answers.units import read_unit

_OPENERS = (
    r"(?:so|thus|hence|therefore|then|finally|altogether|overall|in total|in all|in the end|together|as a result|"
    r"consequently|now|we get|we find|we have|we obtain|this gives|that gives|this means|it follows that|donc|ainsi|"
    r"au total|finalement|also|insgesamt|somit|folglich|zusammen|por lo tanto|entonces|así|en total|итак|значит|всего)"
)
_NOUNS = (
    "total answer result value sum number amount area volume probability perimeter circumference length width height "
    "distance time cost price speed rate age difference product ratio average mean median remainder maximum minimum "
    "solution profit weight mass angle slope point radius diameter balance salary income money "
    "savings score temperature "
    "percentage discount tax fare bill change population count ways people students children apples "
    "eggs miles hours days "
    "minutes dollars digits numbers integers terms roots solutions sides angles coefficients values "
    "lengths ages pages items books marbles candies cookies cards tickets points games cars"
)
_ADJECTIVES = (
    "total final correct required desired whole combined overall exact new remaining original average minimum maximum"
)
_OWNERS = "the a an her his their its our my your this that each"
_PRONOUNS = "he she it they we you there this that"
_VERBS = (
    "is are was were has have had equals makes make made earns earn earned gets get got costs cost "
    "pays pay paid needs need "
    "needed spends spend spent saves save saved sells sell sold buys buy bought eats ate uses used "
    "takes took gives gave "
    "drives drove walks walked runs ran travels traveled reads read collects collected weighs "
    "receives received contains "
    "holds owes works worked bakes baked grew contained becomes comes totals"
)
_BETWEEN = r"(?:a total of|in total|exactly|now|by|to|equal to|left with|also|then|just about to)"
_AFTER = (
    "left remaining each every per a an in total all altogether together day days week weeks month "
    "months year years hour "
    "hours minute minutes away at the farmers farmer market of for to her his their on today now "
    "tomorrow trip altogether "
    "school home store class group box bag him them high tall long wide old deep"
)
_OF = "of from for in on the a her his their"
_NAME = r"[A-Z][a-zé]{2,14}"
_NOBODY = frozenset(
    [
        "Nobody",
        "None",
        "Neither",
        "Nothing",
        "Nowhere",
        "Never",
        "Hardly",
        "Scarcely",
        "Barely",
        "Rarely",
        "Seldom",
        "Few",
        "Not",
        "Noone",
    ]
)


def _any(words: str) -> str:
    return "(?:" + "|".join(words.split()) + ")"


_PHRASE = (
    rf"(?:{_any(_OWNERS)}\s+)?(?:{_any(_ADJECTIVES)}\s+){{0,2}}{_any(_NOUNS)}"
    rf"(?:\s+of(?:\s+{_any(_OWNERS)})?(?:\s+{_any(_ADJECTIVES)})?\s+{_any(_NOUNS)})?"
)
_ENGLISH = re.compile(
    rf"(?:(?i:{_OPENERS}),?\s+)*(?:(?P<name>{_NAME})(?=\s+(?!is\b|equals\b|was\b|are\b))|(?i:{_any(_PRONOUNS)}|{_PHRASE}))"
    rf"\s+(?:will\s+)?{_any(_VERBS)}(?:\s+{_BETWEEN})?\s*:?\s*"
)
_ENGLISH_TAIL = re.compile(rf"(?:{_any(_AFTER)}(?:'s?)?[\s,]*)*", re.IGNORECASE)
# Of each language: what may stand before the number, ending in a verb; and after its unit.
_OTHERS = (
    (r"(?:所以|因此|那么|于是)?[,，]?(?:她|他|它|我们|他们|一|总|每天|每周|每月|每年|小明|一天|共|总共|一共|合计|答案|结果|总数|概率|面积|"
     r"体积|周长)*(?:是|为|有|赚|共|得到|得|等于|需要|花|剩|剩下|一共|总共|花费)了?", r"(?:钱|左右)?"),
    (r"(?:(?:donc|ainsi|au total),?\s+)*(?:(?:elle|il|on|nous|ils|elles)|(?:le|la)\s+(?:total|somme|"
    r"résultat|réponse|prix|"
     r"probabilité|aire|valeur))\s+(?:gagne|a|est|coûte|vaut|reste|obtient|paie|dépense)(?:\s+de)?",
     r"(?:par\s+(?:jour|semaine|mois|an|heure))?"),
    (r"(?:(?:also|insgesamt|somit|folglich)\s+)*(?:(?:sie|er|es|wir)|(?:der|die|das)\s+(?:summe|ergebnis|preis|fläche|"
     r"wahrscheinlichkeit|wert|lösung))\s+(?:verdient|hat|ist|kostet|beträgt|bekommt|zahlt|braucht)",
     r"(?:(?:am|pro|im)\s+(?:tag|woche|monat|jahr|stunde))?"),
    (r"(?:(?:por lo tanto|entonces|así),?\s+)*(?:(?:ella|él|ellos|nosotros)|(?:el|la)\s+(?:total|suma|"
    r"resultado|precio|área|"
     r"probabilidad|valor))\s+(?:gana|tiene|es|cuesta|recibe|paga|gasta|necesita)",
     r"(?:(?:al|por)\s+(?:día|semana|mes|año|hora))?"),
    (r"(?:(?:彼女|彼|私たち|合計|全部|答え|結果|面積|体積|確率)(?:は|で|が)?)+",
     r"(?:です|である|だ|になります|となる)?"),
    (r"(?:(?:итак|значит|всего),?\s+)*(?:она|он|они|мы|сумма|результат|цена|площадь|вероятность)\s+"
     r"(?:зарабатывает|имеет|получает|платит|стоит|равна|равен|тратит)", r"(?:в\s+(?:день|неделю|месяц|год|час))?"),
)  # fmt: skip
_LANGUAGES = tuple((re.compile(before, re.IGNORECASE), re.compile(after, re.IGNORECASE)) for before, after in _OTHERS)
_UNIT = re.compile(r"\\?%|[€£¥]|[A-Za-z]+[²³]?|[^\W\d_]+")


def asserted(before: str, number: str, after: str) -> str | None:
    """The number with its unit, if the sentence that it stands in is a listed assertion; else None."""
    before, after = before.strip(), after.strip().rstrip(".。!").strip()
    english = _ENGLISH.fullmatch(before + " ")
    if english and english["name"] not in _NOBODY:
        return _with_unit(number, after, _ENGLISH_TAIL)
    for opening, tail in _LANGUAGES:
        if opening.fullmatch(before):
            return _with_unit(number, after, tail)
    return None


def _with_unit(number: str, after: str, tail: re.Pattern[str]) -> str | None:
    """The number, with the unit that follows where it is one, if what else follows is listed."""
    word = _UNIT.match(after)
    if (
        word is not None
        and read_unit(f" {word[0]}")
        and (tail.fullmatch(after[word.end() :].strip()) or _cjk_tail(after))
    ):
        return f"{number} {word[0]}"
    return number if tail.fullmatch(after) else None


def _cjk_tail(after: str) -> bool:
    unit = after.removesuffix("です").removesuffix("钱")
    return read_unit(unit) is not None
