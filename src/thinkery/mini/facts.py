"""Pages of facts in the miniature world, as in a school book: symbols, units, classes, ranks, weekdays, turns.

The parts that solutions in science and logic are made of, as ``corpus.drill`` has those of arithmetic. Nothing here is
a task, so there is nothing to hold out.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from thinkery.mini.choices import Texts
from thinkery.mini.logic import DAYS, DIRECTIONS, TURNS
from thinkery.mini.stem_tables import CLASSES, PAIRS, RANKS


def page(rng: Random, language: str) -> str:
    """A page of one kind of facts, six to twelve of them."""
    state = rng.choice((_pair, _pair, _member, _member, _rank, _day, _day, _turn))
    colon, comma = (": ", ", ") if language == "en" else ("：", "，")
    facts = (state(rng) for _ in range(rng.randrange(6, 13)))
    return comma.join(f"{left[language]}{colon if joined else '='}{right[language]}" for left, joined, right in facts)


_Fact = tuple[Texts, bool, Texts]  # left, whether a colon stands between them (or an equals sign), right


def _pair(rng: Random) -> _Fact:
    left, right = rng.choice(rng.choice(PAIRS).rows)
    return (left, True, right) if rng.random() < 0.5 else (right, True, left)


def _member(rng: Random) -> _Fact:
    group = rng.choice(rng.choice(CLASSES))
    return rng.choice(group.members), True, group.name


def _rank(rng: Random) -> _Fact:
    thing, number = rng.choice(rng.choice(RANKS).rows)
    return thing, True, _both(lambda language: str(number))


def _day(rng: Random) -> _Fact:
    day, by = rng.randrange(7), rng.choice((-1, 1)) * rng.randrange(1, 7)
    return _both(lambda language: f"{DAYS[day][language]}{by:+d}"), False, DAYS[(day + by) % 7]


def _turn(rng: Random) -> _Fact:
    facing, by = rng.randrange(4), rng.choice(list(TURNS))
    left = _both(lambda language: f"{DIRECTIONS[facing][language]} {TURNS[by][language]}")
    return left, True, DIRECTIONS[(facing + by) % 4]


def _both(text: Callable[[str], str]) -> Texts:
    return {"en": text("en"), "zh": text("zh")}
