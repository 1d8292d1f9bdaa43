"""Logic of the miniature world against solvers that know nothing but the question's text."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, timedelta
from itertools import permutations, product
from random import Random

import pytest

from thinkery.mini import logic
from thinkery.mini.choices import ChoiceTask
from thinkery.mini.world import LEVELS

DAYS = {
    "en": ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"],
    "zh": ["周一", "周二", "周三", "周四", "周五", "周六", "周日"],
}
COMPASS = {"en": ["north", "west", "south", "east"], "zh": ["北", "西", "南", "东"]}
MORE = {"en": ("taller", "faster", "heavier"), "zh": ("高", "快", "重")}
LEAST = {"en": ("shortest", "slowest", "lightest"), "zh": ("最矮", "最慢", "最轻")}
MONDAY = date(2024, 1, 1)


def solve_order(text: str, language: str) -> str:
    pattern = r"(\w+) is (\w+) than (\w+)\." if language == "en" else r"(小.)比(小.)(.)。"
    facts = []
    for match in re.findall(pattern, text):
        first, word, second = match if language == "en" else (match[0], match[2], match[1])
        facts.append((first, second) if word in MORE[language] else (second, first))
    people = sorted({name for fact in facts for name in fact})
    fitting = [o for o in permutations(people) if all(o.index(a) < o.index(b) for a, b in facts)]
    assert len(fitting) == 1  # nothing is left open
    last = any(word in text for word in LEAST[language])
    return str(fitting[0][-1 if last else int("second" in text or "第二" in text)])


def solve_truth(text: str, language: str) -> str:
    words = {"lies": True, "tells the truth": False, "说谎": True, "说真话": False}
    lie = r"(lies|tells the truth)" if language == "en" else r"(说谎|说真话)"
    name = r"([A-Z]\w+)" if language == "en" else r"(小.)"
    first = re.match(rf"{name} ?{lie}", text)
    claims = re.findall(rf"{name}(?: says |说){name} ?{lie}", text)
    assert first
    people = [first[1], *(who for who, _, _ in claims)]
    fitting = []
    for lies in product((False, True), repeat=len(people)):
        world = dict(zip(people, lies, strict=True))
        said = all((world[whom] == words[what]) != world[who] for who, whom, what in claims)
        if said and world[first[1]] == words[first[2]]:
            fitting.append(str(sum(lies)))
    assert len(fitting) == 1
    return fitting[0]


def solve_turn(text: str, language: str) -> str:
    start = next(d for d in COMPASS[language] if re.match(rf"(You face |你面朝){d}", text))
    moves = {"left": 1, "around": 2, "right": 3, "左转": 1, "后转": 2, "右转": 3}
    turns = re.findall("|".join(moves), text)
    return COMPASS[language][(COMPASS[language].index(start) + sum(moves[t] for t in turns)) % 4]


def solve_calendar(text: str, language: str) -> str:
    today = MONDAY + timedelta(min((text.find(day), i) for i, day in enumerate(DAYS[language]) if day in text)[1])
    dates = {"": today}
    if language == "en":
        for event, when, count in re.findall(r"[Tt]he (\w+) (is in|was) (\d+) days", text):
            dates[event] = today + timedelta(int(count) * (1 if when == "is in" else -1))
        for event, count, side, since in re.findall(r"the (\w+) (\d+) days (after|before) the (\w+)", text):
            dates[event] = dates[since] + timedelta(int(count) * (1 if side == "after" else -1))
        asked = re.search(r"What day is the (\w+)\?", text)
    else:
        pattern = r"(聚会|比赛|考试)在(聚会|比赛|)(\d+)天(前|后)"
        for event, since, count, side in re.findall(pattern, text):
            dates[event] = dates[since] + timedelta(int(count) * (1 if side == "后" else -1))
        asked = re.search(r"(聚会|比赛|考试)是周几", text)
    assert asked
    return DAYS[language][dates[asked[1]].weekday()]


SOLVERS = {"order": solve_order, "truth": solve_truth, "turn": solve_turn, "calendar": solve_calendar}


@pytest.mark.parametrize("kind", list(SOLVERS))
def test_the_right_option_follows_from_the_question_alone_in_both_languages(kind: str) -> None:
    draw: Callable[[Random, int], ChoiceTask] = getattr(logic, kind)
    rng = Random(1)
    for i in range(500):
        task = draw(rng, LEVELS[i % 5])
        for language in ("en", "zh"):
            right = task.reference(language)
            stem = task.ask[language]
            assert SOLVERS[kind](stem, language) == right, task.question(language)


def test_harder_levels_take_more_steps() -> None:
    rng = Random(2)
    lengths = []
    for level in LEVELS:
        written = [logic.draw(rng, level).write(rng, "plain", "en", ("en",)).thinking for _ in range(300)]
        lengths.append(sum(map(len, written)) / 300)
    assert lengths[0] < lengths[1] < lengths[2] < lengths[4]


def test_days_are_checked_by_whole_weeks() -> None:
    rng = Random(3)
    found = 0
    for _ in range(300):
        thinking = logic.calendar(rng, 4).write(rng, "check", "en", ("en",)).thinking
        for days, weeks, rest in re.findall(r"(\d+)=(\d+)\+(\d+), ", thinking):
            found += 1
            assert int(days) == int(weeks) + int(rest)
            assert int(weeks) % 7 == 0
            assert int(rest) < 7
    assert found == 300
