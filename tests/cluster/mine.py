"""A reward of a user's that tells the completions of a random model apart."""

from __future__ import annotations

from typing import Any


def digits(completions: list[str], **_: Any) -> list[float]:
    return [sum(map(str.isdigit, completion)) / len(completion or " ") for completion in completions]
