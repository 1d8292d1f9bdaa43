"""Translation between the miniature world's languages, against what the world itself writes in the other one."""

from __future__ import annotations

from random import Random

import pytest

from thinkery.mini.domains import DOMAINS
from thinkery.mini.translation import translate
from thinkery.mini.world import WorldTask

REASONING = ("math", "code", "stem", "logic")


def tasks(domain: str) -> list[WorldTask]:
    return [DOMAINS[domain](Random(f"{domain}/{i}"), 1 + i % 5) for i in range(60)]


@pytest.mark.parametrize("domain", REASONING)
@pytest.mark.parametrize("depth", ["guess", "plain", "check"])
def test_chinese_thinking_becomes_what_the_world_would_have_written_in_english(domain: str, depth: str) -> None:
    for number, task in enumerate(tasks(domain)):
        chinese = task.write(Random(number), depth, "zh", ("zh",)).thinking
        assert translate(chinese, "en") == task.write(Random(number), depth, "en", ("en",)).thinking


@pytest.mark.parametrize("domain", REASONING)
def test_english_thinking_becomes_chinese_that_says_the_same_when_translated_back(domain: str) -> None:
    for number, task in enumerate(tasks(domain)):
        english = task.write(Random(number), "check", "en", ("en",)).thinking
        chinese = translate(english, "zh")
        assert chinese is not None
        assert translate(chinese, "en") == english


@pytest.mark.parametrize("language", ["en", "zh"])
def test_mixed_thinking_keeps_its_numbers_and_loses_the_other_language(language: str) -> None:
    for number, task in enumerate(tasks("math")):
        mixed = task.write(Random(number), "check", language, ("en", "zh")).thinking
        translated = translate(mixed, language)
        assert translated is not None
        assert [c for c in translated if c.isdigit()] == [c for c in mixed if c.isdigit()]
        other = "zh" if language == "en" else "en"
        assert translate(translated, language) == translated != translate(translated, other)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("First 3+4=7. Hence the answer.", "zh"),
        ("先算3+4=7，显然。", "en"),
        ("First 3+4=7.", "fr"),
    ],
)
def test_what_is_no_phrase_of_the_world_is_not_translated_at_all(text: str, language: str) -> None:
    assert translate(text, language) is None
