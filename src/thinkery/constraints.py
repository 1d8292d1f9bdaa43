"""Constraints on a text that a plain rule can check, in the manner of IFEval: words, items, beginnings, letters, JSON.

A problem carries them in its column ``constraints``: a list of mappings, each with a ``type`` and that type's fields.
Texts are compared in a normal form (NFKC, small letters, ``。`` as a full stop, Chinese characters as words of their
own), unless the rule is about case. Every rule is linear in the text's length. Left out: what the text means, and
languages of one script, which need a model (``rewards.instruction``).
"""

from __future__ import annotations

import json
import re
import unicodedata
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, ValidationError, model_validator

_CJK = re.compile(r"[\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_STOPS = re.compile(r"[.!?]+(?=\s|$)|[!?。！？…]+")
_SAME = str.maketrans({"。": ".", "“": '"', "”": '"', "‘": "'", "’": "'"})
_EDGES = " \t\r\n.,;:!?。、\"'()[]"
Texts = Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)]


def normal(text: str) -> str:
    """The normal form in which texts are compared."""
    text = unicodedata.normalize("NFKC", text).translate(_SAME).casefold()
    return " ".join(_CJK.sub(r" \g<0> ", text).split())


def words(text: str) -> list[str]:
    """The words of a text; a Chinese or Japanese character is one."""
    return _WORD.findall(normal(text))


def occurrences(text: str, phrase: str) -> int:
    """How often a phrase occurs in a text, as whole words."""
    return len(_pattern(phrase).findall(normal(text)))


@cache
def _pattern(phrase: str) -> re.Pattern[str]:
    phrase = normal(phrase)
    before = r"(?<![^\W_])" if phrase[:1].isalnum() else ""
    after = r"(?![^\W_])" if phrase[-1:].isalnum() else ""
    return re.compile(before + re.escape(phrase) + after)


class Rule(BaseModel):
    """One constraint; its fields are what a problem may write."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    type: str

    @abstractmethod
    def holds(self, text: str) -> bool:
        """Whether the text keeps it."""

    def __str__(self) -> str:
        fields = self.model_dump(exclude={"type"}, exclude_defaults=True)
        return " ".join([self.type, *(f"{name}={value!r}" for name, value in fields.items())])


class Equals(Rule):
    """The text is one of ``any``, whatever its case; a full stop more or less doesn't matter."""

    type: Literal["equals"]
    any: Texts

    def holds(self, text: str) -> bool:
        """Whether it is."""
        return _unstopped(text) in {_unstopped(option) for option in self.any}


class Contains(Rule):
    """At least one of ``any`` occurs, ``count`` times or more, as whole words."""

    type: Literal["contains"]
    any: Texts
    count: PositiveInt = 1

    def holds(self, text: str) -> bool:
        """Whether it does."""
        return any(occurrences(text, phrase) >= self.count for phrase in self.any)


class Excludes(Rule):
    """None of ``any`` occurs, as whole words."""

    type: Literal["excludes"]
    any: Texts

    def holds(self, text: str) -> bool:
        """Whether none does."""
        return not any(occurrences(text, phrase) for phrase in self.any)


class ExcludesLetters(Rule):
    """None of the letters (or signs) of ``letters`` occurs, small or capital."""

    type: Literal["excludes_letters"]
    letters: Annotated[str, Field(min_length=1)]

    def holds(self, text: str) -> bool:
        """Whether none does."""
        return set(normal(self.letters)).isdisjoint(normal(text))


class _Amount(Rule):
    """So many of something: exactly ``count``, or from ``min`` to ``max``."""

    count: NonNegativeInt | None = None
    min: NonNegativeInt | None = None
    max: NonNegativeInt | None = None

    @model_validator(mode="after")
    def _says_how_many(self) -> _Amount:
        if self.count is None and self.min is None and self.max is None:
            raise ValueError("says how many by count, min or max")
        return self

    def allows(self, amount: int) -> bool:
        """Whether so many are right."""
        if self.count is not None and amount != self.count:
            return False
        return (self.min is None or amount >= self.min) and (self.max is None or amount <= self.max)


class _Counted(_Amount):
    """So many of something that every text has a number of."""

    @abstractmethod
    def amount(self, text: str) -> int:
        """How many the text has."""

    def holds(self, text: str) -> bool:
        """Whether the text has so many."""
        return self.allows(self.amount(text))


class Words(_Counted):
    """The number of words; a Chinese or Japanese character is one."""

    type: Literal["words"]

    def amount(self, text: str) -> int:
        """How many."""
        return len(words(text))


class Characters(_Counted):
    """The number of characters, without the spaces around the text."""

    type: Literal["characters"]

    def amount(self, text: str) -> int:
        """How many."""
        return len(text.strip())


class Sentences(_Counted):
    """The number of sentences: what ends with a full stop, a question or an exclamation mark, or with the text."""

    type: Literal["sentences"]

    def amount(self, text: str) -> int:
        """How many."""
        return sum(bool(_WORD.search(part)) for part in _STOPS.split(text))


class Lines(_Counted):
    """The number of lines that are not empty."""

    type: Literal["lines"]

    def amount(self, text: str) -> int:
        """How many."""
        return sum(bool(line.strip()) for line in text.splitlines())


class Paragraphs(_Counted):
    """The number of paragraphs, which empty lines part."""

    type: Literal["paragraphs"]

    def amount(self, text: str) -> int:
        """How many."""
        return sum(bool(part.strip()) for part in re.split(r"\n[^\S\n]*\n", text))


class Items(_Amount):
    """The number of items between ``separator``s, each of them one of ``among`` and no two the same."""

    type: Literal["items"]
    separator: Annotated[str, Field(min_length=1)]
    among: Texts | None = None
    distinct: bool = True

    def holds(self, text: str) -> bool:
        """Whether there are so many, and of the right kind."""
        separator = unicodedata.normalize("NFKC", self.separator)
        parts = unicodedata.normalize("NFKC", text).strip(_EDGES).split(separator)
        items = [normal(part.strip(_EDGES)) for part in parts]
        if not all(items) or not self.allows(len(items)):
            return False
        if self.among is not None and not set(items) <= {normal(option) for option in self.among}:
            return False
        return not self.distinct or len(set(items)) == len(items)


class StartsWith(Rule):
    """The text starts with ``text``, whatever its case."""

    type: Literal["starts_with"]
    text: Annotated[str, Field(min_length=1)]

    def holds(self, text: str) -> bool:
        """Whether it does."""
        return _pattern(self.text).match(normal(text)) is not None


class EndsWith(Rule):
    """The text ends with ``text``, whatever its case; a word may have a full stop or the like after it."""

    type: Literal["ends_with"]
    text: Annotated[str, Field(min_length=1)]

    def holds(self, text: str) -> bool:
        """Whether it does."""
        ending, text = normal(self.text), normal(text)
        if ending[-1:].isalnum():
            text = text.rstrip(_EDGES)
        start = len(text) - len(ending)
        return start >= 0 and _pattern(self.text).match(text, start) is not None


class Case(Rule):
    """Every letter that has a case is a capital (``upper``) or a small one (``lower``)."""

    type: Literal["case"]
    value: Literal["upper", "lower"]

    def holds(self, text: str) -> bool:
        """Whether all of them are, and there are any."""
        return text.isupper() if self.value == "upper" else text.islower()


class Repeats(Rule):
    """The text is ``text`` so many times and nothing else; what stands between doesn't matter if it is no word."""

    type: Literal["repeats"]
    text: Annotated[str, Field(min_length=1)]
    count: PositiveInt

    def holds(self, text: str) -> bool:
        """Whether it is."""
        found = words(text)
        return bool(found) and found == words(self.text) * self.count


class Json(Rule):
    """The text is one JSON value without anything around it: an object with ``keys``, or just ``value``."""

    type: Literal["json"]
    keys: Texts | None = None
    value: Any = None

    def holds(self, text: str) -> bool:
        """Whether it is."""
        try:
            read = json.loads(text)
            if self.keys is not None and not (isinstance(read, dict) and set(read) == set(self.keys)):
                return False
            return self.value is None or _dumped(read) == _dumped(self.value)
        except (ValueError, RecursionError):
            return False


RULES: Mapping[str, type[Rule]] = {
    "equals": Equals,
    "contains": Contains,
    "excludes": Excludes,
    "excludes_letters": ExcludesLetters,
    "words": Words,
    "characters": Characters,
    "sentences": Sentences,
    "lines": Lines,
    "paragraphs": Paragraphs,
    "items": Items,
    "starts_with": StartsWith,
    "ends_with": EndsWith,
    "case": Case,
    "repeats": Repeats,
    "json": Json,
}


def read_rules(constraints: object, rules: Mapping[str, type[Rule]] = RULES) -> list[Rule]:
    """The rules that a column ``constraints`` holds.

    Raises ``ValueError`` that says which constraint is wrong and what is allowed.
    """
    if not isinstance(constraints, Sequence) or isinstance(constraints, str) or not constraints:
        raise ValueError("constraints is a list of mappings such as {type: words, max: 20}, at least one")
    return [_read(f"constraints[{i}]", constraint, rules) for i, constraint in enumerate(constraints)]


def _read(where: str, constraint: object, rules: Mapping[str, type[Rule]]) -> Rule:
    if not isinstance(constraint, Mapping) or constraint.get("type") not in rules:
        found = constraint.get("type") if isinstance(constraint, Mapping) else constraint
        raise ValueError(f"{where}: type = {found!r}; allowed: {', '.join(rules)}")
    rule = rules[constraint["type"]]
    # A data set with columns of one type each fills the fields of other constraints with None.
    given = {name: value for name, value in constraint.items() if value is not None}
    try:
        return rule.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        allowed = ", ".join(name for name in rule.model_fields if name != "type")
        about = f"{field}: " if field else ""
        message = f"{about}{first['msg'].removeprefix('Value error, ')}"
        raise ValueError(f"{where} ({constraint['type']}): {message}; fields: {allowed}") from None


def _unstopped(text: str) -> str:
    return normal(text).removesuffix(".").rstrip()


def _dumped(value: object) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
