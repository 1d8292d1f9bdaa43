"""What a worker process does for reasoning-gym's problems: makes their entries anew, and runs scorers that only read.

A problem names its entry, by family, seed, index and size; the entry itself never travels with the problem, so nothing
that a file holds reaches a scorer. It must ask what the problem asks. Left out: scorers that evaluate text, which run
in the sandbox (``gym_scorer.py`` there, ``gym.py`` here).
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from functools import lru_cache
from typing import Any

from reasoning_gym.factory import DATASETS, create_dataset

from thinkery.rewards.gym_scorer import score

MAX_SIZE = 1 << 16  # entries a dataset; some families make all of theirs when they are opened

_EVALUATES = re.compile(r"(?<![.\w])(?:eval|exec|compile|__import__)\(|\b(?:parse_expr|sympify|import_module|pickle)\b")
# They evaluate what they make themselves, when they make it; their scorers only read. Read at version 0.1.25.
_ONLY_MAKING = {"basic_arithmetic", "codeio", "gsm_symbolic", "propositional_logic"}


def work(task: str, **request: Any) -> dict[str, Any]:
    """The reply to ``make`` (an entry) or ``score`` (a verdict)."""
    return _make(**request) if task == "make" else score(**request)


def _make(
    family: str, seed: int, index: int, size: int, prompt: object, reference: str, isolated: bool
) -> dict[str, Any]:
    """The entry as a Python literal, ``entry``; or why there is none, as a verdict."""
    if family not in DATASETS:
        return _none(f"reasoning-gym has no family {family!r}")
    if not 0 <= index < size <= MAX_SIZE:
        return _none(f"seed {seed!r}, index {index!r}, size {size!r} name no entry; index < size <= {MAX_SIZE}")
    if not isolated and family not in _ONLY_MAKING and _evaluates(family):
        return _none(f"the scorer of {family!r} evaluates code and is not known to be safe")
    try:
        entry = dict(_dataset(family, seed, size)[index])
        literal = repr(entry)
        survives = bool(ast.literal_eval(literal) == entry)
    except Exception as error:  # whatever a family raises, it has no such entry
        return _none(f"{family} cannot make entry {index} of seed {seed}: {type(error).__name__}: {str(error)[:200]}")
    if not survives:
        return _none(f"an entry of {family} is no plain data")
    if entry["question"] != prompt:
        made = f"what {family} asks at index {index} of seed {seed}"
        return _none(f"the prompt is not {made}: it was changed, or made by another version of reasoning-gym")
    if str(entry["answer"]).strip() != reference:
        return _none(f"the answer is not that of {family} at index {index} of seed {seed}: it was changed")
    return {"entry": literal}


def _evaluates(family: str) -> bool:
    return _EVALUATES.search(inspect.getsource(sys.modules[DATASETS[family][0].__module__])) is not None


@lru_cache(maxsize=64)
def _dataset(family: str, seed: int, size: int) -> Any:
    return create_dataset(family, seed=seed, size=size)


def _none(reason: str) -> dict[str, Any]:
    return {"outcome": "reference_unparseable", "reason": reason}
