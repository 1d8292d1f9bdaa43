r"""Options of a multiple-choice question, and which of them a text chooses.

A choice is a letter (``B``, ``(B)``, ``b)``, ``Option B``, ``B) Paris``, ``选B``), several letters, an option's whole
text, or a sentence that states one of these (``The answer is B.``). Strict where a policy could hedge: whoever writes
``A or B``, ``not B``, or names another option beside the answer chooses nothing. Everything is linear in the text.
Left out: where in a completion the answer stands (``choice``).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from thinkery.rewards.answers.cleaning import LEAD_IN

LABELS = "ABCDEFGHIJ"
COLUMNS = ("choices", "options")

_WRAPPER = re.compile(r"\\(?:text|textbf|textit|mathbf|mathrm|mathit|operatorname|boxed|fbox|mbox|bf|rm)(?![A-Za-z])")
_DRESS = re.compile(r"\\[()\[\]]|\\[ ,;!]|\*\*|__|[${}`\"“”]")
_SPACES = re.compile(r"[^\S\n]+")
_BARE = re.compile(r"[(\[]?\s?([A-Ja-j])(?![A-Za-z'’\d])\s?[)\]]?")
_AND = re.compile(
    r"\s*(?:,\s*and\b|,|、|;|&|\+|/|\band\b|\bet\b|\bund\b|\by\b|和|及|与|と)\s*|\s+(?=[(\[]?[A-J](?![A-Za-z]))"
)
_LABEL_END = re.compile(r"\s*(?:$|[).:,;\]]|[–—-]\s|(?:because|since)\b|因为|由于)")
_LOWER_LABEL_END = re.compile(r"\s?[.):\]]")
_NOUN = re.compile(r"\s*(?:is\s+)?(?:(?:options?|choices?|answers?|letters?)\b|选项|选择|选)?\s*:?\s*", re.IGNORECASE)
_NO_SENTENCE = 16  # characters of a line that says nothing beside a letter
_RUN = re.compile(r"[A-J]{2,10}(?![A-Za-z])")
_PREFIX = re.compile(r"\s*[(\[]?([A-Ja-j])\s?[)\].:、]\s*(?=\S)")

_LABELLED_LINE = re.compile(r"(?:[(\[][A-J][)\]][.:]?|[A-J][.:)])\s+\S")
# What is said of the others beside an answer: ``A is incorrect``, ``note that C is a common distractor``.
_REJECTED = re.compile(
    r"(?:\b(?:note that|while|whereas|and|but|although)\s+)?(?:(?:option|"
    r"choice)\s+)?(?<![A-Za-z])[(\[]?([A-J])[)\]]?\s+(?:is|are|was)\s+"
    r"(?:clearly\s+|also\s+)?(?:incorrect|wrong|false|not\s+(?:correct|right|true)|(?:only\s+)?an?\s+(?:common\s+)?(?:distractor|trap|mistake))\b",
    re.IGNORECASE,
)
_STATED = re.compile(
    rf"(?<![A-Za-z])(?:{LEAD_IN}|(?:correct|right|best|true)\s+(?:option|choice|statement|one)\s+is\b\s*:?"
    r"|\bI\s+(?:would\s+|will\s+)?(?:choose|select|pick)\b|(?:应|故|应该|因此|所以)?(?:选择|选项为|选项是|选)\s*:?(?=\s*[(\[]?[A-J]))",
    re.IGNORECASE,
)
_CALLED_RIGHT = re.compile(
    r"(?<![A-Za-z])[(\[]?([A-J])[)\]]?\s*(?:(?:is|was)\s+(?:therefore\s+)?(?:the\s+)?(?:correct|right|best)\b|(?:是|为)?正确)"
)
_SENTENCE_END = re.compile(r"[\n。！？]|(?<![(\[ ][A-J])(?<!^[A-J])[.!?](?:\s|$)|[.!?]$")
_BECAUSE = re.compile(r"\b(?:because|since|weil|parce|porque)\b|因为|由于|なぜ|потому")
_DOUBT = re.compile(
    r"\b(?:or|not|no|neither|nor|either|maybe|perhaps|possibly|probably|might|could|wrong|incorrect|false|except|"
    r"unless|both|if|whether|oder|nicht|ou|pas|ni|или|не)\b|n['’]t\b|[?]|不|没|非|或|可能|也许|ない|かも",
    re.IGNORECASE,
)
_SECOND_THOUGHTS = re.compile(
    r"\b(?:or|alternatively|wait|actually|maybe|perhaps|possibly|might|could)\b|或|可能|等等|不对", re.IGNORECASE
)
# A letter that names an option; not the article of "A train" nor the "I" of "I think".
_VERB = r"(?:is|was|are|and|or|could|may|might|would|can|as|also|too|not|seems|looks)\b"
_MENTION = re.compile(rf"(?<![A-Za-z\\])([B-HJ]|A(?! (?!{_VERB})[a-z])|I(?! [a-z]))(?![A-Za-z'’])")


@dataclass(frozen=True)
class Options:
    """What can be chosen: texts by letter, in order, and other names of letters. Both empty where none are listed."""

    texts: Mapping[str, str] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, columns: Mapping[str, Any]) -> Options:
        """The options in the column ``choices`` or ``options``.

        Understood: a list of texts, ``{label: text}``, and ``{"text": [...], "label": [...]}``. Labels that are not
        letters from A to J, such as numbers, become letters by their place. Raises ``ValueError`` for more than ten.
        """
        given = next((columns[name] for name in COLUMNS if columns.get(name) is not None), ())
        labels: Iterable[Any] = LABELS
        if isinstance(given, Mapping):
            listed = "text" in given and not isinstance(given["text"], str)
            labels, given = (
                (given.get("label", LABELS), given["text"]) if listed else (given.keys(), list(given.values()))
            )
        if isinstance(given, str) or not hasattr(given, "__len__"):
            raise ValueError("its options are not a list of texts")
        if len(given) > len(LABELS):
            raise ValueError(f"it has more than {len(LABELS)} options")
        names = [str(label).strip().strip("().").upper() for label, _ in zip(labels, given, strict=False)]
        letters = names if all(name in LABELS and name for name in names) else list(LABELS[: len(given)])
        texts = {letter: _without_label(str(text), letter) for letter, text in zip(letters, given, strict=True)}
        return cls(texts, {name: letter for name, letter in zip(names, letters, strict=True) if name != letter})

    @property
    def letters(self) -> str:
        """The letters that can be chosen."""
        return "".join(self.texts) or LABELS

    def by_text(self, text: str) -> str | None:
        """The letter of the option with this whole text."""
        wanted = _plain(text)
        return next((letter for letter, own in self.texts.items() if wanted and _plain(own) == wanted), None)


def has_options(columns: Mapping[str, Any]) -> bool:
    """Whether a problem lists options."""
    return any(columns.get(name) is not None for name in COLUMNS)


def read_reference(reference: str, options: Options) -> frozenset[str] | None:
    """The letters that a reference names, as letters, labels or an option's text; None if it names none."""
    bare = undress(reference).strip("[]' ")
    named = options.aliases.get(bare) or options.by_text(bare)
    if named and bare.upper() not in options.letters:
        return frozenset(named)
    return _letters(bare.replace("'", ""), options) or _labelled(bare, options)


def read_choice(answer: str, options: Options, *, statement_only: bool = False) -> frozenset[str] | None:
    """The letters that an answer chooses, or None if it chooses nothing clearly.

    ``statement_only``: the answer is plain text, whose last line may be the choice but whose beginning is none.
    """
    text = undress(answer)
    whole = options.aliases.get(text) or options.by_text(text)
    if whole and text.upper() not in options.letters:
        return frozenset(whole)
    if chosen := _letters(text, options):
        return chosen
    states, chosen = _read_statements(text, options)
    if states:
        return chosen
    if statement_only:
        return _last_line(text, options)
    return _labelled(text, options)


def _last_line(text: str, options: Options) -> frozenset[str] | None:
    """What the last line chooses: letters alone, or one with its text (``B. Jupiter``) if no other line has a label."""
    *before, line = (part.strip() for part in text.strip().split("\n"))
    if chosen := _letters(line, options):
        return chosen
    if not _LABELLED_LINE.match(line) or any(_LABELLED_LINE.match(other) for other in before):
        return None
    return _labelled(line, options)


def mentions(text: str) -> bool:
    """Whether a text names any option by its letter; the letters of a formula name none."""
    plain = undress(text)
    return "\\" not in plain and _MENTION.search(plain) is not None


def undress(text: str) -> str:
    """A text without LaTeX, markdown and full-width forms around its words."""
    text = _DRESS.sub("", _WRAPPER.sub("", unicodedata.normalize("NFKC", text)))
    return _SPACES.sub(" ", text).strip()


def _read_statements(text: str, options: Options) -> tuple[bool, frozenset[str] | None]:
    """Whether a text states an answer, and which; None if what it states is unclear or contradicts itself."""
    found: set[frozenset[str] | None] = set()
    for match in _STATED.finditer(text):
        rest = text[match.end() : match.end() + 400].lstrip(" *:\n")
        end = _SENTENCE_END.search(rest)
        again = _STATED.search(rest, 0, end.start() if end else len(rest))
        if again and _labelled(rest[: again.start()].rstrip(" ,;"), options) is None:
            continue  # Answer: it is not B, the answer is D
        sentence = rest[: end.start()] if end else rest
        chosen = None if _DOUBT.search(_clause_before(text, match.start())) else _labelled(sentence, options)
        if chosen or _MENTION.search(sentence):
            after = rest[end.end() :] if end else ""
            short = " ".join(line for line in after.split("\n") if len(line.strip()) <= _NO_SENTENCE)
            contradicted = bool({mention[1] for mention in _MENTION.finditer(short)} - (chosen or frozenset()))
            found.add(None if contradicted or _taken_back(after) else chosen)
    for match in _CALLED_RIGHT.finditer(text):
        doubtful = _DOUBT.search(_clause_before(text, match.start())) or match[1] not in options.letters
        found.add(None if doubtful or _taken_back(text[match.end() : match.end() + 400]) else frozenset(match[1]))
    return bool(found), found.pop() if len(found) == 1 else None


def _taken_back(after: str) -> bool:
    """Whether what follows a statement weakens it and names an option: ``Or A.``"""
    return bool(_SECOND_THOUGHTS.search(after) and (_MENTION.search(after) or _RUN.search(after)))


def _clause_before(text: str, end: int) -> str:
    """What stands before ``end`` in the same clause."""
    return re.split(r"[.,;:!?\n。，；]", text[max(end - 120, 0) : end])[-1]


def _labelled(text: str, options: Options) -> frozenset[str] | None:
    """The letters that begin a text, before the option's text or an explanation; or those of an option's text."""
    text = text.strip().rstrip(".。!")
    if whole := options.by_text(text):
        return frozenset(whole)
    if chosen := _letters(text, options):
        return chosen
    text = text[_end(_NOUN, text) :]
    item = _BARE.match(text)
    if not item or item[1].upper() not in options.letters:
        return None
    letter, rest = item[1].upper(), text[item.end() :]
    if not _LABEL_END.match(text, item.end(1)) or (item[1].islower() and not _LOWER_LABEL_END.match(text, item.end(1))):
        return None  # the article of "A train"
    if _plain(rest.lstrip(" .:)-–—,=(")) == _plain(options.texts.get(letter, "")) != "":
        return frozenset(letter)
    explanation = _REJECTED.sub(
        lambda other: " " if other[1] != letter else other[0], _BECAUSE.split(rest, maxsplit=1)[0]
    )
    others = [text for other, text in options.texts.items() if other != letter and _plain(text)]
    named = {mention[1] for mention in _MENTION.finditer(explanation)} - {letter}
    if _DOUBT.search(explanation) or named or any(_contains(explanation, o) for o in others):
        return None
    return frozenset(letter)


def _letters(text: str, options: Options) -> frozenset[str] | None:
    """The letters of a text that is nothing but letters: ``B``, ``(a)``, ``A, C``, ``A and C``, ``ACD``."""
    text = text.strip().rstrip(".。!:")
    text = text[_end(_NOUN, text) :]
    run = _RUN.fullmatch(text)
    if run:
        ascending = all(first < second for first, second in pairwise(text))
        return frozenset(text) if ascending and set(text) <= set(options.letters) else None
    letters: list[str] = []
    position = 0
    while item := _BARE.match(text, position):
        letters.append(item[1].upper())
        position = item.end()
        if position == len(text):
            return frozenset(letters) if set(letters) <= set(options.letters) else None
        separator = _AND.match(text, position)
        if not separator or len(letters) > len(LABELS):
            return None
        position = separator.end()
    return None


def _end(pattern: re.Pattern[str], text: str) -> int:
    match = pattern.match(text)
    return match.end() if match else 0


def _plain(text: str) -> str:
    """A text for comparison: undressed, case and spaces aside, without a final dot."""
    return " ".join(undress(text).casefold().split()).rstrip(".。 ")


def _contains(text: str, option: str) -> bool:
    """Whether an option's text stands in a text as words of their own."""
    return re.search(rf"(?<!\w){re.escape(_plain(option))}(?!\w)", _plain(text)) is not None


def _without_label(text: str, letter: str) -> str:
    """An option's text without the label that it may carry itself: ``B) Paris``."""
    label = _PREFIX.match(text)
    return text[label.end() :] if label and label[1].upper() == letter else text


def spell(letters: Iterable[str]) -> str:
    """The letters in normal form: ``A, C``."""
    return ", ".join(sorted(letters))
