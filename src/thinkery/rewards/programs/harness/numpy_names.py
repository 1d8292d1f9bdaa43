"""The few names of numpy that EvalPlus's tests use (HumanEval+, MBPP+), for sandboxes that have no numpy.

``allclose`` and ``isclose`` of numbers and of lists and tuples of them, ``isnan``, ``inf``, ``nan``; ``float32``,
``float64`` and ``ndarray`` are there to be compared with, and nothing is one. Standard library only. Left out: arrays,
and any other name, which is an AttributeError.
"""

from __future__ import annotations

import math
import types
from typing import Any


class Kind:
    """A type of numpy's; no value that a program can return is of it."""


def stand_in() -> types.ModuleType:
    """A module with these names, to be imported as ``numpy``."""
    module = types.ModuleType("numpy")
    vars(module).update(allclose=allclose, isclose=isclose, isnan=math.isnan, inf=math.inf, nan=math.nan)
    vars(module).update(ndarray=type("ndarray", (Kind,), {}), float32=Kind, float64=Kind)
    return module


def isclose(given: Any, expected: Any, rtol: float = 1e-5, atol: float = 1e-8) -> bool:
    """|given - expected| <= atol + rtol * |expected|, numpy's rule; infinities must be equal."""
    if given == expected:
        return True
    if not math.isfinite(abs(given)) or not math.isfinite(abs(expected)):
        return False
    return bool(abs(given - expected) <= atol + rtol * abs(expected))


def allclose(given: Any, expected: Any, rtol: float = 1e-5, atol: float = 1e-8) -> bool:
    """Whether two numbers are close, or two lists of one shape, item by item; a number stands for a list of it."""
    lists = [isinstance(side, (list, tuple)) for side in (given, expected)]
    if all(lists):
        if len(given) != len(expected):
            raise ValueError(f"operands could not be broadcast together: {len(given)} and {len(expected)} items")
        return all(allclose(g, e, rtol, atol) for g, e in zip(given, expected))  # noqa: B905 - Python 3.9
    if lists[0]:
        return all(allclose(g, expected, rtol, atol) for g in given)
    if lists[1]:
        return all(allclose(given, e, rtol, atol) for e in expected)
    return isclose(given, expected, rtol, atol)
