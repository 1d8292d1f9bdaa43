r"""What is left of a text when code, formulas and symbols are gone: the words that somebody said.

Removed: fenced and inline code, LaTeX (inline, display, environments, commands), tags, URLs, acronyms. A formula or a
code block is no hiding place: a long enough stretch of plain words inside one stays. Every step is linear in the text's
length. Left out: numbers, identifiers and single letters, which ``scripts`` doesn't take for words.
"""

from __future__ import annotations

import re
import unicodedata

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
