r"""IFEval's 25 instructions (Zhou et al. 2023, arXiv 2311.07911) as rules, under IFEval's own names and fields.

Judged strictly: the answer as it is. Beside IFEval's ``less than`` and ``at least`` a relation may be ``at most``,
``exactly`` or ``around`` (10 %, one at least), which Tulu's sets ask for. Keywords are text, no patterns; sentences
end at marks that no usual abbreviation explains; languages are told apart as everywhere here (``language``). Left out:
IFEval's loose reading, which tries the answer again without its first and last lines.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from thinkery.constraints import Rule, Texts
from thinkery.rewards.language import language_proportion

Relation = Literal["less than", "at least", "at most", "around", "exactly"]
Text = Annotated[str, Field(min_length=1)]

_CONSTRAINED = ["My answer is yes.", "My answer is no.", "My answer is maybe."]
_WORD = re.compile(r"\w+")
_TOKEN = re.compile(r"[^\W_]+(?:[.'’-][^\W_]+)*")
_ABBREVIATIONS = re.compile(r"\b(?:Mr|Mrs|Ms|Dr|Prof|St|Jr|Sr|vs|etc|e\.g|i\.e|No|Inc|Ltd|Co|[A-Z])\.(?=\s)")
_STOPS = re.compile(r"[.!?]+[\"')\]”’]*(?=\s|$)|[。！？]+")
_PARAGRAPH = re.compile(r"\s?\*\*\*\s?")
_ENGLISH, _ALL = 0.5, 0.9  # shares of the words that must be of the language


def _is(amount: int, relation: Relation, wanted: int) -> bool:
    """Whether an amount is what the relation to ``wanted`` asks for."""
    if relation == "around":
        return abs(amount - wanted) <= max(round(wanted * 0.1), 1)
    return {
        "less than": amount < wanted, "at least": amount >= wanted, "at most": amount <= wanted,
        "exactly": amount == wanted,
    }[relation]  # fmt: skip


def _is_english(text: str) -> bool:
    proportion = language_proportion(text.lower(), "en")
    return proportion is None or proportion >= _ENGLISH


def _count(text: str, phrase: str) -> int:
    return len(re.findall(re.escape(phrase.strip()), text, re.IGNORECASE))


class Existence(Rule):
    """Every one of ``keywords`` occurs, whatever its case."""

    type: Literal["keywords:existence"]
    keywords: Texts

    def holds(self, text: str) -> bool:
        """Whether they do."""
        return all(_count(text, keyword) for keyword in self.keywords)


class Frequency(Rule):
    """``keyword`` occurs so often: as part of words too, as IFEval counts, unless it is to be exactly so often."""

    type: Literal["keywords:frequency"]
    keyword: Text
    frequency: NonNegativeInt
    relation: Relation

    def holds(self, text: str) -> bool:
        """Whether it does."""
        if self.relation == "exactly":
            return len(re.findall(rf"(?<!\w){re.escape(self.keyword)}(?!\w)", text, re.IGNORECASE)) == self.frequency
        return _is(_count(text, self.keyword), self.relation, self.frequency)


class ForbiddenWords(Rule):
    """None of ``forbidden_words`` occurs as a word."""

    type: Literal["keywords:forbidden_words"]
    forbidden_words: Texts

    def holds(self, text: str) -> bool:
        """Whether none does."""
        words = "|".join(re.escape(word) for word in self.forbidden_words)
        return re.search(rf"(?<!\w)(?:{words})(?!\w)", text, re.IGNORECASE) is None


class LetterFrequency(Rule):
    """``letter`` occurs so often, small or capital."""

    type: Literal["keywords:letter_frequency"]
    letter: Annotated[str, Field(min_length=1, max_length=1)]
    let_frequency: NonNegativeInt
    let_relation: Relation

    def holds(self, text: str) -> bool:
        """Whether it does."""
        return _is(text.lower().count(self.letter.lower()), self.let_relation, self.let_frequency)


class ResponseLanguage(Rule):
    """The whole answer is in ``language`` (an ISO 639 code)."""

    type: Literal["language:response_language"]
    language: Text

    def holds(self, text: str) -> bool:
        """Whether it is."""
        proportion = language_proportion(text, self.language)
        return proportion is not None and proportion >= _ALL


class NumberSentences(Rule):
    """So many sentences."""

    type: Literal["length_constraints:number_sentences"]
    num_sentences: NonNegativeInt
    relation: Relation

    def holds(self, text: str) -> bool:
        """Whether there are."""
        whole = _ABBREVIATIONS.sub(lambda match: match.group().replace(".", ""), text)
        amount = sum(bool(_WORD.search(part)) for part in _STOPS.split(whole))
        return _is(amount, self.relation, self.num_sentences)


class NumberParagraphs(Rule):
    """So many paragraphs, which ``***`` parts."""

    type: Literal["length_constraints:number_paragraphs"]
    num_paragraphs: NonNegativeInt

    def holds(self, text: str) -> bool:
        """Whether there are, and none between two others is empty."""
        parts = [part.strip() for part in _PARAGRAPH.split(text.replace("* * *", "***"))]
        inner = parts[bool(not parts[0]) : len(parts) - bool(not parts[-1])]
        return all(inner) and len(inner) == self.num_paragraphs


class NumberWords(Rule):
    """So many words."""

    type: Literal["length_constraints:number_words"]
    num_words: NonNegativeInt
    relation: Relation

    def holds(self, text: str) -> bool:
        """Whether there are."""
        return _is(len(_WORD.findall(text)), self.relation, self.num_words)


class NthParagraphFirstWord(Rule):
    """So many paragraphs, which empty lines part, and the ``nth_paragraph`` (from 1) starts with ``first_word``."""

    type: Literal["length_constraints:nth_paragraph_first_word"]
    num_paragraphs: PositiveInt
    nth_paragraph: PositiveInt
    first_word: Text

    def holds(self, text: str) -> bool:
        """Whether it is so."""
        paragraphs = [part.strip() for part in re.split(r"\n\n", text) if part.strip()]
        if len(paragraphs) != self.num_paragraphs or self.nth_paragraph > len(paragraphs):
            return False
        first = paragraphs[self.nth_paragraph - 1].split()[0].lstrip("'\"")
        return re.split(r"[.,?!'\"]", first)[0].lower() == self.first_word.lower()


class Placeholders(Rule):
    """At least so many placeholders such as ``[address]``."""

    type: Literal["detectable_content:number_placeholders"]
    num_placeholders: NonNegativeInt

    def holds(self, text: str) -> bool:
        """Whether there are."""
        return len(re.findall(r"\[[^\[\]\n]*\]", text)) >= self.num_placeholders


class Postscript(Rule):
    """A postscript begins with ``postscript_marker``, whatever its case and spaces."""

    type: Literal["detectable_content:postscript"]
    postscript_marker: Text

    def holds(self, text: str) -> bool:
        """Whether there is one."""
        letters = self.postscript_marker.strip().rstrip(".").split(".")
        end = r"\." if self.postscript_marker.strip() == "P.S." else ""
        pattern = r"\.\s?".join(re.escape(letter.strip()) for letter in letters) + end
        return re.search(rf"(?<!\w\.)(?<!\w){pattern}", text, re.IGNORECASE) is not None


class BulletLists(Rule):
    """Exactly so many bullet points, lines that begin with ``*`` or ``-``."""

    type: Literal["detectable_format:number_bullet_lists"]
    num_bullets: NonNegativeInt

    def holds(self, text: str) -> bool:
        """Whether there are."""
        return len(re.findall(r"^[^\S\n]*(?:\*[^*\n].*|-.*)$", text, re.MULTILINE)) == self.num_bullets


class ConstrainedResponse(Rule):
    """One of ``options`` occurs; IFEval's are ``My answer is yes.``, ``no.`` and ``maybe.``"""

    type: Literal["detectable_format:constrained_response"]
    options: Texts = _CONSTRAINED

    def holds(self, text: str) -> bool:
        """Whether one does."""
        return any(option in text for option in self.options)


class HighlightedSections(Rule):
    """At least so many parts are highlighted, ``*so*`` or ``**so**``."""

    type: Literal["detectable_format:number_highlighted_sections"]
    num_highlights: NonNegativeInt

    def holds(self, text: str) -> bool:
        """Whether there are."""
        found = re.findall(r"\*\*[^\n*]*\*\*|\*[^\n*]*\*", text)
        return sum(bool(part.strip("*").strip()) for part in found) >= self.num_highlights


class MultipleSections(Rule):
    """At least so many sections begin with ``section_spliter`` and a number."""

    type: Literal["detectable_format:multiple_sections"]
    section_spliter: Text
    num_sections: NonNegativeInt

    def holds(self, text: str) -> bool:
        """Whether there are."""
        return len(re.findall(re.escape(self.section_spliter.strip()) + r"\s?\d+", text)) >= self.num_sections


class JsonFormat(Rule):
    """The answer is JSON, perhaps in a code block."""

    type: Literal["detectable_format:json_format"]

    def holds(self, text: str) -> bool:
        """Whether it is."""
        inside = re.fullmatch(r"```(?:json)?\s*(.*?)\s*```", text.strip(), re.DOTALL | re.IGNORECASE)
        try:
            json.loads(inside[1] if inside else text)
        except (ValueError, RecursionError):
            return False
        return True


class Title(Rule):
    """A title stands in ``<<double angular brackets>>``."""

    type: Literal["detectable_format:title"]

    def holds(self, text: str) -> bool:
        """Whether one does."""
        return any(title.strip("<> ") for title in re.findall(r"<<[^\n]+?>>", text))


class TwoResponses(Rule):
    """Two different answers, which ``******`` parts."""

    type: Literal["combination:two_responses"]

    def holds(self, text: str) -> bool:
        """Whether there are two, and they differ."""
        parts = [part.strip() for part in text.split("******")]
        inner = parts[bool(not parts[0]) : len(parts) - bool(not parts[-1])]
        return len(inner) == 2 and all(inner) and inner[0] != inner[1]


class RepeatPrompt(Rule):
    """The answer begins with ``prompt_to_repeat``, whatever its case."""

    type: Literal["combination:repeat_prompt"]
    prompt_to_repeat: Text

    def holds(self, text: str) -> bool:
        """Whether it does."""
        return text.strip().lower().startswith(self.prompt_to_repeat.strip().lower())


class EndChecker(Rule):
    """The answer ends with ``end_phrase``, whatever its case; quotation marks around the answer don't count."""

    type: Literal["startend:end_checker"]
    end_phrase: Text

    def holds(self, text: str) -> bool:
        """Whether it does."""
        return text.strip().strip('"').lower().endswith(self.end_phrase.strip().lower())


class Quotation(Rule):
    """Double quotation marks stand around the whole answer."""

    type: Literal["startend:quotation"]

    def holds(self, text: str) -> bool:
        """Whether they do."""
        text = text.strip()
        return len(text) > 1 and text[0] == text[-1] == '"'


class CapitalWordFrequency(Rule):
    """So many words are written in capitals alone."""

    type: Literal["change_case:capital_word_frequency"]
    capital_frequency: NonNegativeInt
    capital_relation: Relation

    def holds(self, text: str) -> bool:
        """Whether they are."""
        amount = sum(word.isupper() for word in _TOKEN.findall(text))
        return _is(amount, self.capital_relation, self.capital_frequency)


class EnglishCapital(Rule):
    """English, in capitals alone."""

    type: Literal["change_case:english_capital"]

    def holds(self, text: str) -> bool:
        """Whether it is."""
        return text.isupper() and _is_english(text)


class EnglishLowercase(Rule):
    """English, in small letters alone."""

    type: Literal["change_case:english_lowercase"]

    def holds(self, text: str) -> bool:
        """Whether it is."""
        return text.islower() and _is_english(text)


class NoComma(Rule):
    """No comma occurs."""

    type: Literal["punctuation:no_comma"]

    def holds(self, text: str) -> bool:
        """Whether none does."""
        return "," not in text


def _name_of(rule: type[Rule]) -> str:
    name: Any = rule.model_fields["type"].annotation
    return str(name.__args__[0])


IFEVAL: Mapping[str, type[Rule]] = {
    _name_of(rule): rule
    for rule in (
        Existence, Frequency, ForbiddenWords, LetterFrequency, ResponseLanguage, NumberSentences, NumberParagraphs,
        NumberWords, NthParagraphFirstWord, Placeholders, Postscript, BulletLists, ConstrainedResponse,
        HighlightedSections, MultipleSections, JsonFormat, Title, TwoResponses, RepeatPrompt, EndChecker, Quotation,
        CapitalWordFrequency, EnglishCapital, EnglishLowercase, NoComma,
    )
}  # fmt: skip
