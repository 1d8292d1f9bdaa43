"""Science in the miniature world: facts of small tables and formulas with numbers, as questions with four options.

Levels 1 to 3 ask for a fact, a class and a rank, or for one, one larger, and two formulas with easy numbers; levels 4
and 5 need a hard product, as in mathematics. Wrong options keep the last digit where the product is hard, so that
nothing but the work tells them apart. Left out: units that must be converted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from thinkery.mini.choices import ChoiceTask, Texts, either, place_of, same, shuffled
from thinkery.mini.solutions import equality, off, take_apart
from thinkery.mini.stem_tables import CHAINS, CLASSES, FORMULAS, PAIRS, RANKS, Category, Formula, Pairs, Quantity
from thinkery.mini.tasks import SECOND_FACTOR, Operator, Step, hard_factor
from thinkery.mini.written_steps import Teller

HARD_RIGHT = 0.15  # how often a hard product is right in one go


def draw(rng: Random, level: int) -> ChoiceTask:
    """A question of a level: a fact or a formula up to level 3, a formula above."""
    if level <= 3 and rng.random() < 0.5:
        return {1: fact, 2: member, 3: rank}[level](rng)
    return formula(rng, level)


def fact(rng: Random) -> ChoiceTask:
    """What belongs to what: an element's symbol, a quantity's unit, in either direction."""
    table: Pairs = rng.choice(PAIRS)
    chosen = rng.sample(table.rows, 4)
    forward = rng.random() < 0.5
    given, right = chosen[0] if forward else chosen[0][::-1]
    others = [row[1] if forward else row[0] for row in chosen[1:]]
    options, place = shuffled(rng, right, others)
    ask = table.ask if forward else table.ask_back

    def work(teller: Teller) -> int | None:
        said = teller.step(right, lambda: teller.rng.choice(others), lambda v, n: _is(given, v, n))
        return place_of(options, said["en"])

    key = f"fact;{given['en']};{';'.join(sorted(option['en'] for option in options))}"
    asked = {language: text.format(given[language]) for language, text in ask.items()}
    return ChoiceTask("stem", "fact", 1, key, asked, options, place, work)


def member(rng: Random) -> ChoiceTask:
    """Which of four things is of a class."""
    table = rng.choice(CLASSES)
    wanted = rng.choice(table)
    rest = [(thing, group) for group in table if group is not wanted for thing in group.members]
    thing, others = rng.choice(wanted.members), rng.sample(rest, 3)
    options, place = shuffled(rng, thing, [other for other, _ in others])
    group_of = {other["en"]: group.name for other, group in others} | {thing["en"]: wanted.name}

    def work(teller: Teller) -> int | None:
        for i, option in enumerate(options):
            said = _told_class(teller, option, group_of[option["en"]], table)
            if said is wanted.name:
                return i
        return None

    key = f"member;{wanted.name['en']};{';'.join(sorted(option['en'] for option in options))}"
    article = "an" if wanted.name["en"][0] in "aeiou" else "a"
    ask = either(f"Which one is {article} {wanted.name['en']}?", f"哪一个是{wanted.name['zh']}？")
    return ChoiceTask("stem", "member", 2, key, ask, options, place, work)


def _told_class(teller: Teller, thing: Texts, name: Texts, table: Sequence[Category]) -> Texts:
    wrong = [group.name for group in table if group.name is not name]
    return teller.step(name, lambda: teller.rng.choice(wrong), lambda value, n: _is(thing, value, n))


def rank(rng: Random) -> ChoiceTask:
    """Which of four has the largest or smallest number: a planet's place, an element's atomic number."""
    table = rng.choice(RANKS)
    chosen = rng.sample(table.rows, 4)
    largest = rng.random() < 0.5
    number = {name["en"]: value for name, value in chosen}
    best = (max if largest else min)(chosen, key=lambda row: row[1])
    options, place = shuffled(rng, best[0], [name for name, _ in chosen if name is not best[0]])

    def work(teller: Teller) -> int | None:
        said = [_told_number(teller, option, number[option["en"]]) for option in options]
        found = (max if largest else min)(said)
        found = teller.step(
            found,
            lambda: teller.rng.choice(said),
            lambda v, n: _is(_LARGEST if largest else _SMALLEST, same(str(v)), n),
        )
        return said.index(found)

    ask = table.ask_largest if largest else table.ask_smallest
    key = f"rank;{largest:d};{';'.join(sorted(number))}"
    return ChoiceTask("stem", "rank", 3, key, ask, options, place, work)


def _told_number(teller: Teller, thing: Texts, number: int) -> int:
    return teller.step(number, lambda: off(teller.rng, number), lambda value, n: _is(thing, same(str(value)), n))


_LARGEST, _SMALLEST = either("largest", "最大"), either("smallest", "最小")


def _is(thing: Texts, value: Texts, language: str) -> str:
    return f"{thing[language]}{': ' if language == 'en' else '：'}{value[language]}"


@dataclass(frozen=True, slots=True)
class Use:
    """A formula used: what it gives, and the step. ``carries``: which operand is the result before, "" for none."""

    formula: Formula
    step: Step
    carries: str = ""


def formula(rng: Random, level: int) -> ChoiceTask:
    """One formula, or at levels 3 and 5 one whose result goes into another."""
    uses = _two(rng, hard=level == 5) if level in (3, 5) else _one(rng, level)
    given: list[tuple[Quantity, int]] = []
    for use in uses:
        given.append((use.formula.first, use.step.a))
        given.append((use.formula.second, use.step.b))
    if len(uses) == 2:
        del given[2 if uses[1].carries == "a" else 3]
    asked = uses[-1].formula.result
    value = uses[-1].step.result
    options, place = shuffled(rng, same(str(value)), [same(str(n)) for n in _distractors(rng, uses, hard=level >= 4)])
    numbers = [int(option["en"]) for option in options]

    def work(teller: Teller) -> int | None:
        said = 0
        for i, use in enumerate(uses):
            said = _told(teller, use, said if i else None, numbers)
        if said in numbers:
            return numbers.index(said)
        return min(range(len(numbers)), key=lambda i: abs(numbers[i] - said))

    ask = {
        "en": _capital(", ".join(f"{q.name['en']} {n} {q.unit}" for q, n in given))
        + f". What is the {asked.name['en']} in {asked.unit}?",
        "zh": "，".join(f"{q.name['zh']}{n} {q.unit}" for q, n in given) + f"。{asked.name['zh']}是多少{asked.unit}？",
    }
    key = "formula;" + ";".join(f"{use.formula.result.name['en']}={equality(use.step)}" for use in uses)
    kind = "chain" if len(uses) == 2 else "formula"
    return ChoiceTask("stem", kind, level, key, ask, options, place, work)


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _told(teller: Teller, use: Use, before: int | None, numbers: Sequence[int]) -> int:
    """Tells a formula with its numbers, resuming from ``before``; the value reached."""
    rng, step = teller.rng, use.step
    if before is not None:
        step = Step(before, step.op, step.b) if use.carries == "a" else Step(step.a, step.op, before)
    slipped = Step(step.a, "+" if step.op == "*" else "-", step.b)

    def wrong() -> Step | tuple[Step, int]:
        draw = rng.random()
        if draw < 0.2 and slipped.result > 0:
            return slipped
        others = [n for n in numbers if n != step.result]
        return (step, rng.choice(others) if draw < 0.6 else off(rng, step.result))

    def text(value: Step | tuple[Step, int], language: str) -> str:
        shown = equality(*value) if isinstance(value, tuple) else equality(value)
        return f"{use.formula.result.name[language]}={shown}"

    right: Step | tuple[Step, int] = step
    apart = (lambda language: take_apart(step)) if step.hard else None
    said = teller.step(right, wrong, text, apart, HARD_RIGHT if step.hard else None)
    return said[1] if isinstance(said, tuple) else said.result


def _one(rng: Random, level: int) -> tuple[Use, ...]:
    chosen = rng.choice(FORMULAS)
    if level == 4:
        return (Use(chosen, Step(hard_factor(rng), "*", hard_factor(rng, SECOND_FACTOR))),)
    a, b = (rng.randrange(2, 10) if level == 1 else hard_factor(rng)), rng.randrange(2, 10)
    if rng.random() < 0.5:
        return (Use(chosen, Step(a, "*", b)),)
    return (Use(chosen.solved(), Step(a * b, "/", b)),)


def _two(rng: Random, *, hard: bool) -> tuple[Use, ...]:
    """Two formulas: the first with easy numbers, the second an easy or a hard product with its result."""
    first, second, carries = rng.choice(CHAINS)
    while True:
        op: Operator = first.op
        if op == "*":
            step = Step(rng.randrange(2, 25), "*", rng.randrange(2, 10))
        else:
            b = rng.randrange(2, 10)
            step = Step(b * rng.randrange(11, 100), "/", b)
        value = step.result
        if not 10 < value < 100 or value % 10 == 0 or (hard and carries == "b" and value > SECOND_FACTOR):
            continue
        if not hard:
            other = rng.randrange(2, 10)
        else:
            other = hard_factor(rng) if carries == "b" else hard_factor(rng, SECOND_FACTOR)
        last = Step(value, "*", other) if carries == "a" else Step(other, "*", value)
        return (Use(first, step), Use(second, last, carries))


def _distractors(rng: Random, uses: tuple[Use, ...], *, hard: bool) -> list[int]:
    """Three wrong values: the wrong operation or a forgotten step, and some a little off."""
    last = uses[-1].step
    value = last.result
    found = {last.a + last.b if last.op == "*" else last.a - last.b}
    if len(uses) == 2 and rng.random() < 0.5:
        found = {uses[0].step.result}
    found.discard(value)
    while len(found) < 3:
        wrong = value + rng.choice((-200, -100, -30, -20, -10, 10, 20, 30, 100, 200)) if hard else off(rng, value)
        if wrong > 0 and wrong != value:
            found.add(wrong)
    return sorted(found)
