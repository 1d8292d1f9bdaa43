"""The language reward, measured: how close it comes to known proportions, and how long it takes.

    python benchmarks/rewards_language.py

The texts are those of the tests, written for this project: seven languages, pure, foreign, mixed sentence by sentence
and in mid-sentence, with formulas and code between. Times are the best of several readings on one core with the model
loaded: where script decides alone, where the model decides and has met the words before (as in training, where
completions of one batch share their words), and where every word is new. Left out: writing a results file.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from thinkery.rewards.language import language_proportion
from thinkery.rewards.words import identifier

TEXTS = Path(__file__).resolve().parents[1] / "tests" / "rewards" / "data" / "language_texts.jsonl"
ROUNDS = 20


def measure() -> dict[str, float]:
    """The figures by name; times are in milliseconds per 1,000 words (characters of Chinese and Japanese)."""
    rows: list[dict[str, Any]] = [json.loads(line) for line in TEXTS.read_text(encoding="utf-8").splitlines()]
    errors = []
    for row in rows:
        share = language_proportion(" ".join(text for _, text in row["parts"]), row["target"])
        errors.append(1.0 if share is None else abs(share - row["expected"]))
    return {
        "language_texts": len(rows),
        "language_within_005": sum(error <= 0.05 for error in errors) / len(errors),
        "language_mean_error": statistics.fmean(errors),
        "language_ms_per_1000_words_script": _ms_per_1000_words(rows, ("en", "zh")),
        "language_ms_per_1000_words_model": _ms_per_1000_words(rows, ("en", "fr", "de", "es")),
        "language_ms_per_1000_new_words_model": _ms_per_1000_words(rows, ("en", "fr", "de", "es"), forget=True),
    }


def _ms_per_1000_words(rows: Iterable[dict[str, Any]], languages: tuple[str, ...], forget: bool = False) -> float:
    texts: dict[str, list[str]] = {language: [] for language in languages}
    words = 0
    for row in rows:
        if row["kind"] == "pure" and row["target"] in languages:
            texts[row["target"]].append(" ".join(text for _, text in row["parts"]))
            prose = [part for language, part in row["parts"] if language]
            words += sum(len(part) if row["target"] == "zh" else len(part.split()) for part in prose)
    whole = [(target, "\n".join(parts)) for target, parts in texts.items()]
    times = []
    for _ in range(ROUNDS):
        if forget:
            identifier.cache_clear()
        language_proportion("word", "en", languages)  # restricts the model: once a run, not once a text
        began = time.perf_counter()
        for target, text in whole:
            language_proportion(text, target, languages)
        times.append(time.perf_counter() - began)
    return min(times) * 1e6 / words


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
