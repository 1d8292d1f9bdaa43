"""Words by script and by language: which script a language is written in, what counts as one of its words, and which
of several languages of one script each word of a text belongs to.

Code points decide the script, exactly. In Chinese, Japanese and other scripts without spaces each character is a word;
in the others a run of letters is one, with its apostrophes (``don't``, ``l'homme``). Identifiers (``x1``, ``n_max``),
names of functions and units (``sin``, ``km``) and Latin or Greek letters that stand alone are symbols, not words; a
vowel before a word is one (``a number``, ``y entonces``). Chinese and Japanese share characters; their sentences tell
them apart.

Within a script py3langid scores every word on its own; the words of a text are then read together as a hidden Markov
chain (Viterbi), in which a change of language costs something, less at a comma, least where a sentence ends. So a name
or a loan word does not change the language around it, a few words go with their neighbours unless they are sure of
themselves, and a change in mid-sentence is found. Left out: languages that are written in two scripts.
"""

from __future__ import annotations

import copy
import re
import threading
from collections.abc import Iterable
from functools import cache, lru_cache
from operator import add

from py3langid.langid import MODEL_FILE, LanguageIdentifier

from thinkery.types import UserError

HAN, KANA, LATIN = "han", "kana", "latin"

_LETTERS = {
    LATIN: r"A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u1e00-\u1eff",
    "cyrillic": r"\u0400-\u0481\u048a-\u052f",
    "greek": r"\u0370-\u0373\u0376\u0377\u037b-\u037d\u0386\u0388-\u03ff\u1f00-\u1fff",
    "arabic": r"\u0620-\u065f\u066e-\u06d3\u06d5-\u06ed\u06fa-\u06ff\u0750-\u077f\u08a0-\u08ff",
    "hebrew": r"\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u05d0-\u05f2",
    "devanagari": r"\u0900-\u0963\u0971-\u097f",
    "bengali": r"\u0980-\u09e3\u09f0\u09f1",
    "gurmukhi": r"\u0a01-\u0a5e\u0a70-\u0a75",
    "gujarati": r"\u0a81-\u0ae3",
    "oriya": r"\u0b01-\u0b63\u0b71",
    "tamil": r"\u0b82-\u0bd7",
    "telugu": r"\u0c00-\u0c63",
    "kannada": r"\u0c80-\u0ce3",
    "malayalam": r"\u0d00-\u0d63\u0d7a-\u0d7f",
    "sinhala": r"\u0d81-\u0df3",
    "georgian": r"\u10a0-\u10ff\u1c90-\u1cbf",
    "armenian": r"\u0531-\u0556\u0560-\u0588",
    "ethiopic": r"\u1200-\u135f\u1380-\u138f\u2d80-\u2ddf",
    "hangul": r"\u1100-\u11ff\u3131-\u318e\uac00-\ud7a3",
    HAN: r"\u3005\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f",
    KANA: r"\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff",
    "thai": r"\u0e01-\u0e30\u0e32\u0e33\u0e40-\u0e46",  # letters alone: marks belong to the letter before them
    "lao": r"\u0e81-\u0eb0\u0eb2\u0eb3\u0ebd-\u0ec6\u0edc-\u0edf",
    "khmer": r"\u1780-\u17b3",
    "burmese": r"\u1000-\u102a\u103f\u1050-\u1055",
    "tibetan": r"\u0f40-\u0f6c",
}
_BY_CHARACTER = (HAN, KANA, "thai", "lao", "khmer", "burmese", "tibetan")

# ISO codes of the languages that py3langid knows, by script; without sr and gom (two scripts), yue and wuu (as zh).
_LANGUAGES = {
    LATIN: "ace af an az bcl br bs ca crh cs cy da de en eo es et eu ext fi fo fr fuv fy ga gcf gcr gd gl gug guw ha "
    "hr ht hu id ig is it jv kab kik ku la lb lg lij ln lt ltg lv mg ms mt nl nn no nso oc om pcm pl pt qu ro rw se sk "
    "sl sn so sq st sv sw tk tl tr uz vec vi vo wa xh yo zu",
    "cyrillic": "ba be bg kk ky mk mn ru tg tt uk",
    "greek": "el grc",
    "arabic": "ar ary arz fa ps sdh ug ur uzs",
    "hebrew": "he hbo",
    "devanagari": "hi mr ne sa",
    "bengali": "as bn",
    "gurmukhi": "pa",
    "gujarati": "gu",
    "oriya": "or",
    "tamil": "ta",
    "telugu": "te",
    "kannada": "kn",
    "malayalam": "ml",
    "sinhala": "si",
    "georgian": "ka",
    "armenian": "hy",
    "ethiopic": "am",
    "hangul": "ko",
    HAN: "zh ja",
    "thai": "th",
    "lao": "lo",
    "khmer": "km",
    "burmese": "my",
    "tibetan": "dz",
}
SCRIPT_OF = {language: script for script, languages in _LANGUAGES.items() for language in languages.split()}

STOPS, COMMAS = ".!?:;\n。！？：；", ",、，()"
_SENTENCES = re.compile(rf"[{STOPS}](?!\d)")
_LONGEST_WORD, _LONGEST_IDENTIFIER = 24, 30  # characters: what is longer was written without its spaces
_FUNCTIONS = "sin cos tan cot sec csc log ln lg exp lim max min mod gcd lcm det dim ker deg arcsin arccos arctan sqrt"
_UNITS = "km cm mm nm kg mg ml kJ kW kWh Hz kHz MHz mol rad dB"
_SYMBOLS = frozenset([*_FUNCTIONS.split(), *_UNITS.lower().split()])
_DIGIT = re.compile(r"[\d_]")


def require_language(code: str) -> str:
    """The ISO 639 code of a language that can be told apart: ``zh-CN`` is ``zh``. Raises ``UserError`` for others."""
    known = str(code).strip().lower().replace("_", "-").partition("-")[0]
    if known not in SCRIPT_OF:
        raise UserError(
            f"language {code!r}: the language reward reads ISO 639 codes such as en, zh, fr, de, es, ja or ru; "
            f"it knows {', '.join(sorted(SCRIPT_OF))}"
        )
    return known


def scripts_of(language: str) -> tuple[str, ...]:
    """The scripts of a language that ``require_language`` knows: one, but two for Japanese."""
    return (HAN, KANA) if language == "ja" else (SCRIPT_OF[language],)


@cache
def _word_pattern(script: str) -> str:
    letters = _LETTERS[script]
    if script in _BY_CHARACTER:
        return f"[{letters}]"
    if script not in (LATIN, "greek"):
        return f"[{letters}]+(?:['’][{letters}]+)*+"
    if script == LATIN:  # with the digits of identifiers, which ``_is_word`` knows by them
        token, vowel = rf"{letters}\d_", f"|[aeiouy](?= [{letters}]{{2}})"
    else:
        token, vowel = letters, ""
    return f"[{token}]{{2,}}(?:['’][{letters}]+)*+|[{letters}](?:['’][{letters}]+)++{vowel}"


def _only_words(tokens: list[str]) -> list[str]:
    """The tokens without names of functions and units, numbers and identifiers."""
    return [token for token in tokens if (token not in _SYMBOLS if token.isalpha() else _is_word(token))]


def _is_word(token: str) -> bool:
    return len(token) > _LONGEST_IDENTIFIER or not _DIGIT.search(token)


@cache
def _words(scripts: tuple[str, ...], marks: str = "") -> re.Pattern[str]:
    return re.compile("|".join([*map(_word_pattern, scripts), *filter(None, [marks])]))


@cache
def _any_words() -> re.Pattern[str]:
    """Words of every script with spaces; what no table names (Cherokee, say) is a word by the run."""
    spaced = [_word_pattern(script) for script in _LETTERS if script not in _BY_CHARACTER]
    return re.compile("|".join([*spaced, rf"(?:(?![{''.join(_LETTERS.values())}])[^\W\d_])+"]))


def words_of(prose: str, scripts: tuple[str, ...]) -> list[str]:
    """The words written in these scripts, in order; ``prose`` in lower case, here and below."""
    return _only_words(_words(scripts).findall(prose))


def characters_of(prose: str, scripts: tuple[str, ...]) -> str:
    """The characters written in these scripts, in order, for scripts in which each is a word."""
    return "".join(_letters_of(scripts).findall(prose))


def words_and_marks_of(prose: str, scripts: tuple[str, ...]) -> list[str]:
    """The words written in these scripts, in order, with the ``STOPS`` and ``COMMAS`` between them."""
    return _only_words(_words(scripts, rf"[{STOPS}{COMMAS}](?!\d)").findall(prose))


@cache
def _letters_of(scripts: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(f"[{''.join(_LETTERS[script] for script in scripts)}]+")


def others_of(prose: str, scripts: tuple[str, ...]) -> tuple[str, list[str]]:
    """What is written in any script but these: the characters that are words, and the words."""
    if prose.isascii() and LATIN in scripts:
        return "", []
    rest = _letters_of(scripts).sub(" ", prose)
    if rest.isascii():
        return "", words_of(rest, (LATIN,))
    characters = characters_of(rest, _BY_CHARACTER)
    return characters, _only_words(_any_words().findall(rest))


def extra_words(words: Iterable[str]) -> int:
    """How many more words these are, because some go on and on: they were glued together, and count for several."""
    return sum((len(word) - 1) // _LONGEST_WORD for word in words)


def split_chinese_japanese(prose: str) -> tuple[str, str]:
    """The characters of the Chinese and of the Japanese sentences.

    Kana and characters that only Japan writes speak for Japanese, characters that only China writes for Chinese; the
    majority in a sentence decides. A sentence with neither goes with the one before it, or else with the one after;
    a text with neither is Chinese.
    """
    if not _letters_of((KANA,)).search(prose):
        return characters_of(prose, (HAN,)), ""
    chinese_only, japanese_only = _exclusive_characters()
    votes: list[tuple[str, int]] = []
    for sentence in _SENTENCES.split(prose):
        han, kana = characters_of(sentence, (HAN,)), characters_of(sentence, (KANA,))
        if han or kana:
            japanese = len(kana) + sum(character in japanese_only for character in han)
            chinese = sum(character in chinese_only for character in han)
            votes.append((han + kana, (japanese > chinese) - (japanese < chinese)))
    texts: dict[int, list[str]] = {-1: [], 1: []}
    current = next((vote for _, vote in votes if vote), -1)
    for characters, vote in votes:
        current = vote or current
        texts[current].append(characters)
    return "".join(texts[-1]), "".join(texts[1])


@cache
def _exclusive_characters() -> tuple[frozenset[str], frozenset[str]]:
    """Han characters of China's (or Taiwan's) standard set but not Japan's, and the other way round."""
    chinese, japanese = set(), set()
    for point in range(0x4E00, 0xA000):
        character = chr(point)
        in_china = _encodes(character, "gb2312") or _encodes(character, "big5")
        in_japan = _encodes(character, "shift_jis")
        if in_china and not in_japan:
            chinese.add(character)
        elif in_japan and not in_china:
            japanese.add(character)
    return frozenset(chinese), frozenset(japanese)


def _encodes(character: str, encoding: str) -> bool:
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


# In nats of py3langid's likelihood. One word alone, whatever it is, cannot pay for a change and the change back.
_CHANGE, _WORD_AT_MOST = 8.0, 8.0
_CHANGE_AT = dict.fromkeys(COMMAS, 6.0) | dict.fromkeys(STOPS, 4.0)
_NOTHING_KNOWN = -1e30  # py3langid's score for a word without a single feature is about -3e38
_loading = threading.Lock()


class Identifier:
    """Tells apart the given languages, of one script. Thread-safe; words already seen are remembered."""

    def __init__(self, languages: tuple[str, ...]) -> None:
        self.languages = languages
        self._model = copy.copy(_whole_model())
        self._model.set_languages(list(languages))
        self._evidence = lru_cache(maxsize=1 << 16)(self._score)

    def label(self, tokens: Iterable[str], before: str) -> list[tuple[str, str]]:
        """(word, language) of every word; ``tokens`` are words in lower case and the marks between them.

        ``before`` is the language of what came before the text.
        """
        words: list[str] = []
        origins: list[list[int]] = []  # by word: the best language before it, for each language
        totals = [0.0 if language == before else -_CHANGE for language in self.languages]
        change, stay = _CHANGE, list(range(len(self.languages)))
        for token in tokens:
            if token in _CHANGE_AT:
                change = min(change, _CHANGE_AT[token])
                continue
            best = max(totals)
            after_change = best - change
            if min(totals) < after_change:
                source = totals.index(best)
                origins.append([source if total < after_change else i for i, total in enumerate(totals)])
                totals = [max(total, after_change) for total in totals]
            else:
                origins.append(stay)
            totals = list(map(add, totals, self._evidence(token)))
            words.append(token)
            change = _CHANGE
        state = totals.index(max(totals))
        labels: list[str] = []
        for row in reversed(origins):
            labels.append(self.languages[state])
            state = row[state]
        return list(zip(words, reversed(labels), strict=True))

    def _score(self, word: str) -> tuple[float, ...]:
        """The word's log-likelihood by language, the best at 0 and none below the floor."""
        scores = dict(self._model.rank(f" {word.replace('’', chr(39))} "))
        best = max(scores.values())
        if best < _NOTHING_KNOWN:
            return (0.0,) * len(self.languages)
        return tuple(max(scores[language] - best, -_WORD_AT_MOST) for language in self.languages)


@lru_cache(maxsize=32)
def identifier(languages: tuple[str, ...]) -> Identifier:
    """The one identifier of these languages."""
    return Identifier(languages)


def _whole_model() -> LanguageIdentifier:
    with _loading:
        return _load()


@cache
def _load() -> LanguageIdentifier:
    """py3langid's own model, of about a second's loading: a private one, since its languages are a setting of it."""
    return LanguageIdentifier.from_model_file(MODEL_FILE)
