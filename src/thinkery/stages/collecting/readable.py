"""What makes a sample fit to be read: DeepSeek-R1's filters of the cold start and of rejection sampling.

Finished, well formed, the thinking in the question's language, without loops, endless paragraphs or code blocks. Left
out: whether the answer is right, and whether the thinking makes sense.
"""

from __future__ import annotations

from thinkery.recipe import ReadableSpec
from thinkery.rewards.language import language_proportion
from thinkery.rewards.repetition import ends_in_loop, repetition_share
from thinkery.stages.collecting.samples import Reason

FENCES = ("```", "~~~")


def fault(
    spec: ReadableSpec, thinking: str, length: int, language: str, *, any_language: bool = False
) -> tuple[Reason, str] | None:
    """The first thing that makes a thinking of ``length`` tokens unfit, with a word on how far; None if it is fit.

    ``any_language``: its language doesn't count yet, because it is going to be translated.
    """
    if length < spec.min_length or (spec.max_length is not None and length > spec.max_length):
        return Reason.LENGTH, f"{length} tokens of thinking"
    if spec.max_repetition is not None:
        repeated = repetition_share(thinking)
        if repeated > spec.max_repetition:
            return Reason.REPETITION, f"{repeated:.2f} of it"
        if ends_in_loop(thinking):
            return Reason.REPETITION, "ends in a loop"
    if spec.max_paragraph is not None:
        longest = max(map(len, thinking.split("\n")))
        if longest > spec.max_paragraph:
            return Reason.PARAGRAPH, f"{longest} characters"
    if not spec.code_blocks and any(fence in thinking for fence in FENCES):
        return Reason.CODE, ""
    share = None if any_language else foreign_share(spec, thinking, language)
    if share is not None:
        return Reason.LANGUAGE, f"{share:.2f} of the words are {language}"
    return None


def foreign_share(spec: ReadableSpec, thinking: str, language: str) -> float | None:
    """The share of the thinking's words that are in the question's language, where it is too small; else None."""
    if spec.min_language is None:
        return None
    share = language_proportion(thinking, language)
    return share if share is not None and share < spec.min_language else None
