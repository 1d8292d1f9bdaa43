"""Multiple choice: MMLU, MMLU-Pro, MMLU-Redux, ARC, OpenBookQA, MedMCQA, C-Eval, CMMLU, CLUEWSC and GPQA shapes.

Every shape becomes one: the question, the options under A, B, C, ..., and a closing line that asks for the letter. The
reference is the letter; the column ``choices`` holds the options' texts in their order. An index counts from 0, as in
MMLU. GPQA marks the right answer by its column, so its options are shuffled, the same way every time.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

from thinkery.problems.conventions.base import Fields, ParsedRow, shown

MAX_OPTIONS = 10  # A to J, as many as MMLU-Pro has
_ASK = "Answer with the letter of the right option."
_ASK_ZH = "请用正确选项的字母作答。"
_LISTS = ("choices", "options")


def read_choice(fields: Fields) -> ParsedRow:
    """Options in a list, and which of them is right."""
    question = fields.text(fields.prompt)
    column = next((name for name in _LISTS if fields.values.get(name) is not None), None)
    if column is None:
        raise fields.error(" or ".join(_LISTS), "is missing, which the first row has")
    labels, options = _options(fields, column)
    return _task(question, options, _index(fields, labels, options))


def read_redux(fields: Fields) -> ParsedRow:
    """MMLU-Redux: what its people found wrong with a question of MMLU, and the right answer where there is one."""
    found = str(fields.values.get("error_type") or "ok").strip()
    corrected = fields.take("correct_answer")
    if found == "wrong_groundtruth" and corrected not in (None, ""):
        fields.values[fields.answer] = corrected
    elif found != "ok":
        raise fields.error("error_type", f"is {found!r}: the data set itself says that the question has no one answer")
    return read_choice(fields)


def columns_of(*columns: str, ask: str = _ASK) -> Callable[[Fields], ParsedRow]:
    """Options in a column each."""

    def read(fields: Fields) -> ParsedRow:
        question = fields.text(fields.prompt)
        options = [str(fields.take(column) or "").strip() for column in columns]
        for column, option in zip(columns, options, strict=True):
            if not option:
                raise fields.error(column, "must be the text of an option, and is empty")
            fields.checked(column, option)
        return _task(question, options, _index(fields, list(string.ascii_uppercase[: len(options)]), options), ask)

    return read


read_chinese = columns_of("A", "B", "C", "D", ask=_ASK_ZH)


def shuffled(*wrong: str) -> Callable[[Fields], ParsedRow]:
    """The right answer in one column, wrong ones in others; shuffled, since the column gives it away."""

    def read(fields: Fields) -> ParsedRow:
        question, correct = fields.text(fields.prompt), fields.text(fields.answer)
        options = [correct, *(fields.text(column) for column in wrong)]
        order = Random(f"gpqa/{question}").sample(range(len(options)), len(options))
        return _task(question, [options[position].strip() for position in order], order.index(0))

    return read


def read_cluewsc(fields: Fields) -> ParsedRow:
    """Whether a pronoun stands for a noun: yes (A) or no (B)."""
    text, target = fields.text(fields.prompt), fields.json("target")
    noun, pronoun = (target.get(f"span{i}_text") if isinstance(target, dict) else None for i in (1, 2))
    if not isinstance(noun, str) or not isinstance(pronoun, str):
        raise fields.error("target", f"must be an object with span1_text and span2_text, not {shown(target)}")
    label = {0: 0, 1: 1, "true": 0, "false": 1, "0": 0, "1": 1}.get(_hashable(fields.take("label")))
    if label is None:
        raise fields.error("label", "must be true or false (0 or 1 on the Hub; -1 is a hidden label)")
    return _task(f"{text.strip()}\n\n句中的“{pronoun}”指的是“{noun}”吗？", ["是", "否"], label, _ASK_ZH)


def _hashable(value: Any) -> Any:
    """true and false as their words: they are equal to 1 and 0, which on the Hub mean the opposite."""
    if isinstance(value, bool):
        return str(value).lower()
    return value.strip().lower() if isinstance(value, str) else value if isinstance(value, int) else None


def _task(question: str, options: Sequence[str], right: int, ask: str = _ASK) -> ParsedRow:
    listed = "\n".join(f"{letter}. {option}" for letter, option in zip(string.ascii_uppercase, options, strict=False))
    prompt = f"{question.strip()}\n\n{listed}\n\n{ask}"
    return ParsedRow(prompt, string.ascii_uppercase[right], "choice", {"choices": list(options)})


def _options(fields: Fields, column: str) -> tuple[list[str], list[str]]:
    """The options' labels as the data set has them (letters if it has none) and their texts."""
    value = fields.json(column) if str(fields.values[column]).lstrip()[:1] in ("[", "{") else fields.take(column)
    if isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
        value = {"label": [item.get("label") for item in value], "text": [item.get("text") for item in value]}
    labels: list[Any] = list(string.ascii_uppercase)
    texts: Any = value
    if isinstance(value, Mapping) and {"label", "text"} <= value.keys():
        labels, texts = value["label"], value["text"]
    elif isinstance(value, Mapping):
        labels, texts = list(value.keys()), list(value.values())
    if isinstance(texts, list):
        while texts and texts[-1] is None:  # what parquet fills up shorter lists with
            texts = texts[:-1]
    good = isinstance(texts, list) and isinstance(labels, list) and 2 <= len(texts) <= min(MAX_OPTIONS, len(labels))
    if not good or isinstance(value, str):
        raise fields.error(column, f"must be a list of 2 to {MAX_OPTIONS} options, not {_told(texts)}")
    for text in texts:
        if not isinstance(text, str | int | float) or isinstance(text, bool) or not str(text).strip():
            raise fields.error(column, f"must be a list of texts; one of them is {shown(text)}")
    return [str(label) for label in labels[: len(texts)]], [fields.checked(column, str(text).strip()) for text in texts]


def _told(value: object) -> str:
    return f"a list of {len(value)}" if isinstance(value, list) else shown(value)


def _index(fields: Fields, labels: Sequence[str], options: Sequence[str]) -> int:
    """Which option is right: by its label, its index from 0, or its text."""
    value = fields.take(fields.answer)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(options):
        return value
    if isinstance(value, str):
        answer = value.strip()
        bare = answer.strip("().").upper()
        if answer in labels or bare in labels:
            return labels.index(answer if answer in labels else bare)
        if list(options).count(answer) == 1:
            return options.index(answer)
        if answer.isascii() and answer.isdecimal() and len(answer) < 3 and int(answer) < len(options):
            return int(answer)
    last = len(options) - 1
    expected = f"must be a label ({labels[0]} to {labels[last]}), an index (0 to {last}) or an option's text"
    raise fields.error(fields.answer, f"{expected}, not {shown(value)}")
