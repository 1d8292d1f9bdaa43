"""The reward that both sides of a comparison pay, in TRL's signature: cheap, and never the same for a whole group.

So nobody waits for grading, and no group is without an advantage. Left out: sense.
"""

from __future__ import annotations

from typing import Any


def vowels(completions: list[str], **columns: Any) -> list[float]:
    """The share of each completion's characters that are vowels."""
    return [sum(map(text.count, "aeiou")) / (1 + len(text)) for text in completions]
