"""Is what a program gave what the test expects? Compared on the host: expected values never enter the sandbox.

Return values come as the wire form of ``harness/plain.py``, printed output as text. What a test expects of a return
value is JSON, so some of Python's types have to be matched to it; the rules are:

- a bool is a bool and nothing else (True is not 1); None is None; a str is compared exactly;
- an int and a float are equal if they are the same number (1 and 1.0; JSON writers disagree about which to write);
- where the test expects a float, a relative tolerance holds, of the expected number's size alone; NaN equals NaN,
  an infinity equals itself;
- a list and a tuple of equal items are equal (JSON has no tuple); a set, bytes and complex never equal a JSON value;
- a dict's keys compare as JSON spells them: the key 1 is "1", True is "true", None is "null".

Printed output is compared line by line, each line as its tokens: spaces at the end of a line and empty lines at the end
don't matter, case does. Tokens are compared exactly; two decimals (with a point or an exponent) with the same relative
tolerance. Left out: special checkers for tasks that have many right answers.
"""

from __future__ import annotations

import math
import re
from typing import Any

from thinkery.rewards.programs.harness.plain import Wire, dump, integer

_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][+-]?[0-9]+)?")
_MAX_SPELT = 10_000  # characters
_MAX_DECIMAL = 400  # characters; longer tokens are compared exactly


def equal_value(expected: Any, given: Wire, tolerance: float) -> bool:
    """Whether the wire form ``given`` is the JSON value ``expected``; floats to the relative ``tolerance``."""
    if expected is None or isinstance(expected, bool):
        return given is expected
    if isinstance(expected, int | float):
        return _equal_number(expected, given, tolerance)
    if isinstance(expected, str):
        return isinstance(given, str) and given == expected
    if isinstance(expected, list):
        items = given.get("tuple") if isinstance(given, dict) else given
        return (
            isinstance(items, list)
            and len(items) == len(expected)
            and all(equal_value(e, g, tolerance) for e, g in zip(expected, items, strict=True))
        )
    return _equal_dict(expected, given, tolerance)


def equal_output(expected: str, given: str, tolerance: float) -> bool:
    """Whether the printed text ``given`` is what the test expects; decimals to the relative ``tolerance``."""
    expected_lines, given_lines = _lines(expected), _lines(given)
    return len(expected_lines) == len(given_lines) and all(
        e == g or _equal_tokens(e.split(), g.split(), tolerance)
        for e, g in zip(expected_lines, given_lines, strict=True)
    )


def is_blank(output: str) -> bool:
    """Whether a program that prints nothing at all would have printed this."""
    return not _lines(output)


def shown(value: object, limit: int = 200) -> str:
    """A value or text for a person, in at most about ``limit`` characters."""
    try:
        text = repr(value)
    except ValueError:  # an int with more digits than Python is willing to write
        text = "a very large number"
    return _shorten(text, limit)


def shown_wire(wire: Wire, limit: int = 200) -> str:
    """A wire form as the Python value that it stands for, for a person; a very long one stays as it is."""
    text = dump(wire)
    return _shorten(text.decode() if len(text) > _MAX_SPELT else _spell(wire), limit)


def _equal_number(expected: int | float, given: Wire, tolerance: float) -> bool:
    number: int | float | None = integer(given)
    if number is None and isinstance(given, dict) and "float" in given:
        number = float.fromhex(given["float"])
    if number is None:
        return False
    if isinstance(expected, int) or math.isinf(expected) or number == expected:
        return number == expected
    if math.isnan(expected):
        return isinstance(number, float) and math.isnan(number)
    try:
        return abs(float(number) - expected) <= tolerance * abs(expected)
    except OverflowError:  # an int beyond the floats
        return False


def _equal_dict(expected: dict[str, Any], given: Wire, tolerance: float) -> bool:
    if not isinstance(given, dict) or "dict" not in given or len(given["dict"]) != len(expected):
        return False
    items = {_key(key): item for key, item in given["dict"]}
    return items.keys() == expected.keys() and all(equal_value(e, items[k], tolerance) for k, e in expected.items())


def _key(wire: Wire) -> str | None:
    """A dict's key as JSON would spell it; None for one that JSON can't have."""
    if isinstance(wire, str):
        return wire
    if wire is None or isinstance(wire, bool):
        return {None: "null", True: "true", False: "false"}[wire]
    if isinstance(wire, int):
        return str(wire)
    if isinstance(wire, dict) and "float" in wire:
        return repr(float.fromhex(wire["float"]))
    return None


def _lines(text: str) -> list[str]:
    lines = [line.rstrip() for line in text.replace("\r\n", "\n").split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _equal_tokens(expected: list[str], given: list[str], tolerance: float) -> bool:
    return len(expected) == len(given) and all(
        e == g or _equal_decimals(e, g, tolerance) for e, g in zip(expected, given, strict=True)
    )


def _equal_decimals(expected: str, given: str, tolerance: float) -> bool:
    if (
        max(len(expected), len(given)) > _MAX_DECIMAL
        or not _DECIMAL.fullmatch(expected)
        or not _DECIMAL.fullmatch(given)
    ):
        return False
    wanted, number = float(expected), float(given)
    return math.isfinite(wanted) and math.isfinite(number) and abs(number - wanted) <= tolerance * abs(wanted)


def _spell(wire: Wire) -> str:
    """What ``repr`` would write for the value that a wire form stands for."""
    if isinstance(wire, list):
        return f"[{', '.join(map(_spell, wire))}]"
    if not isinstance(wire, dict):
        return repr(wire)
    ((kind, content),) = wire.items()
    if kind == "tuple":
        return f"({', '.join(map(_spell, content))}{',' if len(content) == 1 else ''})"
    if kind == "set":
        return f"{{{', '.join(map(_spell, content))}}}" if content else "set()"
    if kind == "dict":
        return f"{{{', '.join(f'{_spell(key)}: {_spell(item)}' for key, item in content)}}}"
    if kind == "bytes":
        return repr(bytes.fromhex(content))
    if kind == "float":
        return repr(float.fromhex(content))
    return str(content) if kind == "int" else repr(complex(*map(float.fromhex, content)))


def _shorten(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 30]}... ({len(text)} characters)"
