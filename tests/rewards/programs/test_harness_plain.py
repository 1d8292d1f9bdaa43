from __future__ import annotations

import json
import math
from collections import Counter, OrderedDict, namedtuple
from enum import IntEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thinkery.rewards.programs.harness.plain import MAX_DEPTH, PlainError, check, decode, dump, encode

_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=-(1 << 200), max_value=1 << 200)
    | st.floats()
    | st.complex_numbers()
    | st.text()
    | st.binary()
)
_HASHABLE = st.recursive(_SCALARS, lambda inner: st.tuples(inner, inner), max_leaves=4)
PLAIN = st.recursive(
    _SCALARS,
    lambda inner: (
        st.lists(inner) | st.tuples(inner, inner) | st.sets(_HASHABLE) | st.dictionaries(_HASHABLE, inner, max_size=4)
    ),
    max_leaves=20,
)


def spelt(value: Any) -> str:
    """A text that tells values apart as far as ``repr`` does, whatever the order of sets."""
    if isinstance(value, set):
        return f"set({sorted(map(spelt, value))})"
    if isinstance(value, dict):
        return f"dict({sorted((spelt(k), spelt(v)) for k, v in value.items())})"
    if isinstance(value, list | tuple):
        return f"{type(value).__name__}({[spelt(item) for item in value]})"
    return f"{type(value).__name__}({value!r})"


@pytest.mark.slow
@given(PLAIN)
def test_every_plain_value_comes_back_as_it_was(value: Any) -> None:
    assert spelt(decode(encode(value))) == spelt(value)


@pytest.mark.slow
@given(PLAIN)
def test_a_checked_text_is_written_again_byte_for_byte(value: Any) -> None:
    assert dump(check(encode(value))) == encode(value)


@given(st.binary())
def test_junk_bytes_are_a_value_or_refused_and_nothing_else(data: bytes) -> None:
    try:
        value = decode(data)
    except PlainError:
        return
    assert spelt(decode(encode(value))) == spelt(value)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.sampled_from(["int", "float", "complex", "bytes", "tuple", "set", "dict", "object"]), inner, max_size=2
        )
    ),
    max_leaves=10,
)


@given(_JSON)
def test_any_json_is_a_value_or_refused_and_nothing_else(junk: Any) -> None:
    try:
        value = decode(json.dumps(junk).encode())
    except PlainError:
        return
    assert spelt(decode(encode(value))) == spelt(value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "1.0",
        "NaN",
        "-Infinity",
        "9223372036854775808",
        '{"int": "0x1"}',
        '{"int": "1e5"}',
        '{"int": "0x' + "f" * 40_000 + '"}',
        '{"float": "1.5"}',
        '{"float": 1}',
        '{"float": "0x1p99999"}',
        '{"bytes": "ABCD"}',
        '{"bytes": "a b"}',
        '{"tuple": 1}',
        '{"tuple": {"tuple": []}}',
        '{"dict": [[1]]}',
        '{"dict": {"a": 1}}',
        '{"set": [[1]]}',
        '{"dict": [[[], 1]]}',
        '{"complex": ["0x0.0p+0"]}',
        '{"a": 1, "b": 2}',
        '{"pickle": "gASVCg=="}',
        "[" * 100_000,
        "[" * (MAX_DEPTH + 2) + "]" * (MAX_DEPTH + 2),
        '"\xff"',
        "1" * 5000,
    ],
)
def test_texts_that_no_encoder_writes_are_refused(text: str) -> None:
    with pytest.raises(PlainError):
        decode(text.encode("latin-1"))


class LyingList(list):  # type: ignore[type-arg]
    def __iter__(self) -> Any:
        return iter([99])

    def __len__(self) -> int:
        return 99


class LyingInt(int):
    def __index__(self) -> int:
        return 99

    def __int__(self) -> int:
        return 99


class LyingStr(str):
    def __str__(self) -> str:
        return "lie"


class LyingFloat(float):
    def __float__(self) -> float:
        return 99.0

    def hex(self) -> str:
        return "0x1.8p+6"


class LyingComplex(complex):
    @property
    def real(self) -> float:  # type: ignore[override]
        return 99.0


class LyingDict(dict):  # type: ignore[type-arg]
    def items(self) -> Any:
        return [(99, 99)]


class Color(IntEnum):
    RED = 1


Point = namedtuple("Point", "x y")


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (LyingList([1, 2]), [1, 2]),
        (LyingInt(5), 5),
        (LyingStr("truth"), "truth"),
        (LyingFloat(2.5), 2.5),
        (LyingComplex(1 + 2j), 1 + 2j),
        (LyingDict({1: 2}), {1: 2}),
        (Color.RED, 1),
        (Point(1, 2), (1, 2)),
        (Counter("aab"), {"a": 2, "b": 1}),
        (OrderedDict(a=1), {"a": 1}),
        (frozenset({1}), {1}),
        (bytearray(b"ab"), b"ab"),
    ],
)
def test_an_instance_of_a_subclass_arrives_as_its_true_plain_value(value: object, plain: object) -> None:
    assert spelt(decode(encode(value))) == spelt(plain)


class Pretender:
    """Claims to be a list."""

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return list

    def __iter__(self) -> Any:
        return iter([])


@pytest.mark.parametrize(
    "value", [object(), Pretender(), len, int, (i for i in []), range(3), {}.keys(), NotImplemented]
)
def test_objects_are_refused(value: object) -> None:
    with pytest.raises(PlainError, match="not plain data"):
        encode([value])


@pytest.mark.slow
def test_values_that_are_too_deep_or_too_large_are_refused() -> None:
    deep: list[Any] = []
    for _ in range(MAX_DEPTH):
        deep = [deep]
    shared: list[Any] = [0]
    for _ in range(40):
        shared = [shared, shared]
    cyclic: list[Any] = []
    cyclic.append(cyclic)
    for value in ([deep], shared, cyclic, "x" * (5 << 20), 1 << (1 << 18), [0] * (5 << 18)):
        with pytest.raises(PlainError):
            encode(value)
    assert decode(encode(deep)) == deep


def test_special_floats_come_back() -> None:
    values = [math.inf, -math.inf, -0.0, 5e-324, 0.1]
    assert spelt(decode(encode(values))) == spelt(values)
    assert math.isnan(decode(encode(math.nan)))
