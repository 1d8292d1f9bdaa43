r"""Which problems share text with a benchmark, and which with one another.

Texts are compared as tokens: words, numbers and operators, without case, full-width forms, TeX's layout and the
punctuation of prose; in scripts without spaces (Chinese, Japanese, Korean, Thai) a character is a token. A problem is
contaminated if it shares n words and numbers in a row with a benchmark's item (Brown et al. 2020, GPT-3: 13 words;
DeepSeek-R1: 10), or all tokens where the item is shorter. Near duplicates share most of their 5-grams and all of their
numbers and operators: the same story with other numbers is another problem. Left out: paraphrases and translations,
which share no text.
"""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

WORDS = 10  # in a row: DeepSeek-R1's choice
CHARACTERS = 16  # in a row, of scripts without spaces: a Chinese word has about 1.6
NEAR = 0.8  # share of 5-grams
_SHINGLE = 5  # words
_SHINGLE_CHARACTERS = 8

_TEX_LAYOUT = re.compile(
    r"\\(?:left|right|displaystyle|quad|qquad|text|mathrm|textbf|mathbf|textit|mbox|operatorname|limits)(?![a-zA-Z])"
    r"|\\[,;: ]|\$|~"
)
_TEX_FRACTION = re.compile(r"\\[dtc]frac(?![a-zA-Z])")
_SYMBOLS = re.compile(r"\\(?:(?P<times>times|cdot)|(?P<over>div)|(?P<le>leq?)|(?P<ge>geq?))(?![a-zA-Z])|[×·÷−≤≥]")
_ASCII = {
    "times": "*",
    "over": "/",
    "le": "<=",
    "ge": ">=",
    "×": "*",
    "·": "*",
    "÷": "/",
    "−": "-",
    "≤": "<=",
    "≥": ">=",
}
_GROUPING = re.compile(r"(?<=\d)(?:,|\{,\})(?=\d{3}(?!\d))")
_HYPHEN = re.compile(r"(?<=[^\W\d_]{2})-(?=[^\W\d_]{2})")
_UNSPACED = "\u0e00-\u0e7f\u1100-\u11ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\U00020000-\U0003ffff"
_TOKEN = re.compile(rf"[{_UNSPACED}]|\d+(?:\.\d+)?|[^\W\d_{_UNSPACED}]+|[-+*/=<>^%()\[\]|&]|(?<=\d)!")
_IS_UNSPACED = re.compile(f"[{_UNSPACED}]")
_BRACKETS = frozenset("()[]")
_COMMON = 0.05  # n-grams in more of a benchmark's items than this share ...
_COMMON_ITEMS = 5  # ... and than this many are its instructions, not its problems


def tokens(text: str) -> list[str]:
    """The tokens in which texts are compared: words, numbers and operators."""
    text = unicodedata.normalize("NFKC", text).casefold()
    if "\\" in text or "$" in text or "~" in text:
        text = _TEX_LAYOUT.sub(" ", _TEX_FRACTION.sub(r"\\frac", text.replace("\\!", "")))
    text = _SYMBOLS.sub(lambda match: _ASCII[match.lastgroup or match.group()], text)
    return _TOKEN.findall(_HYPHEN.sub(" ", _GROUPING.sub("", text)))


def words_of(sequence: Sequence[str]) -> list[str]:
    """The tokens without operators and brackets."""
    return [token for token in sequence if token[0].isalnum()]


@dataclass(frozen=True, slots=True)
class Item:
    """Texts of one problem and where it stands. No n-gram goes across from one text to the next."""

    place: str
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Match:
    """A problem, the benchmark's item that it overlaps with, and the text that they share, as tokens."""

    place: str
    benchmark: str
    item: str
    shared: str
    exact: bool  # all of the item's tokens


def grams(sequence: Sequence[str], words: int, characters: int) -> Iterator[tuple[int, int]]:
    """The spans (start, end) of a sequence's n-grams.

    A word is worth 1/``words`` and a character of a script without spaces 1/``characters``; a span ends as soon as it
    is worth 1. So where the scripts mix, equal texts still have equal n-grams.
    """
    weights = [words if _IS_UNSPACED.match(token) else characters for token in sequence]
    needed, worth, end = words * characters, 0, 0
    for start in range(len(sequence)):
        while worth < needed and end < len(sequence):
            worth += weights[end]
            end += 1
        if worth < needed:
            return
        yield start, end
        worth -= weights[start]


class Benchmarks:
    """Benchmark items, indexed by their n-grams.

    N-grams that more than 5 % of a benchmark's items (and more than five) have in common are its instructions, and
    don't count; ``common`` says how many there are.
    """

    def __init__(
        self, benchmarks: Mapping[str, Iterable[Item]], *, words: int = WORDS, characters: int = CHARACTERS
    ) -> None:
        self.words, self.characters = words, characters
        self.sizes: dict[str, int] = {}
        self.common = 0
        self._grams: dict[str, tuple[str, str]] = {}  # n-gram -> benchmark, item
        self._whole: dict[str, tuple[str, str]] = {}  # all tokens -> benchmark, item
        for name, items in benchmarks.items():
            self._add(name, list(items))

    def match(self, item: Item) -> Match | None:
        """The first overlap of a problem with any benchmark."""
        for text in item.texts:
            sequence = tokens(text)
            whole = " ".join(sequence)
            if whole in self._whole:
                return Match(item.place, *self._whole[whole], whole, exact=True)
            sequence = words_of(sequence)
            for start, end in grams(sequence, self.words, self.characters):
                gram = " ".join(sequence[start:end])
                if gram in self._grams:
                    return Match(item.place, *self._grams[gram], gram, exact=False)
        return None

    def _add(self, name: str, items: Sequence[Item]) -> None:
        self.sizes[name] = len(items)
        owners: dict[str, str] = {}
        counts: Counter[str] = Counter()
        for item in items:
            found: set[str] = set()
            for text in item.texts:
                sequence = tokens(text)
                if sequence:
                    self._whole.setdefault(" ".join(sequence), (name, item.place))
                sequence = words_of(sequence)
                found.update(" ".join(sequence[s:e]) for s, e in grams(sequence, self.words, self.characters))
            counts.update(found)
            for gram in found:
                owners.setdefault(gram, item.place)
        limit = max(_COMMON_ITEMS, _COMMON * len(items))
        for gram, place in owners.items():
            if counts[gram] > limit:
                self.common += 1
            else:
                self._grams.setdefault(gram, (name, place))


@dataclass(frozen=True, slots=True)
class Contamination:
    """What a set of problems shares with benchmarks."""

    benchmarks: Benchmarks
    checked: int
    matches: tuple[Match, ...]

    def summary(self) -> str:
        """One line: how many overlap with which benchmark."""
        counts = Counter(match.benchmark for match in self.matches)
        listed = ", ".join(f"{counts[name]:,} with {name}" for name in self.benchmarks.sizes)
        rule = f"{self.benchmarks.words} words or {self.benchmarks.characters} characters in a row"
        return f"overlaps with benchmarks ({rule}): {len(self.matches):,} of {self.checked:,} problems, {listed}"


def contamination(items: Iterable[Item], benchmarks: Benchmarks) -> Contamination:
    """The overlaps of problems with benchmarks, the first of each problem."""
    checked = 0
    matches: list[Match] = []
    for item in items:
        checked += 1
        match = benchmarks.match(item)
        if match is not None:
            matches.append(match)
    return Contamination(benchmarks, checked, tuple(matches))


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A problem, an earlier one that it repeats, whether in every token, and the share of 5-grams in common."""

    place: str
    first: str
    exact: bool
    similarity: float


def find_duplicates(items: Sequence[Item], near: float = NEAR) -> list[Duplicate]:
    """Problems that repeat an earlier one: all tokens, or at least the share ``near`` of 5-grams and all numbers.

    Only the first text of each item counts. Near duplicates are found by prefix filtering (Chaudhuri et al. 2006; Xiao
    et al. 2008, PPJoin), which misses none: sets with a Jaccard similarity of t share one of the rarest
    ``size - ceil(t * size) + 1`` elements of each. Memory is linear in the texts.
    """
    duplicates: list[tuple[int, Duplicate]] = []
    firsts: dict[str, int] = {}
    originals: list[_Sketch] = []
    for position, item in enumerate(items):
        sequence = tokens(item.texts[0]) if item.texts else []
        first = firsts.setdefault(hashlib.sha256(" ".join(sequence).encode()).hexdigest(), position)
        if first == position:
            originals.append(_Sketch(position, _shingles(words_of(sequence)), _figures(sequence)))
        else:
            duplicates.append((position, Duplicate(item.place, items[first].place, True, 1.0)))
    for position, first, similarity in _near(originals, near):
        duplicates.append((position, Duplicate(items[position].place, items[first].place, False, similarity)))
    return [duplicate for _, duplicate in sorted(duplicates, key=lambda found: found[0])]


class _Sketch(NamedTuple):
    """What of a text near duplicates are found by; the text itself can go."""

    position: int
    shingles: NDArray[np.int64]
    figures: str


def _near(sketches: Sequence[_Sketch], threshold: float) -> Iterator[tuple[int, int, float]]:
    """(position, earlier position, similarity) of the texts that are close to an earlier one that is not itself."""
    ranks = _rank([sketch.shingles for sketch in sketches])
    index: dict[int, list[int]] = {}
    for number, rank in enumerate(ranks):
        size = len(rank)
        prefix = rank[: size - math.ceil(threshold * size) + 1].tolist() if size else []
        candidates = sorted({earlier for element in prefix for earlier in index.get(element, ())})
        close = (
            (earlier, similarity)
            for earlier in candidates
            if sketches[earlier].figures == sketches[number].figures
            and (similarity := _jaccard(rank, ranks[earlier], threshold)) >= threshold
        )
        found = next(close, None)
        if found is not None:
            yield sketches[number].position, sketches[found[0]].position, found[1]
            continue
        for element in prefix:
            index.setdefault(element, []).append(number)


def _shingles(sequence: Sequence[str]) -> NDArray[np.int64]:
    spans = grams(sequence, _SHINGLE, _SHINGLE_CHARACTERS)
    return np.unique(np.array([hash(tuple(sequence[start:end])) for start, end in spans], dtype=np.int64))


def _rank(sets: Sequence[NDArray[np.int64]]) -> list[NDArray[np.int64]]:
    """Every set as the ranks of its elements, rarest first, so that what many sets share comes last."""
    if not sets:
        return []
    _, inverse, counts = np.unique(np.concatenate(sets), return_inverse=True, return_counts=True)
    rank = np.empty(len(counts), dtype=np.int64)
    rank[np.argsort(counts, kind="stable")] = np.arange(len(counts))
    bounds = np.cumsum([len(elements) for elements in sets])[:-1]
    return [np.sort(part) for part in np.split(rank[inverse], bounds)]


def _jaccard(left: NDArray[np.int64], right: NDArray[np.int64], threshold: float) -> float:
    small, large = sorted((len(left), len(right)))
    if small < threshold * large:
        return 0.0
    shared = len(np.intersect1d(left, right, assume_unique=True))
    return shared / (small + large - shared)


def _figures(sequence: Sequence[str]) -> str:
    """The numbers and operators. Brackets are prose as often as not."""
    return " ".join(sorted(token for token in sequence if not token[0].isalpha() and token not in _BRACKETS))
