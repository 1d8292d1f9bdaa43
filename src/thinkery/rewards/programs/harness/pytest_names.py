"""The few names that tests written for pytest use most, for sandboxes that have no pytest.

``raises`` (with ``match``), ``approx`` (numbers, and lists, tuples and dicts of them) and ``mark.parametrize``; other
marks do nothing. Standard library only. Left out: fixtures, plugins, and any other name, which is an AttributeError.
"""

from __future__ import annotations

import math
import re
import types
from collections.abc import Callable
from typing import Any

Test = Callable[..., None]


class Raises:
    """The context of ``raises``: swallows the expected exception, fails without one."""

    def __init__(self, expected: Any, match: str | None) -> None:
        self._expected, self._match = expected, match
        self.value: BaseException | None = None
        self.type: Any = None

    def __enter__(self) -> Raises:
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: object) -> bool:
        if error is None:
            raise AssertionError(f"did not raise {self._expected}")
        if not issubclass(kind, self._expected):
            return False
        if self._match is not None and not re.search(self._match, str(error)):
            raise AssertionError(f"{str(error)!r} does not match {self._match!r}")
        self.value, self.type = error, kind
        return True


class Approx:
    """Equal to what is near: |x - expected| <= max(rel * |expected|, abs), pytest's defaults."""

    def __init__(self, expected: Any, rel: float | None = None, abs: float | None = None) -> None:
        self._expected = expected
        self._rel = (1e-6 if abs is None else 0.0) if rel is None else rel
        self._abs = 1e-12 if abs is None else abs

    def __eq__(self, given: object) -> bool:
        return self._near(self._expected, given)

    def __repr__(self) -> str:
        return f"approx({self._expected!r})"

    def _near(self, expected: Any, given: Any) -> bool:
        if isinstance(expected, (list, tuple)):
            same = isinstance(given, (list, tuple)) and len(given) == len(expected)
            return same and all(map(self._near, expected, given))
        if isinstance(expected, dict):
            same = isinstance(given, dict) and given.keys() == expected.keys()
            return same and all(self._near(e, given[key]) for key, e in expected.items())
        if isinstance(expected, (bool, str)) or expected is None or not isinstance(given, (int, float, complex)):
            return bool(expected == given)
        if isinstance(expected, float) and not math.isfinite(expected):
            return bool(expected == given)
        return bool(abs(given - expected) <= max(self._rel * abs(expected), self._abs))


class Mark:
    """``pytest.mark``: ``parametrize`` runs a test once per row, every other mark changes nothing."""

    def parametrize(
        self, names: Any, rows: Any, **options: Any
    ) -> Callable[[Callable[..., None]], Callable[..., None]]:
        """Runs the test once for each row of values of ``names``."""
        listed = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)

        def decorate(test: Test) -> Test:
            def run(**more: Any) -> None:
                for row in rows:
                    values = (row,) if len(listed) == 1 else row
                    test(**dict(zip(listed, values)), **more)  # noqa: B905 - Python 3.9 has no strict zip

            return run

        return decorate

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *arguments, **options: (
            arguments[0] if len(arguments) == 1 and callable(arguments[0]) and not options else (lambda test: test)
        )


def stand_in() -> types.ModuleType:
    """A module with these names, to be imported as ``pytest``."""
    module = types.ModuleType("pytest")
    vars(module).update(raises=raises, approx=Approx, mark=Mark())
    return module


def raises(expected: Any, *call: Any, match: str | None = None, **keywords: Any) -> Raises | None:
    """A context that demands an exception; with a callable and its arguments, calls it in that context."""
    context = Raises(expected, match)
    if not call:
        return context
    with context:
        call[0](*call[1:], **keywords)
    return context
