"""R_language of DeepSeek-R1: the share of the thinking's words that are in the language of the question.

Words are what is left when formulas, code and symbols are gone (``prose``); their script decides (``scripts``), and
among languages of one script a model (``identification``), all of them in ``texts``. The share is a proportion, and
None where nothing counts.
What is said twice counts once, in whichever language, so that repetition changes nothing: words count that lie in a run
of four words, or eight characters, that did not occur before. Left out: whether what is said makes sense, and names: a
list of French names may pass for French.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from thinkery.rewards.interfaces import ModelText, Prompt, Reward, RewardContext, Values, text_of
from thinkery.rewards.texts.identification import identifier
from thinkery.rewards.texts.prose import strip_symbols
from thinkery.rewards.texts.scripts import (
    HAN,
    KANA,
    characters_of,
    extra_words,
    others_of,
    require_language,
    scripts_of,
    split_chinese_japanese,
    words_and_marks_of,
    words_of,
)
from thinkery.types import UserError

LANGUAGES = ("en", "zh", "fr", "de", "es", "ja", "ru")


def language_reward(context: RewardContext, *, languages: Sequence[str] = LANGUAGES) -> Reward:
    """The reward that reads the thinking in the light of each completion's column ``language``.

    ``languages`` are those that a policy may drift into (ISO 639 codes); only they, and the target, are told apart.
    A completion without a marked thinking is read as a whole, as it is wherever thinking is measured.
    Raises ``UserError`` for a language that cannot be told apart.
    """
    if isinstance(languages, str) or not languages:
        raise UserError(f"reward 'language': languages is a list of ISO 639 codes such as [en, zh], not {languages!r}")
    known = tuple(dict.fromkeys(require_language(code) for code in languages))

    def reward(
        prompts: Sequence[Prompt],
        completions: Sequence[ModelText],
        completion_ids: Sequence[Sequence[int]],
        **columns: Sequence[Any],
    ) -> Values:
        if "language" not in columns:
            raise UserError("the language reward needs a column language: the ISO 639 code of each problem's language")
        pairs = zip(completions, columns["language"], strict=True)
        return [language_proportion(_thinking(context, text_of(text)), target, known) for text, target in pairs]

    return reward


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
