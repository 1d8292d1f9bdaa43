r"""Where a completion states its final answer: after the thinking, in the answer tag or the last \boxed{}.

What stands in the thinking never counts, however right it is. Where a thinking has ended and there is neither tag nor
box, a plain statement counts (``statements``). Of several answers the last one counts, so writing more of them wins
nothing. Everything is linear in the completion's length. Left out: what an answer means.
"""

from __future__ import annotations

import re

from thinkery.models.template import ANSWER, END_ANSWER, END_THINK, THINK
from thinkery.rewards.answers.statements import is_prose, stated

# An opening box, a brace, or an escaped character (so that ``\{`` and ``\}`` don't count as braces).
_BRACES = re.compile(r"(?P<box>\\(?:boxed|fbox)\s*\{)|\\.|[{}]", re.DOTALL)


def after_thinking(completion: str, *, prefilled_think: bool = False) -> str | None:
    """What follows the thinking; all of it if there was no thinking; None if the thinking never ends.

    ``prefilled_think`` says that the prompt already opened ``<think>``. With several thoughts, the last one counts.
    """
    _, ended, after = completion.rpartition(END_THINK)
    if THINK in after or (prefilled_think and not ended):
        return None
    return after


def last_boxed(text: str) -> str | None:
    r"""The content of the last balanced ``\boxed{}`` (of nested ones the innermost), or None."""
    open_braces: list[tuple[int, bool]] = []  # where its content starts; whether it is a box
    best: tuple[int, int] | None = None
    for match in _BRACES.finditer(text):
        token = match.group()
        if match["box"] or token == "{":
            open_braces.append((match.end(), match["box"] is not None))
        elif token == "}" and open_braces:
            start, is_box = open_braces.pop()
            if is_box and (best is None or start > best[0]):
                best = start, match.start()
    return None if best is None else text[best[0] : best[1]]


def tagged(text: str) -> str | None:
    """The content of the last answer tag that is closed, or None. Of nested tags the innermost counts."""
    end = text.rfind(END_ANSWER)
    start = text.rfind(ANSWER, 0, end) if end >= 0 else -1
    if start < 0:
        return None
    start += len(ANSWER)
    return text[start : text.index(END_ANSWER, start)]


def final_answer(completion: str, *, prefilled_think: bool = False) -> tuple[str | None, str]:
    """The answer as written, and, where there is none, the reason why."""
    after = after_thinking(completion, prefilled_think=prefilled_think)
    if after is None:
        return None, "the thinking never ends"
    answer = tagged(after)
    boxed = None
    if "\\boxed" in after or "\\fbox" in after:
        boxed = last_boxed(after if answer is None else answer)
    if boxed is not None:
        answer = boxed
    elif answer is not None:
        answer = _read_tag(answer)
    elif any(opened in after for opened in (ANSWER, END_ANSWER, "\\boxed", "\\fbox")):
        return None, "an answer tag or a box that is not closed"
    elif END_THINK in completion:
        answer = stated(after)
        if answer is None:
            return None, "neither an answer tag nor a box after the thinking, and no plain statement of one answer"
    else:
        return None, "neither an answer tag nor a box, and no thinking that ends"
    if not answer.strip():
        return None, "the answer is empty"
    return answer, ""


def _read_tag(content: str) -> str:
    """The answer in a tag: of a sentence what it states, else all of it."""
    if "#" in content or is_prose(content):
        return stated(content) or content
    return content
