"""R_language of DeepSeek-R1: the share of the thinking's words that are in the language of the question.

Words are what is left when formulas, code and symbols are gone (``prose``); their script decides (``scripts``), and
among languages of one script a model (``identification``). The share is a proportion, and None where nothing counts.
Saying something twice does not make it more: words of the target language count where they say something new, all
others always, so repetition can only lower the share. Left out: whether what is said makes sense.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from thinkery.rewards.identification import identifier
from thinkery.rewards.interfaces import ModelText, Prompt, Reward, RewardContext, Values, text_of
from thinkery.rewards.prose import strip_symbols
from thinkery.rewards.scripts import (
    HAN,
    KANA,
    count_others,
    count_words,
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
        raise UserError(
            f"rewards.language.languages: write a list of ISO 639 codes such as [en, zh], not {languages!r}"
        )
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
    prose = strip_symbols(text)
    by_character = target in ("zh", "ja")
    own, others = (_read_characters if by_character else _read_words)(prose, target, candidates)
    counted = distinct_words(own, 8 if by_character else 4)
    return counted / (counted + others) if counted + others else None


def distinct_words(words: Sequence[str], window: int) -> int:
    """How many words of the target language count.

    A word counts if it lies in a run of ``window`` words that did not occur before; and of V different words, however
    often they are shuffled, V (V + 1) / 2 count at most. Where one or two (``window / 2``) words are all that is said,
    over and over (2 ``window`` words or more), nothing was said. Four words, or eight characters, rarely come together
    twice in honest prose.
    """
    different = len(set(words))
    if len(words) >= 2 * window and different <= window // 2:
        return 0
    if len(words) < window:
        return different
    return min(_covered(words, window), different * (different + 1) // 2)


def _covered(words: Sequence[str], window: int) -> int:
    if isinstance(words, str):
        runs: list[Any] = [words[i : i + window] for i in range(len(words) - window + 1)]
    else:
        runs = list(zip(*(words[i:] for i in range(window)), strict=False))
    seen = set(runs)
    if len(seen) == len(runs):
        return len(words)
    seen.clear()
    count = end = 0
    for start, run in enumerate(runs):
        if run not in seen:
            seen.add(run)
            count += start + window - max(start, end)
            end = start + window
    return count


def _read_characters(prose: str, target: str, candidates: tuple[str, ...]) -> tuple[str, int]:
    """The target's characters, and how many words are in other languages; for Chinese and Japanese."""
    if not {"ja", "zh"} <= set(candidates):
        own = scripts_of(target)
        return "".join(words_of(prose, own)), count_others(prose, own)
    chinese, japanese = split_chinese_japanese(prose)
    mine, rival = (chinese, japanese) if target == "zh" else (japanese, chinese)
    return mine, count_others(prose, (HAN, KANA)) + len(rival)


def _read_words(prose: str, target: str, candidates: tuple[str, ...]) -> tuple[list[str], int]:
    """The target's words, and how many words are in other languages; for languages that don't need characters."""
    script = scripts_of(target)
    others = count_others(prose, script)
    rivals = tuple(language for language in candidates if scripts_of(language) == script)
    if len(rivals) == 1:
        return words_of(prose.casefold(), script), others
    labels = identifier(rivals).label(words_and_marks_of(prose, script), before=target)
    own = [word.casefold() for word, language in labels if language == target]
    return own, others + count_words(word for word, language in labels if language != target)


def _thinking(context: RewardContext, completion: str) -> str:
    thinking = context.template.parse(completion).thinking
    return completion if thinking is None else thinking
