"""reasoning-gym's scorers, where they run: in a worker process, or in the sandbox, which is given this file as source.

Some scorers evaluate the answer as Python, directly or through sympy, which would let a model run code or name the
unevaluated integral of the question. The sandbox keeps such code from the machine; here it is kept from its own
verdict: ``eval`` is taken from the scorers that don't need it for credit, and answers that sympy parses are restricted
to formulas. Read at version 0.1.25. Standard library and reasoning-gym only. Left out: where an entry comes from
(``gym_worker.py``), the judgment of a completion (``gym.py``).
"""

from __future__ import annotations

import ast
import re
import sys
from functools import cache
from typing import Any

from reasoning_gym.factory import DATASETS, create_dataset

# They evaluate the answer only to give partial credit.
_EVAL_ANSWERS = {"binary_matrix", "n_queens", "spiral_matrix", "string_insertion"}
# They hand the answer to sympy's parser, which evaluates it.
_PARSE_ANSWERS = {
    "countdown",
    "intermediate_integration",
    "polynomial_multiplication",
    "puzzle24",
    "simple_integration",
}

_FORMULA = re.compile(r"(?:[-+*/^(), \n]|[0-9]+(?:\.[0-9]*)?|\.[0-9]+|[A-Za-z]+)*", re.ASCII)
_NAMES = {
    "sin", "cos", "tan", "cot", "sec", "csc", "asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh",
    "exp", "log", "ln", "sqrt", "pi", "Abs",
}  # fmt: skip


def score(family: str, answer: str, entry: str) -> dict[str, Any]:
    """The verdict on an answer, as ``outcome`` and ``reason``. ``entry`` is the family's own, as a Python literal."""
    if family in _PARSE_ANSWERS and not is_formula(answer):
        return _verdict("wrong", "not a formula")
    try:
        value = float(_scorer(family).score_answer(answer, ast.literal_eval(entry)))
    except Exception as error:  # the scorer can't read the answer
        return _verdict("wrong", f"the scorer failed: {type(error).__name__}: {str(error)[:200]}")
    if value == 1.0:
        return _verdict("correct", "")
    return _verdict("wrong", f"scored {value:.3g}; only 1 counts")


def is_formula(text: str) -> bool:
    """Whether a text holds nothing but numbers, operators, one-letter variables and the names of usual functions."""
    names = re.findall(r"[A-Za-z]+", text)
    return _FORMULA.fullmatch(text) is not None and all(len(name) == 1 or name in _NAMES for name in names)


@cache
def _scorer(family: str) -> Any:
    if family in _EVAL_ANSWERS:
        sys.modules[DATASETS[family][0].__module__].__dict__["eval"] = _refuse  # found before the built-in one
    return create_dataset(family)


def _refuse(*_: object) -> Any:
    raise ValueError("answers are not evaluated")


def _verdict(outcome: str, reason: str) -> dict[str, Any]:
    return {"outcome": outcome, "reason": reason}
