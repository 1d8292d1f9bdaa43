"""Which of several languages of one script each word of a text belongs to.

py3langid scores every word on its own; the words of a text are then read together as a hidden Markov chain (Viterbi),
in which a change of language costs something, less at a comma, least where a sentence ends. So a name or a loan word
does not change the language around it, a few words go with their neighbours unless they are sure of themselves, and a
change in mid-sentence is found. Left out: telling scripts apart (``scripts``).
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterable
from functools import cache, lru_cache
from operator import add

from py3langid.langid import MODEL_FILE, LanguageIdentifier

from thinkery.rewards.texts.scripts import COMMAS, STOPS

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
