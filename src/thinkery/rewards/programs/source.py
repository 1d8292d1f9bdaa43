"""The program in a completion: the last fenced code block after the thinking.

Fences are CommonMark's: a line of three or more backticks or tildes, a language, and a line of at least as many to end
it. The last block in the language asked for counts; if none names it, the last block that names no language. Without
any block the answer tag's content is the program, or, where the problem gives a beginning to continue, all of the
answer. A last fence that never ends is a program cut off, and refused. All is linear in the completion's length.
Left out: guessing where code begins in prose.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from thinkery.models.template import ANSWER, END_ANSWER
from thinkery.rewards.answers.extraction import after_thinking
from thinkery.rewards.programs.tests import CallTests, CodeTests, UnitTests
from thinkery.sandbox.types import Language

MAX_PROGRAM = 1 << 17  # characters

_FENCE = re.compile(r"(?P<indent>[ \t]*)(?P<fence>`{3,}|~{3,})[ \t]*(?P<info>[^\r\n]*)")
_TAGS: dict[Language, frozenset[str]] = {
    "python": frozenset({"python", "python3", "py", "py3", "pypy", "pypy3"}),
    "cpp": frozenset({"cpp", "c++", "cc", "cxx", "cpp11", "cpp14", "cpp17", "cpp20"}),
}


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced code block. ``tag`` is its language in lower case, or ""."""

    tag: str
    source: str


def find_program(
    completion: str, language: Language, *, continues: bool = False, prefilled_think: bool = False
) -> tuple[str | None, str]:
    """The program as written, and, where there is none, the reason why.

    ``continues``: an answer without any code block is itself the program, the rest of the problem's prompt.
    """
    after = after_thinking(completion, prefilled_think=prefilled_think)
    if after is None:
        return None, "the thinking never ends"
    before, ended, _ = after.rpartition(END_ANSWER)
    _, opened, tagged = before.rpartition(ANSWER)
    answer = tagged if ended and opened else None
    blocks, complete = code_blocks(after if answer is None else answer)
    if not complete:
        return None, "the last code block never ends"
    if blocks:
        source, reason = _last_of(blocks, language)
    elif answer is None and not continues:
        return None, "neither a code block nor an answer tag after the thinking"
    else:
        source, reason = (after if answer is None else answer), ""
    if source is not None and not source.strip():
        return None, "the program is empty"
    if source is not None and len(source) > MAX_PROGRAM:
        return None, f"the program is longer than {MAX_PROGRAM} characters"
    return source, reason


def code_blocks(text: str) -> tuple[list[Block], bool]:
    """The fenced code blocks of a text, and whether the last one ends."""
    blocks: list[Block] = []
    opening: re.Match[str] | None = None
    lines: list[str] = []
    for line in text.replace("\r\n", "\n").split("\n"):
        fence = _FENCE.fullmatch(line)
        if opening is None:
            if fence and not (fence["fence"][0] == "`" and "`" in fence["info"]):
                opening, lines = fence, []
        elif fence and fence["fence"].startswith(opening["fence"]) and not fence["info"].strip():
            words = opening["info"].split()
            tag = words[0].lower().strip("{}.") if words else ""
            blocks.append(Block(tag, "\n".join(lines) + "\n"))
            opening = None
        else:
            lines.append(line.removeprefix(opening["indent"]))
    return blocks, opening is None


def join_prompt(program: str, tests: CodeTests) -> str:
    """The program, after the problem's prompt if it only continues it, that is, doesn't define what the tests call."""
    if not tests.prompt or not isinstance(tests.tests, CallTests | UnitTests):
        return program
    name = tests.tests.function.partition(".")[0]
    if name and re.search(rf"^(?:(?:async\s+)?def\s+{name}\b|class\s+{name}\b|{name}\s*[:=])", program, re.MULTILINE):
        return program
    return tests.prompt + program


def fenced(program: str, language: Language) -> str:
    """The program as a code block that ``find_program`` reads back."""
    longest = max((len(run) for run in re.findall(r"`+", program)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{program.rstrip()}\n{fence}"


def _last_of(blocks: list[Block], language: Language) -> tuple[str | None, str]:
    for accepted in (_TAGS[language], frozenset({""})):
        for block in reversed(blocks):
            if block.tag in accepted:
                return block.source, ""
    return None, f"the code block says {blocks[-1].tag[:40]!r} where {language} is asked for"
