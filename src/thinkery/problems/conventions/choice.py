"""Multiple choice: MMLU, MMLU-Pro, ARC, CommonsenseQA, OpenBookQA and GPQA shapes.

Every shape becomes one: the question, the options under A, B, C, ..., and a closing line that asks for the letter. The
reference is the letter; the column ``choices`` holds the options' texts in their order. An index counts from 0, as in
MMLU. GPQA marks the right answer by its column, so its options are shuffled, the same way every time.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from thinkery.problems.conventions.base import Convention, Fields, Task, shown

_PLAIN = ("plain", "gsm8k")
MAX_OPTIONS = 10  # A to J, as many as MMLU-Pro has
_ASK = "Answer with the letter of the right option."
_GPQA_WRONG = tuple(f"Incorrect Answer {number}" for number in (1, 2, 3))
_LISTS = ("choices", "options")


def _read_choice(fields: Fields) -> Task:
    question = fields.text(fields.prompt)
    column = next((name for name in _LISTS if fields.values.get(name) is not None), None)
    if column is None:
        raise fields.error(" or ".join(_LISTS), "is missing, which the first row has")
    labels, options = _options(fields, column)
    right = _index(fields, labels, options)
    return _task(question, options, right)


def _read_gpqa(fields: Fields) -> Task:
    question, correct = fields.text(fields.prompt), fields.text(fields.answer)
    options = [correct, *(fields.text(column) for column in _GPQA_WRONG)]
    order = Random(f"gpqa/{question}").sample(range(len(options)), len(options))
    return _task(question, [options[position].strip() for position in order], order.index(0))


def _task(question: str, options: Sequence[str], right: int) -> Task:
    listed = "\n".join(f"{letter}. {option}" for letter, option in zip(string.ascii_uppercase, options, strict=False))
    prompt = f"{question.strip()}\n\n{listed}\n\n{_ASK}"
    return Task(prompt, string.ascii_uppercase[right], "choice", {"choices": list(options)})


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
    good = isinstance(texts, list) and isinstance(labels, list) and 2 <= len(texts) <= min(MAX_OPTIONS, len(labels))
    if not good or isinstance(value, str):
        raise fields.error(column, f"must be a list of 2 to {MAX_OPTIONS} options, not {shown(value)}")
    for text in texts:
        if not isinstance(text, str | int | float) or isinstance(text, bool) or not str(text).strip():
            raise fields.error(column, f"must be a list of texts; one of them is {shown(text)}")
    return [str(label) for label in labels[: len(texts)]], [fields.checked(column, str(text).strip()) for text in texts]


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


def _has_options(values: Mapping[str, Any], answer: str) -> bool:
    return any(values.get(name) is not None for name in _LISTS)


CHOICE = Convention(
    "multiple choice",
    ("question", "question_stem", "prompt", "problem"),
    (("answer", "answerKey"), ("answer_index",)),
    "reference = {answer} as a letter",
    _read_choice,
    fits=_has_options,
    over=_PLAIN,
)
GPQA = Convention(
    "gpqa",
    ("Question", "question"),
    (("Correct Answer",),),
    "reference = {answer} as a letter, options shuffled",
    _read_gpqa,
    needs=_GPQA_WRONG,
    over=_PLAIN,
)
