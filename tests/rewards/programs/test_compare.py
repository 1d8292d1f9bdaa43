from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thinkery.rewards.programs.compare import equal_output, equal_value, shown_wire
from thinkery.rewards.programs.harness.plain import check, encode

TOLERANCE = 1e-6


def equal(expected: Any, given_value: Any, tolerance: float = TOLERANCE) -> bool:
    return equal_value(expected, check(encode(given_value)), tolerance)


@pytest.mark.parametrize(
    ("expected", "value"),
    [
        (None, None),
        (True, True),
        (3, 3),
        (3, 3.0),
        (3.0, 3),
        (10**30, 10**30),
        (2**53, 2.0**53),
        (0.1 + 0.2, 0.3),
        (1e300, 1.0000001e300),
        (math.inf, math.inf),
        (math.nan, math.nan),
        (0.0, -0.0),
        ("a b", "a b"),
        ([1, [2]], (1, (2,))),
        ([], ()),
        ({"a": 1}, {"a": 1}),
        ({"2": "x", "true": "y", "null": "z", "0.5": "w"}, {2: "x", True: "y", None: "z", 0.5: "w"}),
        ({"-7": []}, {-7: ()}),
    ],
)
def test_the_same_value_is_equal(expected: Any, value: Any) -> None:
    assert equal(expected, value)


@pytest.mark.parametrize(
    ("expected", "value"),
    [
        (1, True),
        (True, 1),
        (0, False),
        (False, None),
        (None, 0),
        (0, ""),
        ("1", 1),
        (1, "1"),
        ("a", b"a"),
        ("a", "A"),
        ("a", "a "),
        ([], ""),
        ([], {}),
        ([], None),
        ([1, 2], [2, 1]),
        ([1], [1, 1]),
        ([1, 2], {1, 2}),
        ([1], 1),
        ({"a": 1}, {"a": 1, "b": 2}),
        ({"a": 1}, {"b": 1}),
        ({"a": 1}, [["a", 1]]),
        ({"1": 1}, {1.0: 1}),
        ({"1": 1, "2": 2}, {1: 1, "1": 1}),
        (1.0, 1.1),
        (1, 1.0000001),
        (10**30, 10**30 + 1),
        (2**53 + 1, 2.0**53),
        (1.0, 1 + 0j),
        (1.0, math.inf),
        (1.0, math.nan),
        (math.inf, 1e308),
        (math.inf, -math.inf),
        (math.nan, "nan"),
        (0.0, 1e-300),
        (1e-9, 2e-9),
        (1.5, 10**400),
    ],
)
def test_another_value_is_not_equal(expected: Any, value: Any) -> None:
    assert not equal(expected, value)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(_JSON)
def test_every_json_value_equals_itself(value: Any) -> None:
    assert equal(json.loads(json.dumps(value)), value, 0.0)


@given(_JSON, _JSON)
def test_without_tolerance_json_values_are_equal_as_their_texts_are(one: Any, other: Any) -> None:
    def canonical(value: Any) -> str:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, list):
            return f"[{','.join(map(canonical, value))}]"
        if isinstance(value, dict):
            return f"{{{','.join(f'{json.dumps(k)}:{canonical(v)}' for k, v in sorted(value.items()))}}}"
        return json.dumps(value)

    assert equal(one, other, 0.0) == (canonical(one) == canonical(other))


@pytest.mark.parametrize(
    ("expected", "printed"),
    [
        ("3\n", "3"),
        ("3", "3\n\n\n"),
        ("1 2 3\n4\n", "1  2 3 \n4"),
        ("a\r\nb\r\n", "a\nb\n"),
        ("0.333333333\n", "0.33333334\n"),
        ("1.0e3", "1000.0"),
        (".5", "0.5"),
        ("-0.0", "0.0"),
        ("1e5", "1.00000001e5"),
        ("", ""),
    ],
)
def test_the_same_output_is_equal(expected: str, printed: str) -> None:
    assert equal_output(expected, printed, TOLERANCE)


@pytest.mark.parametrize(
    ("expected", "printed"),
    [
        ("3\n4\n", "3\n"),
        ("3\n", "3\n4\n"),
        ("3\n4\n", "3 4\n"),
        ("Yes", "yes"),
        ("3", "3.0"),
        ("3.0", "3"),
        ("3", "03"),
        ("3", "+3"),
        ("1000000", "1000001"),
        ("0.0", "1e-12"),
        ("1.5", "nan"),
        ("1.5", "inf"),
        ("1.5", "1e999"),
        ("inf", "1e999"),
        ("1.5", "1_5e-1"),
        ("1.5", "١.٥"),
        ("1e999", "2e999"),
        ("1.5", "0x1.8p0"),
        ("a", ""),
        ("", "a"),
        ("a\nb", "a\n\nb"),
        ("1." + "0" * 500 + "1", "1." + "0" * 500 + "2"),
    ],
)
def test_other_output_is_not_equal(expected: str, printed: str) -> None:
    assert not equal_output(expected, printed, TOLERANCE)


@given(st.text(), st.text())
def test_any_two_outputs_are_compared(expected: str, printed: str) -> None:
    assert equal_output(expected, expected, 0.0)
    assert equal_output(expected, printed, TOLERANCE) in (True, False)


@pytest.mark.parametrize("value", [[1, (2,), {"a": {3}}], set(), (), b"x", 1.5, 2 + 3j, None, "'", {True: "t"}])
def test_values_are_shown_as_python_writes_them(value: Any) -> None:
    assert shown_wire(check(encode(value))) == repr(value)


def test_a_long_value_is_shown_shortened() -> None:
    assert len(shown_wire(["x"] * 10_000)) < 250
