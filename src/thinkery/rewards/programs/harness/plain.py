"""Plain values as text: the only thing that passes between a program under test, its tests and the host.

A value is None, a bool, an int, a float, a complex, a str, bytes, a list, a tuple, a set or a dict, to a bounded depth
and size. Nothing else exists in this encoding, so no object, class or code can be carried over: an instance of a
subclass arrives as its plain value, whatever its methods claim. The *wire* form is JSON in which null, booleans,
strings, lists and integers below 2^63 stand for themselves and all else is an object with one key, its kind:
``{"float": "0x1.8p+0"}``, ``{"tuple": [...]}``, ``{"dict": [[key, value], ...]}``. Standard library only; runs on
the host and inside the sandbox. Left out: shared and cyclic references.
"""

from __future__ import annotations

import json
from typing import Any

MAX_DEPTH = 64
MAX_ITEMS = 1 << 20  # values in a value
MAX_BYTES = 4 << 20  # of an encoded value; the host needs up to forty times as much to read it
MAX_INT_BITS = 1 << 17
_JSON_INT = 1 << 63

Wire = Any  # the checked JSON form


class PlainError(ValueError):
    """The value or text is not plain, or too large. Says why."""


def encode(value: object) -> bytes:
    """A value's text. Raises ``PlainError`` for what is not plain, too deep or too large."""
    data = json.dumps(_Stripper().strip(value, MAX_DEPTH), separators=(",", ":")).encode("ascii")
    if len(data) > MAX_BYTES:
        raise PlainError(f"a value of more than {MAX_BYTES} bytes")
    return data


def decode(data: bytes) -> Any:
    """The value of a text. Raises ``PlainError`` for any text that ``encode`` would not write.

    Not for the host: hostile keys can be chosen to collide in a hash table. The host stays with ``check``.
    """
    return _build(check(data))


def check(data: bytes) -> Wire:
    """The wire form of a text, checked to the last leaf; no element is hashed. Raises ``PlainError``."""
    if len(data) > MAX_BYTES:
        raise PlainError(f"a value of more than {MAX_BYTES} bytes")
    try:
        wire = json.loads(data.decode("ascii"), parse_float=_refuse, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise PlainError(f"not an encoded value: {str(error)[:80]}") from None
    _check(wire, MAX_DEPTH)
    return wire


def dump(wire: Wire) -> bytes:
    """The text of a checked wire form."""
    return json.dumps(wire, separators=(",", ":")).encode("ascii")


def integer(wire: Wire) -> int | None:
    """The int that a wire form stands for, or None."""
    if type(wire) is int:
        return wire
    if type(wire) is dict and "int" in wire:
        return int(wire["int"], 16)
    return None


def _refuse(text: str) -> Any:
    raise PlainError(f"a number that is not written as this encoding writes it: {text[:20]}")


class _Stripper:
    """Strips values to the wire form, counting items (a small value may contain itself many times over)."""

    def __init__(self) -> None:
        self._left = MAX_ITEMS

    def strip(self, value: Any, depth: int) -> Wire:
        """The wire form of ``value``. Only methods of the built-in types are called, never those of a subclass."""
        self._left -= 1
        if self._left < 0 or depth < 0:
            raise PlainError(f"a value deeper than {MAX_DEPTH} or of more than {MAX_ITEMS} items")
        kind = type(value)
        if value is None or kind is bool:
            return value
        if issubclass(kind, str):
            return str.__str__(value)
        if issubclass(kind, int):
            return _strip_int(int.__index__(value))
        if issubclass(kind, float):
            return {"float": float.hex(value)}
        if issubclass(kind, complex):
            return {"complex": [float.hex(part) for part in (_part(value, "real"), _part(value, "imag"))]}
        if issubclass(kind, (bytes, bytearray)):
            return {"bytes": bytes.hex(value) if issubclass(kind, bytes) else bytearray.hex(value)}
        return self._strip_items(value, kind, depth - 1)

    def _strip_items(self, value: Any, kind: type, depth: int) -> Wire:
        if issubclass(kind, list):
            return [self.strip(item, depth) for item in list.__iter__(value)]
        if issubclass(kind, tuple):
            return {"tuple": [self.strip(item, depth) for item in tuple.__iter__(value)]}
        if issubclass(kind, set):
            return {"set": [self.strip(item, depth) for item in set.__iter__(value)]}
        if issubclass(kind, frozenset):
            return {"set": [self.strip(item, depth) for item in frozenset.__iter__(value)]}
        if issubclass(kind, dict):
            return {"dict": [[self.strip(key, depth), self.strip(item, depth)] for key, item in dict.items(value)]}
        raise PlainError(f"a value of type {type.__dict__['__name__'].__get__(kind)[:80]!r}, which is not plain data")


def _strip_int(number: int) -> Wire:
    if -_JSON_INT < number < _JSON_INT:
        return number
    if number.bit_length() > MAX_INT_BITS:
        raise PlainError(f"an int of more than {MAX_INT_BITS} bits")
    return {"int": hex(number)}


def _part(value: complex, name: str) -> float:
    part: float = complex.__dict__[name].__get__(value)
    return part


def _check(wire: Wire, depth: int) -> None:
    """Raises ``PlainError`` unless ``wire`` is a wire form."""
    if depth < 0:
        raise PlainError(f"a value deeper than {MAX_DEPTH}")
    kind = type(wire)
    if wire is None or kind is bool or kind is str:
        return
    if kind is int:
        if not -_JSON_INT < wire < _JSON_INT:
            raise PlainError("a large int that is not written as this encoding writes it")
    elif kind is list:
        for item in wire:
            _check(item, depth - 1)
    elif kind is dict and len(wire) == 1:
        ((name, content),) = wire.items()
        _check_kind(name, content, depth - 1)
    else:
        raise PlainError("an object that is no kind of value")


def _check_kind(name: str, content: Any, depth: int) -> None:
    if name in ("tuple", "set") and type(content) is list:
        for item in content:
            _check(item, depth)
    elif name == "dict" and type(content) is list:
        for pair in content:
            if type(pair) is not list or len(pair) != 2:
                raise PlainError("a dict of something else than pairs")
            _check(pair[0], depth)
            _check(pair[1], depth)
    elif name == "float":
        _from_hex(content)
    elif name == "complex" and type(content) is list and len(content) == 2:
        for part in content:
            _from_hex(part)
    elif name == "int" and type(content) is str:
        _check_int(content)
    elif name == "bytes" and type(content) is str:
        if not _rewrites(content, lambda text: bytes.fromhex(text).hex()):
            raise PlainError("bytes that are not hexadecimal")
    else:
        raise PlainError(f"a value of the unknown kind {name[:20]!r}")


def _check_int(content: str) -> None:
    if len(content) > MAX_INT_BITS // 4 + 3 or not _rewrites(content, lambda text: hex(int(text, 16))):
        raise PlainError("an int that is not written as this encoding writes it")
    number = int(content, 16)
    if number.bit_length() > MAX_INT_BITS or -_JSON_INT < number < _JSON_INT:
        raise PlainError("an int that is too large, or too small for this spelling")


def _from_hex(content: Any) -> float:
    if type(content) is not str or not _rewrites(content, lambda text: float.fromhex(text).hex()):
        raise PlainError("a float that is not written as this encoding writes it")
    return float.fromhex(content)


def _rewrites(content: str, rewrite: Any) -> bool:
    """Whether reading and writing gives the same text: each value has one spelling."""
    try:
        return bool(rewrite(content) == content)
    except (ValueError, OverflowError):
        return False


def _build(wire: Wire) -> Any:
    kind = type(wire)
    if kind is list:
        return [_build(item) for item in wire]
    if kind is not dict:
        return wire
    ((name, content),) = wire.items()
    if name == "int":
        return int(content, 16)
    if name == "float":
        return float.fromhex(content)
    if name == "complex":
        return complex(*map(float.fromhex, content))
    if name == "bytes":
        return bytes.fromhex(content)
    try:
        if name == "tuple":
            return tuple([_build(item) for item in content])
        if name == "set":
            return {_build(item) for item in content}
        return {_build(key): _build(item) for key, item in content}
    except TypeError:
        raise PlainError("a set or dict of unhashable values") from None
