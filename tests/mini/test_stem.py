"""Science of the miniature world against tables and formulas of its own."""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random

import pytest

from thinkery.mini import stem
from thinkery.mini.stem_tables import CLASSES, PAIRS, RANKS
from thinkery.mini.world import LEVELS

SYMBOLS = re.findall(  # of the elements, in order of their atomic numbers
    r"\w+",
    "H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr Nb "
    "Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au",
)
SI: dict[str, Callable[[dict[str, float]], float]] = {  # of what is asked for: from what else can be given
    "force": lambda q: q["mass"] * q["acceleration"],
    "work": lambda q: (q["force"] if "force" in q else SI["force"](q)) * q["distance"],
    "distance": lambda q: q["speed"] * q["time"],
    "voltage": lambda q: q["current"] * q["resistance"],
    "power": lambda q: q["voltage"] * q["current"],
    "energy": lambda q: (q["power"] if "power" in q else SI["power"](q)) * q["time"],
    "momentum": lambda q: q["mass"] * (q["speed"] if "speed" in q else q["distance"] / q["time"]),
    "mass": lambda q: q["density"] * q["volume"],
    "density": lambda q: q["mass"] / q["volume"],
    "speed": lambda q: q["distance"] / q["time"],
    "current": lambda q: q["voltage"] / q["resistance"],
}
CHINESE = {
    "力": "force", "功": "work", "路程": "distance", "电压": "voltage", "功率": "power", "能量": "energy",
    "动量": "momentum", "质量": "mass", "密度": "density", "速度": "speed", "电流": "current", "时间": "time",
    "加速度": "acceleration", "电阻": "resistance", "体积": "volume",
}  # fmt: skip


def solved(text: str, language: str) -> float:
    """A formula question's value, by its text alone."""
    given: dict[str, float] = {name.lower(): int(n) for name, n in re.findall(r"([A-Za-z]+|[一-鿿]+) ?(\d+) ", text)}
    pattern = r"What is the (\w+) in" if language == "en" else r"。([一-鿿]+)是多少"
    asked = re.search(pattern, text)
    assert asked
    if language == "zh":
        given = {CHINESE[name]: n for name, n in given.items()}
    target = asked[1] if language == "en" else CHINESE[asked[1]]
    if target == "force" and "density" in given:
        given["mass"] = SI["mass"](given)
    if target == "mass" and "density" not in given:
        return given["force"] / given["acceleration"] if "force" in given else given["momentum"] / given["speed"]
    if target == "force" and "work" in given:
        return given["work"] / given["distance"]
    if target == "power" and "energy" in given:
        return given["energy"] / given["time"]
    if target == "voltage" and "power" in given:
        return given["power"] / given["current"]
    return SI[target](given)


@pytest.mark.parametrize("level", LEVELS)
def test_formulas_are_physics_in_both_languages(level: int) -> None:
    rng = Random(level)
    for _ in range(300):
        task = stem.formula(rng, level)
        for language in ("en", "zh"):
            right = task.reference(language)
            assert solved(task.ask[language], language) == int(right)


def test_symbols_and_atomic_numbers_are_those_of_the_periodic_table() -> None:
    symbols = {name["en"]: symbol["en"] for name, symbol in PAIRS[0].rows}
    numbers = {name["en"]: number for name, number in RANKS[1].rows}
    assert symbols.keys() == numbers.keys()
    assert all(SYMBOLS[numbers[name] - 1] == symbol for name, symbol in symbols.items())


def test_planets_stand_in_their_order() -> None:
    planets = [name["en"] for name, _ in sorted(RANKS[0].rows, key=lambda row: row[1])]
    assert planets == ["Mercury", "Venus", "Earth", "Mars", "Jupiter", "Saturn", "Uranus", "Neptune"]


def test_nothing_is_of_two_classes_and_every_text_is_unique_in_its_language() -> None:
    for table in CLASSES:
        for language in ("en", "zh"):
            members = [member[language] for group in table for member in group.members]
            assert len(members) == len(set(members))
    for pairs in PAIRS:
        for side in (0, 1):
            assert len({row[side]["zh"] for row in pairs.rows}) == len(pairs.rows)


@pytest.mark.parametrize("level", [4, 5])
def test_a_hard_product_is_not_given_away_by_its_last_digit(level: int) -> None:
    rng = Random(6)
    alike = 0
    for _ in range(300):
        task = stem.formula(rng, level)
        options = task.columns("en")["choices"]
        right = task.reference("en")
        alike += sum(option[-1] == right[-1] for option in options) >= 3
    assert alike == 300


def test_a_hard_product_is_checked_by_taking_it_apart() -> None:
    rng = Random(7)
    for _ in range(200):
        thinking = stem.formula(rng, 4).write(rng, "check", "zh", ("zh",)).thinking
        parts = re.findall(r"(\d+)([*+])(\d+)=(\d+)", re.split("检查一下：|检查：|验算：", thinking)[1])
        assert len(parts) >= 3
        assert all(int(c) == (int(a) * int(b) if op == "*" else int(a) + int(b)) for a, op, b, c in parts)
