"""reasoning-gym's scorers, in a worker process.

Some scorers evaluate the answer as Python, directly or through sympy, which would let a model run code or name the
unevaluated integral of the question. So ``eval`` is taken from those that don't need it for credit, answers that sympy
parses are restricted to formulas, and a family that evaluates anything and has not been read is not scored. Read at
version 0.1.25. Left out: the judgment of a completion (``gym.py``).
"""

from __future__ import annotations

import ast
import inspect
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
# They evaluate what they made themselves.
_EVAL_OWN = {
    "basic_arithmetic",
    "bitwise_arithmetic",
    "codeio",
    "gsm_symbolic",
    "number_sorting",
    "propositional_logic",
}
_READ = _EVAL_ANSWERS | _PARSE_ANSWERS | _EVAL_OWN
_EVALUATES = re.compile(r"(?<![.\w])(?:eval|exec|compile|__import__)\(|\b(?:parse_expr|sympify|import_module|pickle)\b")

_FORMULA = re.compile(r"(?:[-+*/^(), \n]|[0-9]+(?:\.[0-9]*)?|\.[0-9]+|[A-Za-z]+)*", re.ASCII)
_NAMES = {
    "sin", "cos", "tan", "cot", "sec", "csc", "asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh",
    "exp", "log", "ln", "sqrt", "pi", "Abs",
}  # fmt: skip


def score(answer: str, entry: str) -> dict[str, Any]:
    """The verdict on an answer, as ``outcome``, ``reason`` and ``answer``. ``entry`` is a Python literal."""
    try:
        problem = ast.literal_eval(entry)
        family = problem["metadata"]["source_dataset"]
    except (ValueError, SyntaxError, KeyError, TypeError, RecursionError, MemoryError) as error:
        return _verdict(
            "gold_unparseable", f"the column gym_entry is no entry of reasoning-gym: {error!r}"[:200], answer
        )
    if family not in DATASETS:
        return _verdict("gold_unparseable", f"reasoning-gym has no family {family!r}", answer)
    scorer = _scorer(family)
    if scorer is None:
        return _verdict(
            "gold_unparseable", f"the scorer of {family!r} evaluates code and is not known to be safe", answer
        )
    if family in _PARSE_ANSWERS and not is_formula(answer):
        return _verdict("wrong", "not a formula", answer)
    try:
        value = scorer.score_answer(answer, problem)
    except Exception as error:  # the scorer can't read the answer
        return _verdict("wrong", f"the scorer failed: {type(error).__name__}: {str(error)[:200]}", answer)
    if value == 1.0:
        return _verdict("correct", "", answer)
    return _verdict("wrong", f"scored {float(value):.3g}; only 1 counts", answer)


def is_formula(text: str) -> bool:
    """Whether a text holds nothing but numbers, operators, one-letter variables and the names of usual functions."""
    names = re.findall(r"[A-Za-z]+", text)
    return _FORMULA.fullmatch(text) is not None and all(len(name) == 1 or name in _NAMES for name in names)


@cache
def _scorer(family: str) -> Any:
    module = sys.modules[DATASETS[family][0].__module__]
    if _EVALUATES.search(inspect.getsource(module)) and family not in _READ:
        return None
    if family in _EVAL_ANSWERS:
        module.__dict__["eval"] = _refuse  # found before the built-in one
    return create_dataset(family)


def _refuse(*_: object) -> Any:
    raise ValueError("answers are not evaluated")


def _verdict(outcome: str, reason: str, answer: str) -> dict[str, Any]:
    return {"outcome": outcome, "reason": reason, "answer": answer}
