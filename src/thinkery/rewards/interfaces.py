"""What the rewards and verifiers of this room agree on, and what comes of calling a reward, as plain data.

A *verifier* turns one completion into a Verdict, as soon as the completion has finished. A *reward* turns a whole
batch of completions, with their verdicts among the columns, into numbers: one checked value a row, or how it failed.
Left out: their names (``registry``), calling (``calling``), and a user's process (``reward_process``).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from thinkery.models.template import ANSWER, END_ANSWER, END_THINK, THINK, Template
from thinkery.types import Message, Problem, Verdict

if TYPE_CHECKING:
    from thinkery.recipe.verification import (
        Verification,
    )  # the process of the users' rewards has no use for it, and starts sooner
import math
from collections.abc import Mapping
from numbers import Real

from thinkery.types import UserError
from thinkery.user_code import Place, described, place_of

Prompt = str | Sequence[Message]
ModelText = str | Sequence[Message]  # TRL gives messages where the prompt was messages
Values = list[float | None]

STANDARD_COLUMNS = ("reference", "verdict", "problem_id", "domain", "level", "language")


class Reward(Protocol):
    """TRL's reward function, sync or async.

    Columns are lists, one item per completion: ``reference``, ``verdict``, ``problem_id``, ``domain``, ``level``,
    ``language``, and the problem's own.
    """

    def __call__(
        self,
        prompts: Sequence[Prompt],
        completions: Sequence[ModelText],
        completion_ids: Sequence[Sequence[int]],
        **columns: Sequence[Any],
    ) -> Values | Awaitable[Values]:
        """One value per completion; None where the reward does not apply."""
        ...


class PendingVerdict(Protocol):
    """A verdict that a worker is still thinking about."""

    def result(self, timeout: float | None = None) -> Verdict:
        """Waits for it, at most ``timeout`` seconds; what is missing then is the verdict ``timeout``, no error."""
        ...


class Verifier(Protocol):
    """Judges completions of one template. Not thread-safe."""

    def begin(self, completion: str, problem: Problem) -> Verdict | PendingVerdict:
        """Begins to judge a completion (thinking included); never waits."""
        ...

    def reference_completion(self, problem: Problem) -> str | None:
        """A completion that must be accepted, or None if the problem holds nothing to make one from."""
        ...

    def close(self) -> None:
        """Ends the processes that it started."""
        ...


@dataclass(frozen=True, slots=True)
class RewardContext:
    """What a reward may depend on beside its own options."""

    template: Template
    max_completion_length: int  # tokens
    loaded: dict[str, Any] = field(default_factory=dict, compare=False)  # models that the rewards of a grader share


RewardFunction = Callable[..., Values]  # f(columns that it names, *, options of the recipe, context)
VerifierFactory = Callable[[Template, "Verification"], Verifier]


def completion_with_answer(template: Template, answer: str, *, boxed: bool = True) -> str:
    """A perfect completion of ``template`` that gives ``answer``."""
    opening = "" if template.prefilled_think else THINK
    plain = f"\\boxed{{{answer}}}" if boxed else answer
    return f"{opening}\nI know it.\n{END_THINK}\n{f'{ANSWER}{answer}{END_ANSWER}' if template.answer_tag else plain}"


def text_of(text: ModelText) -> str:
    """A completion's text, whether TRL gave it as text or as messages."""
    return text if isinstance(text, str) else text[-1]["content"]


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
