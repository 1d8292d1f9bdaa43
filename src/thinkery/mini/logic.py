"""Logic in the miniature world: who is tallest, who lies, where one faces after turns, which day it is.

Each question is a number of steps that can be done in one go; the level is how many, and from level 4 on one of them
is hard: a whole order put together at once, a count of liars, a weekday many days away. Left out: quantifiers and
boolean formulas (chains of "says that ... lies" are the same table).
"""

from __future__ import annotations

from itertools import pairwise
from random import Random

from thinkery.mini.choices import ChoiceTask, Texts, either, place_of, same, shuffled
from thinkery.mini.words import NAMES
from thinkery.mini.written_steps import Teller

PEOPLE = tuple(either(en, zh) for en, zh in zip(NAMES["en"], NAMES["zh"], strict=True))
ORDER_RIGHT, COUNT_RIGHT, DAY_RIGHT = 0.3, 0.4, 0.2  # how often a hard step is right in one go
_ADJECTIVES = (  # more, less; most, least
    either("taller shorter tallest shortest", "高 矮 最高 最矮"),
    either("faster slower fastest slowest", "快 慢 最快 最慢"),
    either("heavier lighter heaviest lightest", "重 轻 最重 最轻"),
)
DIRECTIONS = (either("north", "北"), either("east", "东"), either("south", "南"), either("west", "西"))
TURNS = {1: either("right", "右转"), 2: either("around", "后转"), 3: either("left", "左转")}
DAYS = tuple(
    either(en, zh)
    for en, zh in zip(
        ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
        ("周一", "周二", "周三", "周四", "周五", "周六", "周日"),
        strict=True,
    )
)
_EVENTS = (either("party", "聚会"), either("game", "比赛"), either("test", "考试"))


def draw(rng: Random, level: int) -> ChoiceTask:
    """A question of a level, of any kind."""
    return rng.choice((order, truth, turn, calendar))(rng, level)


def order(rng: Random, level: int) -> ChoiceTask:
    """Comparisons of 3 (levels 1, 2), 4 (3, 4) or 5 people: who is first or last, from level 4 on also second."""
    ranked = rng.sample(PEOPLE, {1: 3, 2: 3, 3: 4, 4: 4, 5: 5}[level])
    adjective = rng.randrange(len(_ADJECTIVES))
    pairs = [(a, b, rng.random() < 0.5 and level > 1) for a, b in pairwise(ranked)]
    if level > 1:
        rng.shuffle(pairs)
    wanted = rng.choice((0, -1) if level < 4 else (0, 1, -1))
    others = rng.sample([p for p in ranked if p is not ranked[wanted]], min(3, len(ranked) - 1))
    options, right = shuffled(rng, ranked[wanted], others)

    def work(teller: Teller) -> int | None:
        reached = list(ranked)
        for a, b, _ in pairs:
            if not _told_comparison(teller, a, b):
                i, j = reached.index(a), reached.index(b)
                reached[i], reached[j] = b, a
        found = teller.step(
            reached,
            lambda: _swapped(teller.rng, reached),
            _above,
            lambda n: ", ".join(_above(two, n) for two in pairwise(reached)),
            ORDER_RIGHT if level >= 4 else None,
        )
        who = teller.step(
            found[wanted],
            lambda: teller.rng.choice([p for p in found if p is not found[wanted]]),
            lambda v, n: f"{_rank(adjective, wanted, n)}{': ' if n == 'en' else '：'}{v[n]}",
        )
        return place_of(options, who["en"])

    ask = {
        "en": " ".join(_compared(adjective, pair, "en") for pair in pairs)
        + f" Who is the {_rank(adjective, wanted, 'en')}?",
        "zh": "".join(_compared(adjective, pair, "zh") for pair in pairs) + f"谁{_rank(adjective, wanted, 'zh')}？",
    }
    key = f"order;{adjective};{wanted};{'>'.join(person['en'] for person in ranked)}"
    return ChoiceTask("logic", "order", level, key, ask, options, right, work)


def _told_comparison(teller: Teller, a: Texts, b: Texts) -> bool:
    """Tells that ``a`` is above ``b``; whether the writer goes on with that, and not with the reverse."""
    return teller.step(True, lambda: False, lambda straight, n: _above((a, b) if straight else (b, a), n))


def _above(people: list[Texts] | tuple[Texts, ...], language: str) -> str:
    return ">".join(person[language] for person in people)


def _swapped(rng: Random, people: list[Texts]) -> list[Texts]:
    people = list(people)
    i, j = rng.sample(range(len(people)), 2)
    people[i], people[j] = people[j], people[i]
    return people


def _compared(adjective: int, pair: tuple[Texts, Texts, bool], language: str) -> str:
    a, b, turned = pair
    more, less, *_ = _ADJECTIVES[adjective][language].split()
    first, second, word = (b, a, less) if turned else (a, b, more)
    if language == "en":
        return f"{first['en']} is {word} than {second['en']}."
    return f"{first['zh']}比{second['zh']}{word}。"


def _rank(adjective: int, wanted: int, language: str) -> str:
    _, _, most, least = _ADJECTIVES[adjective][language].split()
    if wanted == 1:
        return f"second {most}" if language == "en" else f"第二{most.removeprefix('最')}"
    return most if wanted == 0 else least


def truth(rng: Random, level: int) -> ChoiceTask:
    """``level`` + 1 people, each of whom says whether the one before lies: how many lie?"""
    people = rng.sample(PEOPLE, level + 1)
    lies = [rng.random() < 0.5 for _ in people]
    claims = [lies[0], *(before != own for before, own in pairwise(lies))]  # "... lies"
    count = sum(lies)
    numbers = [n for n in range(len(people) + 1) if n != count]
    numbers = rng.sample(sorted(numbers, key=lambda n: abs(n - count))[:4], min(3, len(numbers)))
    options, right = shuffled(rng, same(str(count)), [same(str(n)) for n in numbers])

    def work(teller: Teller) -> int | None:
        told: list[bool] = []
        for person, claim in zip(people, claims, strict=True):
            lying = claim != told[-1] if told else claim
            told.append(_told_lie(teller, person, lying))
        liars = [person for person, lying in zip(people, told, strict=True) if lying]
        said = teller.step(
            len(liars),
            lambda: max(0, len(liars) + teller.rng.choice((-1, 1))),
            lambda v, n: f"{v} lie" if n == "en" else f"{v}人说谎",
            lambda n: ", ".join(f"{person[n]} {i}" for i, person in enumerate(liars, 1)) or "0",
            COUNT_RIGHT if level >= 4 else None,
        )
        return place_of(options, str(said))

    claimed = zip(people[1:], people, claims[1:], strict=False)
    parts = [(who, whom, claim) for who, whom, claim in claimed]
    ask = {
        "en": f"{people[0]['en']} {_LIES['en'][lies[0]]}. "
        + " ".join(f"{who['en']} says {whom['en']} {_LIES['en'][claim]}." for who, whom, claim in parts)
        + " How many lie?",
        "zh": f"{people[0]['zh']}{_LIES['zh'][lies[0]]}。"
        + "".join(f"{who['zh']}说{whom['zh']}{_LIES['zh'][claim]}。" for who, whom, claim in parts)
        + "几人说谎？",
    }
    key = "truth;" + ";".join(f"{person['en']} {lying:d}" for person, lying in zip(people, lies, strict=True))
    return ChoiceTask("logic", "truth", level, key, ask, options, right, work)


def _told_lie(teller: Teller, person: Texts, lying: bool) -> bool:
    return teller.step(lying, lambda: not lying, lambda value, n: _lies(person, value, n))


_LIES = {"en": ("tells the truth", "lies"), "zh": ("说真话", "说谎")}


def _lies(person: Texts, lying: bool, language: str) -> str:
    if language == "en":
        return f"{person['en']} {_LIES['en'][lying]}"
    return f"{person['zh']}{_LIES['zh'][lying]}"


def turn(rng: Random, level: int) -> ChoiceTask:
    """``level`` + 1 turns from a direction."""
    start = rng.randrange(4)
    turns = [rng.choice((1, 3, 1, 3, 2)) for _ in range(level + 1)]
    end = (start + sum(turns)) % 4
    options, right = shuffled(rng, DIRECTIONS[end], [d for i, d in enumerate(DIRECTIONS) if i != end])

    def work(teller: Teller) -> int | None:
        facing = start
        for by in turns:
            facing = _told_turn(teller, facing, by)
        return place_of(options, DIRECTIONS[facing]["en"])

    ask = {
        "en": f"You face {DIRECTIONS[start]['en']}. You turn {', '.join(TURNS[t]['en'] for t in turns)}. "
        "Where do you face?",
        "zh": f"你面朝{DIRECTIONS[start]['zh']}，{'，'.join(TURNS[t]['zh'] for t in turns)}。你面朝哪里？",
    }
    key = f"turn;{start};{';'.join(map(str, turns))}"
    return ChoiceTask("logic", "turn", level, key, ask, options, right, work)


def _told_turn(teller: Teller, facing: int, by: int) -> int:
    right = (facing + by) % 4
    return teller.step(
        right,
        lambda: (right + teller.rng.choice((1, 2, 3))) % 4,
        lambda value, n: f"{TURNS[by][n]}{': ' if n == 'en' else '：'}{DIRECTIONS[value][n]}",
    )


def calendar(rng: Random, level: int) -> ChoiceTask:
    """Which day: one, two or three steps of less than a week; one of many days (4), with one or two others (5)."""
    start = rng.randrange(7)
    count = {1: 1, 2: 2, 3: 3, 4: 1, 5: rng.choice((2, 3))}[level]
    moves = [rng.choice((-1, 1)) * rng.randrange(1, 7) for _ in range(count)]
    if level >= 4:
        moves[0] = rng.randrange(10, 100)
    end = (start + sum(moves)) % 7
    others = rng.sample([day for i, day in enumerate(DAYS) if i != end], 3)
    options, right = shuffled(rng, DAYS[end], others)

    def work(teller: Teller) -> int | None:
        day = start
        for by in moves:
            day = _told_day(teller, day, by)
        return place_of(options, DAYS[day]["en"])

    ask = {"en": _dates(start, moves, "en"), "zh": _dates(start, moves, "zh")}
    key = f"calendar;{start};{';'.join(map(str, moves))}"
    return ChoiceTask("logic", "calendar", level, key, ask, options, right, work)


def _told_day(teller: Teller, day: int, by: int) -> int:
    right, far = (day + by) % 7, by >= 10
    return teller.step(
        right,
        lambda: (right + teller.rng.randrange(1, 7)) % 7,
        lambda value, n: f"{DAYS[day][n]}{by:+d}={DAYS[value][n]}",
        (lambda n: _by_weeks(day, by, n)) if far else None,
        DAY_RIGHT if far else None,
    )


def _by_weeks(day: int, days: int, language: str) -> str:
    """``45=42+3, Monday+3=Thursday``."""
    rest = days % 7
    return f"{days}={days - rest}+{rest}, {DAYS[day][language]}+{rest}={DAYS[(day + rest) % 7][language]}"


def _dates(start: int, moves: list[int], language: str) -> str:
    """The story of a date: today, then an event counted from the one before."""
    if language == "en":
        text = f"Today is {DAYS[start]['en']}."
        for i, by in enumerate(moves):
            event = _EVENTS[i]["en"]
            if i == 0:
                text += f" The {event} is in {by} days" if by > 0 else f" The {event} was {-by} days ago"
            else:
                before = _EVENTS[i - 1]["en"]
                text += f", the {event} {abs(by)} days {'after' if by > 0 else 'before'} the {before}"
        return f"{text}. What day is the {_EVENTS[len(moves) - 1]['en']}?"
    text = f"今天{DAYS[start]['zh']}。"
    for i, by in enumerate(moves):
        since = _EVENTS[i - 1]["zh"] if i else ""
        text += f"{_EVENTS[i]['zh']}在{since}{abs(by)}天{'后' if by > 0 else '前'}，"
    return f"{text[:-1]}。{_EVENTS[len(moves) - 1]['zh']}是周几？"
