"""The stand-in for numpy agrees with numpy on what EvalPlus's tests ask of it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from thinkery.rewards.programs.harness.numpy_names import stand_in

NAMES: Any = stand_in()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (1.0, 1.0 + 1e-9), (1.0, 1.001), (0.0, 1e-9), (0.0, 1e-7), (1e10, 1e10 + 1), (True, 1), (2, 2.0),
        (math.inf, math.inf), (math.inf, -math.inf), (math.nan, math.nan), (1.0, math.nan), (3 + 1e-12j, 3),
        ([1.0, 2.0], [1.0, 2.0 + 1e-9]), ((1.0, 2.0), [1.0, 2.1]), ([[1.0], [2.0]], [[1.0], [2.0]]),
        ([1.0, 1.0], 1.0), (1.0, [1.0, 2.0]), ([], []),
    ],
)  # fmt: skip
@pytest.mark.parametrize("tolerances", [{}, {"rtol": 1e-7, "atol": 1e-6}, {"rtol": 0, "atol": 0}])
def test_close_is_what_numpy_calls_so(given: Any, expected: Any, tolerances: dict[str, float]) -> None:
    assert NAMES.allclose(given, expected, **tolerances) == np.allclose(given, expected, **tolerances)


def test_other_shapes_and_texts_are_no_answer() -> None:
    for given, expected in (([1.0], [1.0, 2.0]), ("a", 1.0), (None, [1.0])):
        with pytest.raises((ValueError, TypeError)):
            NAMES.allclose(given, expected)
    assert not isinstance(1.0, (NAMES.ndarray, NAMES.float64))
    with pytest.raises(AttributeError):
        _ = NAMES.array
