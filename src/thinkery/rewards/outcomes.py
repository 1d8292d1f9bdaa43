"""What comes of calling a reward: one checked value a row, or how it failed, as plain data that any process can read.

Left out: calling (``calling``), and a user's process (``reward_process``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

from thinkery.types import UserError
from thinkery.user_code import Place, described, place_of

# Squares of values are summed, over groups and in 32-bit floats: 1e18 squared, times a hundred, is the most that fits.
LARGEST = 1e18
BAD_VALUE = "bad value"  # the kind of a failure that is no exception
_SHOWN = 200  # characters of a value or a completion in a message


class BadValueError(Exception):
    """A reward returned something that is no reward. Says what, beginning with "returned"."""


@dataclass(frozen=True, slots=True)
class Failure:
    """How a call failed: ``said`` continues the sentence "reward x ..."; two are the same if ``kind`` is equal."""

    kind: str
    said: str
    place: Place | None = None
    ends_process: bool = False


Checked = list[float | Failure | None]  # one a row
Outcome = Checked | Failure


def outcome_of(result: Callable[[], Any], count: int) -> Outcome:
    """The checked values of a call on ``count`` rows, or how it failed. Raises ``UserError`` if the reward did."""
    try:
        return _checked(result(), count)
    except UserError:
        raise
    except BadValueError as error:
        return Failure(BAD_VALUE, str(error))
    except BaseException as error:  # SystemExit and CancelledError too: they are the reward's, not ours
        cause = _first(error)
        place = place_of(cause)
        where = f" at {place.file}:{place.line}" if place else ""
        return Failure(f"{type(cause).__qualname__}{where}", f"raised {described(cause)}", place)


def to_plain(outcome: Outcome) -> Any:
    """As JSON knows it."""
    if isinstance(outcome, Failure):
        place = [outcome.place.file, outcome.place.line] if outcome.place else None
        return {"kind": outcome.kind, "said": outcome.said, "place": place}
    return [to_plain(value) if isinstance(value, Failure) else value for value in outcome]


def from_plain(plain: Any, count: int) -> Outcome:
    """What ``to_plain`` made. Raises ``ValueError`` for anything else, and for another number of rows."""
    if isinstance(plain, Mapping):
        return _failure(plain)
    if not isinstance(plain, list) or len(plain) != count:
        raise ValueError("neither a failure nor one value a row")
    return [_failure(item) if isinstance(item, Mapping) else item if item is None else float(item) for item in plain]


def shortened(value: Any) -> str:
    """A value in one line, whatever is in it, without its middle where it is long."""
    text = repr(value)
    half = _SHOWN // 2
    return text if len(text) <= _SHOWN else f"{text[:half]} ... {text[-half:]}"


def _failure(plain: Mapping[str, Any]) -> Failure:
    try:
        place = Place(str(plain["place"][0]), int(plain["place"][1])) if plain["place"] else None
        return Failure(str(plain["kind"]), str(plain["said"]), place)
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError("no failure") from error


def _first(error: BaseException) -> BaseException:
    """The first error of a group (of a TaskGroup), or the error itself."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _checked(result: Any, count: int) -> Checked:
    """What a reward returned as one value a row. Raises ``BadValueError`` if it isn't a list of ``count`` items."""
    items: Sequence[Any] = result.tolist() if hasattr(result, "tolist") else result  # an array, a tensor anywhere
    if not isinstance(items, list | tuple):
        raise BadValueError(f"returned {_described_type(result)}, not a list with one value for each completion")
    if len(items) != count:
        raise BadValueError(f"returned {len(items)} values for {count} completions")
    return [_value(item) for item in items]


def _value(item: Any) -> float | Failure | None:
    if item is None:
        return None
    needed = "a finite number, or None where the reward does not apply"
    try:
        number = item.item() if hasattr(item, "item") else item  # a scalar of NumPy or torch
        if not isinstance(number, Real):
            said = f"returned {shortened(item)} (a {type(item).__name__})"
        elif not math.isfinite(value := float(number)):
            said = f"returned {value}"
        elif abs(value) > LARGEST:
            said, needed = f"returned {value:g}", f"between -{LARGEST:g} and {LARGEST:g}, or sums of squares overflow"
        else:
            return value
    except (ValueError, RuntimeError):  # a tensor of several elements
        said = f"returned a whole {type(item).__name__}"
    except OverflowError:
        said = "returned a number too large for a float"
    return Failure(said, f"{said} as a value; it must be {needed}")


def _described_type(value: Any) -> str:
    return "None" if value is None else f"a {type(value).__name__}"
