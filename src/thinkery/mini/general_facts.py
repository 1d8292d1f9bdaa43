"""Facts of the miniature world and questions about them: capitals, opposites, colours, days, sizes, what is what.

A fact can be asked in several ways (forwards, backwards, between two, yes or no), so a way that is held out of what the
base model reads can still be known from the others.
"""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from thinkery.mini.general_tables import (
    ANIMALS,
    CAPITALS,
    COLOUR_OF,
    COLOURS,
    DAYS,
    FRUITS,
    JOBS,
    OPPOSITES,
    BilingualPhrase,
)
from thinkery.mini.general_task import GeneralTask, Reply, TaskText, forms


class Fact(NamedTuple):
    """A question with a short answer, each in English and Chinese; ``others`` are the answers that it isn't."""

    key: str
    question: BilingualPhrase  # without its end, in small letters
    answer: BilingualPhrase
    sentence: BilingualPhrase  # the answer in a sentence
    others: tuple[BilingualPhrase, ...]
    recall: BilingualPhrase | None = None  # what one has to remember first, where it isn't the sentence
    error: BilingualPhrase | None = None  # what somebody believes who answers wrongly


def plain_fact(rng: Random) -> Fact:
    """A fact asked forwards, which has a one-word answer."""
    return rng.choice((_capital_of, _capital_of, _country_of, _opposite, _colour, _day))(rng)


def _rest(table: tuple[BilingualPhrase, ...], *but: BilingualPhrase) -> tuple[BilingualPhrase, ...]:
    return tuple(pair for pair in table if pair not in but)


def bare(text: str) -> str:
    """Without an article."""
    return text.removeprefix("an ").removeprefix("a ")


def _capital_of(rng: Random) -> Fact:
    country, city = rng.choice(CAPITALS)
    return Fact(
        f"capital;{country.en}",
        BilingualPhrase(f"what is the capital of {country.en}", f"{country.zh}的首都是哪里"),
        city,
        BilingualPhrase(f"The capital of {country.en} is {city.en}.", f"{country.zh}的首都是{city.zh}。"),
        _rest(tuple(other for _, other in CAPITALS), city),
    )


def _country_of(rng: Random) -> Fact:
    country, city = rng.choice(CAPITALS)
    return Fact(
        f"country;{city.en}",
        BilingualPhrase(f"in which country is {city.en}", f"{city.zh}在哪个国家"),
        country,
        BilingualPhrase(f"{city.en} is in {country.en}.", f"{city.zh}在{country.zh}。"),
        _rest(tuple(other for other, _ in CAPITALS), country),
    )


def _opposite(rng: Random) -> Fact:
    given, answer = rng.sample(rng.choice(OPPOSITES), 2)
    return Fact(
        f"opposite;{given.en}",
        BilingualPhrase(f"what is the opposite of {given.en}", f"“{given.zh}”的反义词是什么"),
        answer,
        BilingualPhrase(f"The opposite of {given.en} is {answer.en}.", f"“{given.zh}”的反义词是“{answer.zh}”。"),
        tuple(word for pair in OPPOSITES[:4] for word in pair if word not in (given, answer)),
    )


def _colour(rng: Random) -> Fact:
    thing, at = rng.choice(COLOUR_OF)
    colour = COLOURS[at]
    return Fact(
        f"colour;{thing.en}",
        BilingualPhrase(f"what colour is {thing.en}", f"{thing.zh}是什么颜色"),
        BilingualPhrase(colour.en, colour.zh + "色"),
        BilingualPhrase(f"{thing.en[0].upper()}{thing.en[1:]} is {colour.en}.", f"{thing.zh}是{colour.zh}色。"),
        tuple(BilingualPhrase(other.en, other.zh + "色") for other in _rest(COLOURS, colour)),
    )


def _day(rng: Random) -> Fact:
    at, after = rng.randrange(7), rng.random() < 0.5
    given, answer = DAYS[at], DAYS[(at + (1 if after else -1)) % 7]
    en, zh = ("after", "后") if after else ("before", "前")
    return Fact(
        f"{en};{given.en}",
        BilingualPhrase(f"which day comes {en} {given.en}", f"{given.zh}{zh}一天是星期几"),
        answer,
        BilingualPhrase(f"{answer.en} comes {en} {given.en}.", f"{given.zh}{zh}一天是{answer.zh}。"),
        _rest(DAYS, given, answer),
    )


def _choice(rng: Random) -> Fact:
    """A fact asked with two answers to choose from."""
    fact = plain_fact(rng)
    other = rng.choice(fact.others)
    first, second = rng.sample((fact.answer, other), 2)
    return fact._replace(
        key=f"choice;{fact.key};{other.en}",
        question=BilingualPhrase(
            f"{fact.question.en}, {first.en} or {second.en}", f"{fact.question.zh}，{first.zh}还是{second.zh}"
        ),
        others=(other,),
    )


def _bigger(rng: Random) -> Fact:
    small, big = sorted(rng.sample(range(len(ANIMALS)), 2))
    ask_big = rng.random() < 0.5
    answer, other = (ANIMALS[big], ANIMALS[small]) if ask_big else (ANIMALS[small], ANIMALS[big])
    en, zh = ("bigger", "大") if ask_big else ("smaller", "小")
    first, second = rng.sample((answer, other), 2)
    return Fact(
        f"{en};{ANIMALS[small].en};{ANIMALS[big].en}",
        BilingualPhrase(f"which is {en}, {first.a()} or {second.a()}", f"{first.zh}和{second.zh}哪个{zh}"),
        BilingualPhrase(answer.en, answer.zh),
        BilingualPhrase(f"The {answer.en} is {en}.", f"{answer.zh}更{zh}。"),
        (BilingualPhrase(other.en, other.zh),),
    )


_CLASSES = (
    (BilingualPhrase("an animal", "动物"), tuple(BilingualPhrase(noun.a(), noun.zh) for noun in ANIMALS)),
    (BilingualPhrase("a fruit", "水果"), tuple(BilingualPhrase(noun.a(), noun.zh) for noun in FRUITS)),
    (BilingualPhrase("a job", "职业"), JOBS),
    (BilingualPhrase("a colour", "颜色"), tuple(BilingualPhrase(colour.en, colour.zh + "色") for colour in COLOURS)),
    (BilingualPhrase("a city", "城市"), tuple(city for _, city in CAPITALS)),
    (BilingualPhrase("a country", "国家"), tuple(country for country, _ in CAPITALS)),
)


def _kind_of(rng: Random) -> Fact:
    right, wrong = rng.sample(range(len(_CLASSES)), 2)
    (answer, members), other = _CLASSES[right], _CLASSES[wrong][0]
    thing = rng.choice(members)
    en = BilingualPhrase(f"a {thing.en}", thing.zh).en if members is JOBS else thing.en
    first, second = rng.sample((answer, other), 2)
    return Fact(
        f"kind;{thing.en};{other.en}",
        BilingualPhrase(f"is {en} {first.en} or {second.en}", f"{thing.zh}是{first.zh}还是{second.zh}"),
        answer,
        BilingualPhrase(f"{en[0].upper()}{en[1:]} is {answer.en}.", f"{thing.zh}是{answer.zh}。"),
        (other,),
    )


def yes_or_no(rng: Random) -> Fact:
    """A statement to be confirmed or denied."""
    fact = rng.choice((_capital_of, _opposite, _colour, _bigger, _kind_of))(rng)
    true = rng.random() < 0.5
    said = fact.answer if true else rng.choice(fact.others)
    statement = BilingualPhrase(
        fact.sentence.en.replace(fact.answer.en, said.en), fact.sentence.zh.replace(fact.answer.zh, said.zh)
    )
    if fact.key.startswith(("bigger", "smaller")):  # "The cat is bigger." needs what it is compared with
        word = fact.key.split(";")[0]
        loser = fact.others[0] if true else fact.answer
        zh = "大" if word == "bigger" else "小"
        statement = BilingualPhrase(f"The {said.en} is {word} than the {loser.en}.", f"{said.zh}比{loser.zh}{zh}。")
    yes, no = BilingualPhrase("yes", "是的"), BilingualPhrase("no", "不是")
    answer = yes if true else no
    other = rng.choice(fact.others)
    error = (
        BilingualPhrase(*(_instead(fact.sentence[i], fact.answer[i], other[i]) for i in (0, 1))) if true else statement
    )
    return Fact(
        f"true;{statement.en}",
        BilingualPhrase(f"is this true: {statement.en[:-1]}", f"对不对：{statement.zh[:-1]}"),
        answer,
        BilingualPhrase("Yes, that is true.", "是的，没错。")
        if true
        else BilingualPhrase("No, that is wrong.", "不是，这不对。"),
        (no if true else yes,),
        fact.sentence,
        error,
    )


def _instead(sentence: str, right: str, wrong: str) -> str:
    """The sentence with another answer in the right one's place."""
    return sentence.replace(right, wrong).replace(right.capitalize(), wrong.capitalize())


def fact(rng: Random, parts: int) -> GeneralTask:
    """A question for a fact: the answer is to be named, and no other in its place."""
    asked = rng.choice((plain_fact, _choice, _choice, _bigger, _kind_of, yes_or_no, yes_or_no))(rng)
    wrong = rng.choice(asked.others)
    built = {}
    for i, language in enumerate(("en", "zh")):
        question, sentence, right, bad = (pair[i] for pair in (asked.question, asked.sentence, asked.answer, wrong))
        stop, mark = (".", "?") if i == 0 else ("。", "？")
        short = f"{right[:1].upper()}{right[1:]}{stop}"
        false = _instead(sentence, right, bad)
        recall, error = (asked.recall or asked.sentence)[i], asked.error[i] if asked.error else false
        if asked.error:
            false = f"{bad[:1].upper()}{bad[1:]}{stop}"
        built[language] = TaskText(
            f"{question[:1].upper()}{question[1:]}{mark}",
            (Reply(sentence, recall), Reply(short, recall)),
            (Reply(false, error), Reply(f"{bad[:1].upper()}{bad[1:]}{stop}", error)),
            curt=(Reply(right, recall),),
            thought=("{}",),
            constraints=(
                {"type": "contains", "any": [bare(right)]},
                {"type": "excludes", "any": [bare(other[i]) for other in asked.others]},
            ),
        )
    return GeneralTask("fact", asked.key, forms(built["en"], built["zh"]))
