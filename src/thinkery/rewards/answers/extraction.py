r"""Where a completion states its final answer: after the thinking, in the answer tag or the last \boxed{}.

What stands in the thinking never counts, however right it is. Where a thinking has ended and there is neither tag nor
box, a plain statement counts (``statements``). Of several answers the last one counts, so writing more of them wins
nothing. Everything is linear in the completion's length. Left out: what an answer means.
"""

from __future__ import annotations

import re
from collections import deque
from itertools import pairwise
from typing import NamedTuple

from thinkery.models.template import ANSWER, END_ANSWER, END_THINK, THINK
from thinkery.rewards.answers.statements import is_prose, stated

# An opening box, a brace, or an escaped character (so that ``\{`` and ``\}`` don't count as braces).
_BRACES = re.compile(r"(?P<box>\\(?:boxed|fbox)\s*\{)|\\.|[{}]", re.DOTALL)

_BARE_BOX = re.compile(r"\\boxed\s+([0-9A-Za-z][0-9./]{0,20})(?=[\s$.,;)\\]|$)")  # \boxed 7
# Between two boxes: the parts of one answer, "\\boxed{1} and \\boxed{2}".
_JOINT = re.compile(r"(?:[\s$,;]|\\q?quad|\\ |\\[()\[\]]|\\text\s*\{\s*,?\s*and\s*\}|\band\b)+")
_JOINED = re.compile(r"[,;]|and")
_MAX_JOINED = 16


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
    boxes = _boxes(text)
    if not boxes:
        return None
    start, end = boxes[-1][1:]
    return text[start:end]


def _joined(text: str, boxes: list[tuple[int, int, int]]) -> str:
    """The last box, with those before it that a comma or an ``and`` joins to it as the parts of one answer."""
    if len(boxes) == 1:
        return text[boxes[0][1] : boxes[0][2]]
    parts = [text[boxes[-1][1] : boxes[-1][2]]]
    for before, box in pairwise(reversed(boxes)):
        between = text[box[2] + 1 : before[0]]
        if (
            box[2] > before[0]
            or len(parts) == _MAX_JOINED
            or not _JOINT.fullmatch(between)
            or not _JOINED.search(between)
        ):
            break
        parts.append(text[box[1] : box[2]])
    return ", ".join(reversed(parts))


def _boxes(text: str) -> list[tuple[int, int, int]]:
    """All balanced boxes in the order in which they begin: where each begins, where its content begins and ends."""
    open_braces: list[tuple[int, int, bool]] = []
    boxes: list[tuple[int, int, int]] = []
    for match in _BRACES.finditer(text):
        token = match.group()
        if match["box"] or token == "{":
            open_braces.append((match.start(), match.end(), match["box"] is not None))
        elif token == "}" and open_braces:
            begin, start, is_box = open_braces.pop()
            if is_box:
                boxes.append((begin, start, match.start()))
    return boxes if len(boxes) < 2 else sorted(boxes)


def _holds_more(text: str, boxes: list[tuple[int, int, int]]) -> bool:
    """Whether the last box stands inside another that holds more than it: nobody knows which of the two is meant."""
    begin, _, end = boxes[-1]
    around = next((box for box in reversed(boxes[:-1]) if box[2] > end), None)
    return around is not None and bool((text[around[1] : begin] + text[end + 1 : around[2]]).strip("{}$ \n"))


def tagged(text: str) -> str | None:
    """The content of the last answer tag that is closed, or None. Of nested tags the innermost counts."""
    end = text.rfind(END_ANSWER)
    start = text.rfind(ANSWER, 0, end) if end >= 0 else -1
    if start < 0:
        return None
    start += len(ANSWER)
    return text[start : text.index(END_ANSWER, start)]


def _nested_tags(text: str) -> bool:
    """Whether an answer tag opens while another is open, and both are closed."""
    start = text.rfind(ANSWER)
    before = text.rfind(ANSWER, 0, start) if start >= 0 else -1
    return before >= 0 and END_ANSWER not in text[before:start] and text.count(END_ANSWER, start) > 1


class GivenAnswer(NamedTuple):
    """What a completion gives as its answer: at most a box and a tag (the box inside it, if both), or plain text."""

    boxed: str | None = None
    tag: str | None = None
    plain: str | None = None  # what follows the thinking, where nothing in it is marked
    reason: str = ""  # why there is none of them
    after: str = ""  # what follows the box


def written_answer(completion: str, *, prefilled_think: bool = False) -> GivenAnswer:
    """Where a completion gives its answer, before anybody reads what it means."""
    after = after_thinking(completion, prefilled_think=prefilled_think)
    if after is None:
        return GivenAnswer(reason="the thinking never ends")
    if ANSWER in after and _nested_tags(after):
        return GivenAnswer(reason="an answer tag inside another")
    tag = tagged(after)
    searched = after if tag is None else tag
    boxes = _boxes(searched) if "\\boxed" in searched or "\\fbox" in searched else []
    if len(boxes) > 1 and _holds_more(searched, boxes):
        return GivenAnswer(reason="a box inside another that holds more")
    if tag is not None or boxes:
        below = after[boxes[-1][2] + 1 :] if tag is None else ""
        return GivenAnswer(_joined(searched, boxes) if boxes else None, tag, after=below)
    if tag is None and (bare := deque(_BARE_BOX.finditer(after), maxlen=1)) and "\\boxed{" not in after:
        return GivenAnswer(bare[0][1])
    if any(opened in after for opened in (ANSWER, END_ANSWER, "\\boxed", "\\fbox")):
        return GivenAnswer(reason="an answer tag or a box that is not closed")
    if END_THINK not in completion:
        return GivenAnswer(reason="neither an answer tag nor a box, and no thinking that ends")
    return GivenAnswer(plain=after)


def final_answer(completion: str, *, prefilled_think: bool = False) -> tuple[str | None, str]:
    """The answer as written, and, where there is none, the reason why."""
    written = written_answer(completion, prefilled_think=prefilled_think)
    if written.reason:
        return None, written.reason
    answer: str | None
    if written.boxed is not None:
        answer = written.boxed
    elif written.tag is not None:
        answer = _read_tag(written.tag)
    else:
        answer = stated(written.plain or "")
        if answer is None:
            return None, "neither an answer tag nor a box after the thinking, and no plain statement of one answer"
    if not answer.strip():
        return None, "the answer is empty"
    return answer, ""


def _read_tag(content: str) -> str:
    """The answer in a tag: of a sentence what it states, else all of it."""
    if "#" in content or is_prose(content):
        return stated(content) or content
    return content
