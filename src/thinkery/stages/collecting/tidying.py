r"""Thinking tidied and a summary written, both by rule: what refines samples where there is nobody to ask.

Neither adds a step. The thinking loses leftover tags, needless space and sentences said twice in a row, and begins and
ends as sentences do. The summary states a bare number or choice in a sentence, or puts a program in a block; every
other answer stays as it is. Left out: better words, which need a model (``few_shot``, ``endpoint``).
"""

from __future__ import annotations

import re
import string

from thinkery.rewards.answers.statements import is_prose
from thinkery.stages.collecting.readable import FENCES
from thinkery.types import Problem

STATEMENTS = {"en": "The answer is {a}.", "zh": "答案是{a}。"}
SENTENCES = ("math", "choice")  # the verifiers that read sentences; others may want the very words
LONGEST_OPTION = 60  # characters
MINI = "mini-"  # how the ids of the miniature world's problems begin

_TAG = re.compile(r"</?(?:think|answer)>|<\|[^|<>\n]{1,40}\|>")
_INNER_SPACE = re.compile(r"(?<=\S)[ \t]{2,}(?=\S)")
_END_SPACE = re.compile(r"[ \t]+$", re.MULTILINE)
_EMPTY_LINES = re.compile(r"\n{3,}")
_SENTENCE = re.compile(r".+?(?:[.!?]+(?=\s|$)|[。！？]+|\n+|$)[ \t]*", re.DOTALL)
_FIRST_WORD = re.compile(r"(?!(?:def|class|import|return|print)\b)[a-z][a-z']+(?=[\s,])|i(?=[\s'])")
_SENTENCE_ENDS = (".", "!", "?", "。", "！", "？", ":", "：", "…", *FENCES)


def tidy(thinking: str, language: str) -> str:
    """The thinking in good order."""
    text = _TAG.sub(" ", thinking).strip()
    text = _INNER_SPACE.sub(" ", text)
    text = _EMPTY_LINES.sub("\n\n", _END_SPACE.sub("", text))
    text = _said_once(text)
    if language == "en" and (match := _FIRST_WORD.match(text)):
        text = match[0].capitalize() + text[match.end() :]
    stop, other = ("。", ".") if language in ("zh", "ja") else (".", "。")
    text = text.removesuffix(other)
    return text if not text or text.endswith(_SENTENCE_ENDS) else text + stop


def summarize(problem: Problem, answer: str) -> str:
    """What the reader is told after the thinking."""
    answer = answer.strip()
    if problem.verifier == "code":
        return answer if any(fence in answer for fence in FENCES) else f"{_fence(problem)}\n{answer}\n```"
    statement = STATEMENTS.get(problem.language)
    if problem.verifier not in SENTENCES or statement is None or "\n" in answer or is_prose(answer):
        return answer
    if problem.verifier == "choice":
        return statement.format(a=_with_its_text(problem, answer))
    return statement.format(a=f"${answer}$" if "\\" in answer and "$" not in answer else answer)


def _with_its_text(problem: Problem, letter: str) -> str:
    """``B, gold``: a letter with the option that it stands for, where the problem lists short ones."""
    choices = problem.columns.get("choices")
    number = string.ascii_uppercase.find(letter) if len(letter) == 1 else -1
    if not isinstance(choices, list) or not 0 <= number < len(choices) or len(str(choices[number])) > LONGEST_OPTION:
        return letter
    return f"{letter}{'，' if problem.language == 'zh' else ', '}{choices[number]}"


def _said_once(text: str) -> str:
    """Without the sentences that only repeat the one before."""
    sentences = _SENTENCE.findall(text)
    told = [one for i, one in enumerate(sentences) if not one.strip() or i == 0 or not _same(one, sentences[i - 1])]
    return "".join(told).rstrip()


def _same(one: str, other: str) -> bool:
    return one.split() == other.split()


def _fence(problem: Problem) -> str:
    language = problem.columns.get("language") or "python"
    return f"```{language}" if isinstance(language, str) else "```"
