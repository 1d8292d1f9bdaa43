r"""What plain text states as its answer: "The answer is 18.", "#### 18", or an assertion in a listed form.

Careful rather than clever, because a policy that is trained on its verdicts will try what passes: of what precedes and
follows a statement only listed words may stand beside it. A negation, a hedge, a question or a correction that follows
states nothing. English, Chinese, French, German, Spanish, Japanese, Russian. Left out: numerals in words, and
understanding what a sentence says.
"""

from __future__ import annotations

import re
from collections import deque

from thinkery.rewards.answers.assertions import asserted
from thinkery.rewards.answers.cleaning import LEAD_IN, clean
from thinkery.rewards.answers.numbers import parse_number
from thinkery.rewards.answers.words import parse_words, read_letters

MAX_STATEMENT = 300  # characters of the sentence that is read
MAX_TEXT = 4000  # characters after the thinking that are searched, from the end

_MARKER = re.compile(rf"(?<!\w)(?:####|{LEAD_IN}|(?:final\s+)?answer\s*:?\*\*\s*:?)", re.IGNORECASE)
_SENTENCE_END = re.compile(r"[\n。！？]|(?<!\\)[.!?](?=\s|$|\*\*|\$\s*$|<)")
# Words that take back, weaken or change a value. Whoever writes one of them does not state the bare number beside it.
_DOUBTFUL_WORDS = (
    # English
    "not no never neither nor none cannot without or either maybe perhaps possibly probably might could guess unsure "
    "about approximately around roughly nearly almost wait actually instead wrong incorrect except alternatively "
    "between least most than half twice double triple quarter third dozen dozens hundred hundreds thousand thousands "
    "million millions billion billions trillion times plus minus negative squared cubed factorial "
    "percentage doubt false "
    "untrue lie lying joke kidding unless if should would correction mistake error sorry hmm but "
    "however though although "
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
# What may stand before a statement in its sentence, and after it in the text.
_BEFORE = re.compile(
    r"(?:(?:so|thus|hence|therefore|and|then|finally|now|in conclusion|in the end|in total|"
    r"consequently|as a result|final|"
    r"the|our|my|answer|solution|we (?:conclude|find|see|get) that|i (?:conclude|find) that|所以|因此|故|donc|also|"
    r"somit|folglich|por lo tanto|entonces|итак|значит)[\s,:]*)*",
    re.IGNORECASE,
)
_AFTER = re.compile(
    r"(?:\s*(?:i hope (?:it|this) is (?:correct|right)|(?:it|this) follows from [a-z ]{1,60}|because [a-z ]{1,80}|"
    r"as (?:required|desired|claimed|shown above)|done|q\.?e\.?d|thank you|完毕|证毕)?[\s.*$\\)\]}。!]*)*",
    re.IGNORECASE,
)
_END_TOKEN = re.compile(
    r"(?:<\|(?:im_end|im_start|endoftext|eot_id|end_of_text|eom_id|end)\|>|</s>|<｜end▁of▁sentence｜>).*", re.DOTALL
)
_MATH = re.compile(r"\$\$?([^$]{1,200})\$\$?|\\\((.{1,200}?)\\\)|\\\[(.{1,200}?)\\\]", re.DOTALL)
_NUMBER = re.compile(
    r"(?<![A-Za-z0-9_.,^{/:-])[-+−–]?\\?[$€£¥]?-?"
    r"(?:\\[dt]?frac\{\d{1,20}\}\{\d{1,20}\}|\.\d{1,40}"
    r"|\d{1,40}(?:[,'’\u202f\u00a0]\d{3}(?!\d)){0,12}(?:\.\d{0,40})?(?:/\d{1,20})?)"
    r"(?:\s?\\?[%€£¥])?"
)
_COPULA = re.compile(r"(?:です|である|だ)\s*[.。]?$")
_SHORT_WORDS = frozenset(["is", "it", "or", "no", "so", "we", "he", "an"])
_COMMON = frozenset(
    [
        "the",
        "and",
        "not",
        "but",
        "for",
        "are",
        "was",
        "has",
        "had",
        "its",
        "one",
        "two",
        "six",
        "ten",
        "all",
        "any",
        "can",
        "did",
        "get",
        "who",
        "why",
        "how",
        "yes",
        "odd",
        "let",
        "now",
        "out",
        "per",
        "via",
        "than",
        "then",
        "that",
        "this",
        "with",
        "from",
        "have",
        "will",
        "when",
        "what",
        "only",
        "into",
        "also",
        "most",
        "more",
        "less",
        "some",
        "none",
        "both",
        "each",
        "even",
        "near",
        "over",
        "under",
        "just",
        "very",
        "half",
        "zero",
        "four",
        "five",
        "nine",
        "true",
        "such",
        "there",
    ]
)
_CJK = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]")
_COMMAND = re.compile(r"\\(?:begin|end)\{[A-Za-z]+\*?\}|\\[A-Za-z]+")
_TEXT = re.compile(r"\\(?:text|mbox|mathrm|textbf|mathbf|operatorname)\s*\{([^{}]*)\}")
_WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
_LETTERS = re.compile(r"[^\W\d_]+")
_FUNCTION_NAMES = "sin cos tan cot sec csc log ln exp sqrt pi inf infinity max min gcd lcm arcsin arccos arctan mod"
_FUNCTIONS = frozenset(_FUNCTION_NAMES.split())
_FOREIGN = re.compile(r"[^\W\d_a-zA-Z]")
_LONG_NAMES = tuple(name for name in _FUNCTIONS if len(name) > 2)
_SIGNS = frozenset("0123456789^_{}()[]+-*/=|")
_PRODUCT = 4  # letters side by side that may be a product, not a word


def stated(text: str) -> str | None:
    """The answer that a text without tag or box states, or None. Linear in its length."""
    text = text[-MAX_TEXT:].rstrip()
    if "<" in text:
        text = _END_TOKEN.sub("", text)
    markers = deque(_MARKER.finditer(text), maxlen=1)
    if not markers:
        return read_statement(text)
    marker = markers[0]
    before = text[: marker.start()].strip()
    if before and "#" not in marker[0] and not _introduces(before):
        return None
    rest = text[marker.end() :]
    rest = rest.lstrip(" *:：\n}")
    end = _SENTENCE_END.search(rest)
    statement, after = (rest[: end.start()], rest[end.end() :]) if end else (rest, "")
    if end and end[0] in "?？":
        return None
    if (after and not _AFTER.fullmatch(after)) or _MARKER.search(statement):
        return None
    return _whole(statement)


def _introduces(before: str) -> bool:
    """Whether a marker after ``before`` begins a plain statement: nothing else in its clause, or a word like ``so``."""
    before = before[-200:].removesuffix("\\text{")
    sentence = re.split(r"[\n。！？]|[.!?](?:\s|$)|\*\*", before)[-1]
    clause = re.split(r"[,;:]", sentence)[-1]
    if _BEFORE.fullmatch(clause.strip(" *$\\([")) and clause.strip():
        return True
    return _BEFORE.fullmatch(sentence.strip(" *$\\([")) is not None


def read_statement(text: str) -> str | None:
    """The answer in a short text: all of it if it is one expression or a word or two, else the number it asserts."""
    return _whole(text) or _assertion(text)


def _whole(text: str) -> str | None:
    """A text that is nothing but an answer."""
    text = text.strip()
    if not text or len(text) > MAX_STATEMENT:
        return None
    text = _COPULA.sub("", text.replace("**", " ").strip())
    bare = clean(text)
    if parse_number(bare) is not None or read_letters(bare) or _is_phrase(bare):
        return None if parse_number(bare) is None and _doubtful(bare) else bare
    if not is_prose(bare):
        return bare if bare and "\n" not in bare else None
    return None


def _is_phrase(text: str) -> bool:
    """A word, or two or three that make no sentence."""
    words = text.casefold().split()
    return parse_words(text) is not None and len(words) <= 3 and (len(words) == 1 or not _SHORT_WORDS & set(words))


def is_prose(text: str) -> bool:
    """Whether a text holds words that are not the names of functions, so that it is a sentence, not an expression.

    Up to four letters that touch a number or a sign are a product (``2mgh``), unless they are a common word.
    """
    if "\\" in text:
        text = _COMMAND.sub(" ", _TEXT.sub(r" \1 ", text))
    return any(_is_word(match, text) for match in _LETTERS.finditer(text))


def _is_word(match: re.Match[str], text: str) -> bool:
    word = match[0].casefold()
    if _FOREIGN.search(word) or word in _SHORT_WORDS:
        return True
    if len(word) < 3 or word in _FUNCTIONS:
        return False
    if any(word.endswith(name) and len(word) <= len(name) + 2 for name in _LONG_NAMES):
        return False  # xsin
    touches = text[match.start() - 1 : match.start()] + text[match.end() : match.end() + 1]
    return len(word) > _PRODUCT or word in _COMMON or not _SIGNS & set(touches)


def _doubtful(text: str) -> bool:
    if _DOUBTFUL_SIGNS.search(text):
        return True
    return any(word in _DOUBTFUL for word in _WORD.findall(_COMMAND.sub(" ", text.casefold())))


def _assertion(text: str) -> str | None:
    """The only number or formula of one sentence that asserts it in a listed form."""
    text = text.strip().replace("**", " ")
    if not text or len(text) > MAX_STATEMENT or _doubtful(text) or "\n" in text.strip():
        return None
    found = [(match.span(), inner) for match in _MATH.finditer(text) if not is_prose(inner := _inside(match))]
    if len(found) == 1 and not any(c.isdigit() for c in text[: found[0][0][0]] + text[found[0][0][1] :]):
        (begin, end), formula = found[0]
        return formula.strip() if asserted(text[:begin], "0", text[end:]) else None
    numbers = list(_NUMBER.finditer(text))
    covered = sum(character.isdigit() for match in numbers for character in match[0])
    if covered != sum(character.isdigit() for character in text) or len(numbers) != 1:
        return None  # some digits belong to no number: 2nd, x2, 1,23
    number, following = numbers[0], text[numbers[0].end() :]
    if following and (following[0] in "^_/*=+(-:" or (following[0].isalnum() and not _CJK.match(following))):
        return None
    written = asserted(text[: number.start()], number[0].strip().removesuffix("."), following)
    return written if written is not None and parse_number(written) is not None else None


def _inside(match: re.Match[str]) -> str:
    return next(group for group in match.groups() if group is not None)
