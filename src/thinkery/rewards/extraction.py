r"""Where a completion states its final answer: after the thinking, in the answer tag, else in the last \boxed{}.

What stands in the thinking never counts, however right it is. Both functions are linear in the completion's length.
Left out: guessing an answer from plain prose; what is neither tagged nor boxed is no answer.
"""

from __future__ import annotations

import re

from thinkery.models.template import ANSWER, END_ANSWER, END_THINK, THINK

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


def final_answer(completion: str, *, prefilled_think: bool = False) -> tuple[str | None, str]:
    """The answer as written, and, where there is none, the reason why."""
    after = after_thinking(completion, prefilled_think=prefilled_think)
    if after is None:
        return None, "the thinking never ends"
    before, ended, _ = after.rpartition(END_ANSWER)
    _, opened, tagged = before.rpartition(ANSWER)
    answer = tagged if ended and opened else None
    if "\\boxed" in after or "\\fbox" in after:
        boxed = last_boxed(after if answer is None else answer)
        answer = answer if boxed is None else boxed
    if answer is None:
        return None, "neither an answer tag nor a box after the thinking"
    if not answer.strip():
        return None, "the answer is empty"
    return answer, ""
