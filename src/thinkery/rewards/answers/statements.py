r"""What plain text states as its answer: "The answer is 18.", "#### 18", or a sentence that holds a single number.

Careful rather than clever, because a policy that is trained on its verdicts will try what passes: a text with a second
number, a negation, a hedge or a question states nothing. English, Chinese, French, German, Spanish, Japanese, Russian.
Left out: numerals in words, and understanding what a sentence says.
"""

from __future__ import annotations

import re
from collections import deque

from thinkery.rewards.answers.cleaning import LEAD_IN, clean
from thinkery.rewards.answers.numbers import UNIT_WORDS, parse_number, parse_words

MAX_STATEMENT = 300  # characters of the sentence that is read
MAX_TEXT = 4000  # characters after the thinking that are searched, from the end

_MARKER = re.compile(rf"(?<!\w)(?:####|{LEAD_IN}|(?:final\s+)?answer\s*:?\*\*\s*:?)", re.IGNORECASE)
_SENTENCE_END = re.compile(r"[\n。！？]|(?<!\\)[.!?](?=\s|$|\*\*|\$\s*$)")
# Words that take back, weaken or change a value. Whoever writes one of them does not state the bare number beside it.
_DOUBTFUL_WORDS = (
    # English
    "not no never neither nor none cannot without or either maybe perhaps possibly probably might could guess unsure "
    "about approximately around roughly nearly almost wait actually instead wrong incorrect except alternatively "
    "between least most than half twice double triple quarter third dozen dozens hundred hundreds thousand thousands "
    "million millions billion billions trillion times plus minus negative squared cubed factorial percentage "
    # French, German, Spanish, Russian
    "pas ni ou peut-être environ jamais aucun moitié mille moins demi fois plutôt "
    "nicht kein keine oder vielleicht etwa ungefähr nie weder halb hälfte tausend mal minus eher "
    "ni o quizás quizá aproximadamente nunca mitad mil menos docena veces "
    "не ни или возможно около примерно никогда половина тысяч тысяча тысячи миллион миллионов минус раз"
)
_DOUBTFUL = frozenset(_DOUBTFUL_WORDS.split())
_DOUBTFUL_SIGNS = re.compile(
    r"n't\b|n’t\b|[?？不非没或约半负萬万千百亿倍另]|也许|可能|大概|または|もしくは|ない|ません|たぶん|およそ"
)
_MATH = re.compile(r"\$\$?([^$]{1,200})\$\$?|\\\((.{1,200}?)\\\)|\\\[(.{1,200}?)\\\]", re.DOTALL)
_NUMBER = re.compile(
    r"(?<![A-Za-z0-9_.,^{/:-])[-+−–]?\\?[$€£¥]?-?"
    r"(?:\\[dt]?frac\{\d{1,20}\}\{\d{1,20}\}|\.\d{1,40}"
    r"|\d{1,40}(?:[,'’\u202f\u00a0]\d{3}(?!\d)){0,12}(?:\.\d{1,40})?(?:/\d{1,20})?)"
    r"(?:\s?\\?[%€£¥])?"
)
_COPULA = re.compile(r"(?:です|である|だ)\s*[.。]?$")
_SHORT_WORDS = frozenset(["is", "it", "or", "no", "so", "we", "he", "an"])
_CJK = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]")
_COMMAND = re.compile(r"\\(?:begin|end)\{[A-Za-z]+\*?\}|\\[A-Za-z]+")
_TEXT = re.compile(r"\\(?:text|mbox|mathrm|textbf|mathbf|operatorname)\s*\{([^{}]*)\}")
_WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
_LETTERS = re.compile(r"[^\W\d_]+")
_FUNCTION_NAMES = "sin cos tan cot sec csc log ln exp sqrt pi inf infinity max min gcd lcm arcsin arccos arctan"
_FUNCTIONS = frozenset(_FUNCTION_NAMES.split())
_FOREIGN = re.compile(r"[^\W\d_a-zA-Z]")


def stated(text: str) -> str | None:
    """The answer that a text without tag or box states, or None. Linear in its length."""
    text = text[-MAX_TEXT:]
    markers = deque(_MARKER.finditer(text), maxlen=1)
    if not markers:
        return read_statement(text)
    rest = text[markers[0].end() :]
    rest = rest.lstrip(" *:：\n}")
    end = _SENTENCE_END.search(rest)
    statement, after = (rest[: end.start()], rest[end.end() :]) if end else (rest, "")
    if _doubtful(after) or _MARKER.search(statement):
        return None
    return read_statement(statement)


def read_statement(text: str) -> str | None:
    """The answer in a short text: all of it if it is one expression or a word or two, else its single number."""
    text = text.strip()
    if not text or len(text) > MAX_STATEMENT:
        return None
    text = _COPULA.sub("", text.replace("**", " ").strip())
    bare = clean(text)
    if parse_number(bare) is not None or (parse_words(bare) is not None and len(bare.split()) <= 3):
        return None if _doubtful(bare) and parse_number(bare) is None else bare
    if not is_prose(bare):
        return bare if bare and "\n" not in bare else None
    if _doubtful(text):
        return None
    return _single_number(text)


def is_prose(text: str) -> bool:
    """Whether a text holds words that are not the names of functions, so that it is a sentence, not an expression."""
    if "\\" in text:
        text = _COMMAND.sub(" ", _TEXT.sub(r" \1 ", text))
    return any(
        _FOREIGN.search(word)
        or (len(word) > 2 and word.casefold() not in _FUNCTIONS)
        or word.casefold() in _SHORT_WORDS
        for word in _LETTERS.findall(text)
    )


def _doubtful(text: str) -> bool:
    if _DOUBTFUL_SIGNS.search(text):
        return True
    return any(word in _DOUBTFUL for word in _WORD.findall(_COMMAND.sub(" ", text.casefold())))


def _single_number(text: str) -> str | None:
    """The only number or formula of a sentence, with a percent sign, currency or well-known unit beside it."""
    found: list[str] = []

    def formula(match: re.Match[str]) -> str:
        inner = next(group for group in match.groups() if group is not None)
        if is_prose(inner):
            return match[0]  # from one price to the next
        if any(character.isdigit() for character in inner) or "\\" in inner:
            found.append(inner.strip())
        return " "

    outside = _MATH.sub(formula, text)
    numbers = list(_NUMBER.finditer(outside))
    covered = sum(character.isdigit() for match in numbers for character in match[0])
    if covered != sum(character.isdigit() for character in outside) or len(found) + len(numbers) != 1:
        return None  # some digits belong to no number: 2nd, x2, 1,23
    if found:
        return found[0]
    written, following = numbers[0][0], outside[numbers[0].end() :]
    if following and (following[0] in "^_/*=+(-:" or (following[0].isalnum() and not _CJK.match(following))):
        return None
    word = _WORD.match(following.lstrip())
    if word and word[0].casefold().removesuffix("s") in UNIT_WORDS:
        written = f"{written} {word[0]}"
    return written if parse_number(written) is not None else None
