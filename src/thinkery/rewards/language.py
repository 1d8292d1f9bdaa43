"""R_language of DeepSeek-R1: the share of the thinking's words that are in the language of the question.

Words are what is left when formulas, code and symbols are gone; their script decides, and among languages of one script
a model (``words.py``). The share is a proportion, and None where nothing counts.

What is removed: fenced and inline code, LaTeX (inline, display, environments, commands), tags, URLs, acronyms. A
formula or a code block is no hiding place: a long enough stretch of plain words inside one stays. Every step is linear
in the text's length.

What is said twice counts once, in whichever language, so that repetition changes nothing: words count that lie in a run
of four words, or eight characters, that did not occur before. Left out: whether what is said makes sense, and names: a
list of French names may pass for French.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from thinkery.rewards.interfaces import ModelText, RewardContext, Values, text_of
from thinkery.rewards.words import (
    HAN,
    KANA,
    characters_of,
    extra_words,
    identifier,
    others_of,
    require_language,
    scripts_of,
    split_chinese_japanese,
    words_and_marks_of,
    words_of,
)
from thinkery.types import UserError

# What ends the spans that code (with the drawings of MATH, [asy]) and formulas open.
_CODE = {"```": "```", "~~~": "~~~", "``": "``", "`": "`", "[asy]": "[/asy]"}
_CLOSERS = _CODE | {"$$": "$$", "$": "$", r"\[": r"\]", r"\(": r"\)"}
_ONE_LINE = ("``", "`", "$")
_ENVIRONMENTS = "equation|align|aligned|gather|multline|cases|array|tabular|[pbvV]?matrix"
_OPENERS = re.compile(rf"\\[$`]|```|~~~|``?|\$\$?|\\[\[(]|\[asy\]|\\begin\{{(?:{_ENVIRONMENTS})\*?\}}")

# How many words in a row make prose. Comments in code are rarely longer than a line of ten words.
_PROSE_IN_FORMULA, _PROSE_IN_CODE = 4, 12
_STRETCH = re.compile(r"(?:[^\W_]|[ \t,.;:!?'’。，、；：！？-])+")
_LONG_WORD = re.compile(r"[^\W\d_\u3000-\u30ff\u3400-\u9fff]{2,}")
_CJK = re.compile(r"[\u3041-\u30ff\u3400-\u9fff]")

_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060-\u2064\ufe00-\ufe0f\ufeff]")
_MARKUP = re.compile(
    r"\\(?:begin|end)\{[^{}\n]{0,30}\}|\\[A-Za-z]+"  # LaTeX outside formulas
    r"|</?[A-Za-z][A-Za-z0-9_-]{0,30}\s?/?>|<\|[^|<>\n]{1,40}\|>"  # tags and special tokens
    r"|(?:https?://|www\.)[!-~]+"
)
_LONGEST_ACRONYM = 5
_CAPITALS = re.compile("[A-Z]{2,}")


def strip_symbols(text: str) -> str:
    """The prose of ``text`` in normal form (NFKC), with spaces where something was removed."""
    if not text.isascii():
        text = _INVISIBLE.sub("", unicodedata.normalize("NFKC", text))
    text = _without_spans(text)
    if "\\" in text or "<" in text or "://" in text or "www." in text:
        text = _MARKUP.sub(" ", text)
    return _CAPITALS.sub(_without_acronym, text)


def _without_acronym(match: re.Match[str]) -> str:
    """An acronym or a triangle's name is no word, but prose in capitals is prose."""
    text, start, end = match.string, match.start(), match.end()
    before, after = text[max(start - 2, 0) : start], text[end : end + 3]
    alone = not (before[-1:].isalnum() or after[:1].isalnum() or before.strip().isupper() or after.strip().isupper())
    return " " if alone and end - start <= _LONGEST_ACRONYM else match.group()


def _without_spans(text: str) -> str:
    """The text with its code and formulas replaced by the prose that they hold."""
    parts: list[str] = []
    unclosed: set[str] = set()  # closers that do not come any more, so that none is looked for twice
    done = position = 0
    while match := _OPENERS.search(text, position):
        opener, position = match.group(), match.end()
        closer = _CLOSERS.get(opener) or opener.replace("begin", "end")
        if opener in (r"\$", r"\`") or closer in unclosed:
            continue
        end = text.find(closer, position)
        if end < 0 and opener in ("```", "~~~"):  # a completion cut off inside its code
            end = len(text)
        if end < 0:
            unclosed.add(closer)
            continue
        if opener in _ONE_LINE and not _closes(text, opener, position, end):
            continue
        parts += [text[done : match.start()], " ", _prose_in(text[position:end], opener in _CODE), " "]
        done = position = end + len(closer)
    parts.append(text[done:])
    return "".join(parts)


def _closes(text: str, opener: str, start: int, end: int) -> bool:
    """Whether a span within a line may end here. A dollar sign may also be money: ``from $5 to $10``."""
    if text.find("\n", start, end) >= 0:
        return False
    if opener != "$":
        return True
    return (
        end > start
        and not text[start].isspace()
        and not text[end - 1].isspace()
        and not text[end + 1 : end + 2].isdigit()
    )


def _prose_in(span: str, is_code: bool) -> str:
    """The stretches of plain words in code or a formula that are too long to be part of it."""
    if not is_code:
        span = _MARKUP.sub("\\\\", span)  # a command separates what stands around it
    least = _PROSE_IN_CODE if is_code else _PROSE_IN_FORMULA
    return " ".join(stretch for stretch in _STRETCH.findall(span) if _words(stretch) >= least)


def _words(stretch: str) -> int:
    """About how many words: two characters of Chinese or Japanese make one."""
    return len(_LONG_WORD.findall(stretch)) + len(_CJK.findall(stretch)) // 2


LANGUAGES = ("en", "zh", "fr", "de", "es", "ja", "ru")


def language_reward(
    completions: Sequence[ModelText],
    language: Sequence[str] | None = None,
    *,
    context: RewardContext,
    languages: Sequence[str] = LANGUAGES,
) -> Values:
    """The share of each thinking's words that are in the language which the completion's column ``language`` names.

    ``languages`` are those that a policy may drift into (ISO 639 codes); only they, and the target, are told apart.
    A completion without a marked thinking is read as a whole, as it is wherever thinking is measured.
    Raises ``UserError`` for a language that cannot be told apart, or without the column.
    """
    if isinstance(languages, str) or not languages:
        raise UserError(f"reward 'language': languages is a list of ISO 639 codes such as [en, zh], not {languages!r}")
    if language is None:
        raise UserError("the language reward needs a column language: the ISO 639 code of each problem's language")
    known = tuple(dict.fromkeys(require_language(code) for code in languages))
    pairs = zip(completions, language, strict=True)
    return [language_proportion(_thinking(context, text_of(text)), target, known) for text, target in pairs]


def language_proportion(text: str, target: str, languages: Sequence[str] = LANGUAGES) -> float | None:
    """Words in the target language / words, in [0, 1]; None where ``text`` holds no word that counts.

    ``target`` and ``languages`` are ISO 639 codes; the target need not be among ``languages``. Chinese and Japanese are
    counted by character. Raises ``UserError`` for a language that cannot be told apart.
    """
    target = require_language(target)
    candidates = tuple(sorted({target, *map(require_language, languages)}))
    prose = strip_symbols(text).lower()
    read: _Reader = _read_characters if target in ("zh", "ja") else _read_words
    own, foreign = read(prose, target, candidates)
    counted = _spoken(own)
    every = counted + _said_once(foreign.characters) + _said_once(foreign.words) + extra_words(foreign.words)
    return counted / every if every else None


@dataclass(frozen=True, slots=True)
class _Foreign:
    """What is not in the target language: characters that are words, and words."""

    characters: str
    words: list[str]


_Reader = Callable[[str, str, tuple[str, ...]], tuple[Sequence[str], _Foreign]]


def _spoken(words: Sequence[str]) -> int:
    """How many words of the target language count: those said once, as far as so many can be said with so few.

    Of V different words, however often they are shuffled, V (V + 1) / 2 count at most. Where one or two words (four
    characters) are all that is said, over and over, nothing was said.
    """
    window, different = _window(words), len(set(words))
    if len(words) >= 2 * window and different <= window // 2:
        return 0
    return min(_said_once(words), different * (different + 1) // 2)


def _said_once(words: Sequence[str]) -> int:
    """How many words lie in a run that did not occur before; of fewer words than a run, how many differ."""
    window = _window(words)
    if len(words) < window:
        return len(set(words))
    if isinstance(words, str):
        runs: list[Any] = [words[i : i + window] for i in range(len(words) - window + 1)]
    else:
        runs = list(zip(*(words[i:] for i in range(window)), strict=False))
    if len(set(runs)) == len(runs):
        return len(words)
    seen = set()
    count = end = 0
    for start, run in enumerate(runs):
        if run not in seen:
            seen.add(run)
            count += start + window - max(start, end)
            end = start + window
    return count


def _window(words: Sequence[str]) -> int:
    """The length of a run: four words, or eight characters, rarely come together twice in honest prose."""
    return 8 if isinstance(words, str) else 4


def _read_characters(prose: str, target: str, candidates: tuple[str, ...]) -> tuple[str, _Foreign]:
    """What is in the target language and what isn't, for Chinese and Japanese."""
    if not {"ja", "zh"} <= set(candidates):
        own = scripts_of(target)
        return characters_of(prose, own), _Foreign(*others_of(prose, own))
    chinese, japanese = split_chinese_japanese(prose)
    mine, rival = (chinese, japanese) if target == "zh" else (japanese, chinese)
    characters, words = others_of(prose, (HAN, KANA))
    return mine, _Foreign(rival + characters, words)


def _read_words(prose: str, target: str, candidates: tuple[str, ...]) -> tuple[list[str], _Foreign]:
    """What is in the target language and what isn't, for all other languages."""
    script = scripts_of(target)
    characters, words = others_of(prose, script)
    rivals = tuple(language for language in candidates if scripts_of(language) == script)
    if len(rivals) == 1:
        return words_of(prose, script), _Foreign(characters, words)
    labels = identifier(rivals).label(words_and_marks_of(prose, script), before=target)
    own = [word for word, language in labels if language == target]
    rival = [word for word, language in labels if language != target]
    return own, _Foreign(characters, rival + words)


def _thinking(context: RewardContext, completion: str) -> str:
    thinking = context.template.parse(completion).thinking
    return completion if thinking is None else thinking
