"""Reflection in the thinking: how often a model stops to check or correct itself (DeepSeek-R1's reflective words).

Counts words of a fixed list; it cannot tell a check that does something from one that is only said. Left out: the
length of the thinking, which needs a tokenizer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

ENGLISH = ("wait", "mistake", "however", "but", "retry", "error", "verify", "wrong", "evaluate", "check")
CHINESE = ("等等", "检查", "验算", "不对", "重新", "错")

# ASCII, so that a Chinese character next to an English word is a boundary.
_WORDS = re.compile(rf"\b(?:{'|'.join(ENGLISH)})\b|{'|'.join(CHINESE)}", re.IGNORECASE | re.ASCII)


def count_reflections(thinking: str) -> int:
    """Reflection words in a text: English ones as whole words, any case; Chinese ones anywhere."""
    return len(_WORDS.findall(thinking))


def reflection_share(thinkings: Sequence[str | None]) -> float:
    """The share of completions with at least one reflection word in their thinking; None is no thinking."""
    return sum(bool(_WORDS.search(thinking)) for thinking in thinkings if thinking) / max(len(thinkings), 1)


def reflections_per_completion(thinkings: Sequence[str | None]) -> float:
    """The mean number of reflection words per completion."""
    return sum(count_reflections(thinking) for thinking in thinkings if thinking) / max(len(thinkings), 1)
