"""General tasks with constraints that a rule can check, as in IFEval: lists, formats, repetition, sentences, JSON.

``parts`` says how many constraints a task combines. What ignores them (the right content in the wrong form) is what a
careless writer writes.
"""

from __future__ import annotations

import json
from random import Random
from typing import Any, NamedTuple

from thinkery.mini.general_facts import bare, plain_fact
from thinkery.mini.general_tables import (
    ANIMALS,
    CAPITALS,
    COLOURS,
    DRINKS,
    FRUITS,
    JOBS,
    NAMES,
    NUMBERS,
    SIZES,
    THINGS,
    BilingualPhrase,
    Noun,
)
from thinkery.mini.general_task import GeneralTask, Reply, TaskText, answers, forms

_CATEGORIES: tuple[
    tuple[BilingualPhrase, BilingualPhrase, tuple[BilingualPhrase, ...]], ...
] = (  # several of them, one of them, the words
    (
        BilingualPhrase("animals", "种动物"),
        BilingualPhrase("an animal", "一种动物"),
        tuple(BilingualPhrase(noun.en, noun.zh) for noun in ANIMALS),
    ),
    (
        BilingualPhrase("fruits", "种水果"),
        BilingualPhrase("a fruit", "一种水果"),
        tuple(BilingualPhrase(noun.en, noun.zh) for noun in FRUITS),
    ),
    (
        BilingualPhrase("colours", "种颜色"),
        BilingualPhrase("a colour", "一种颜色"),
        tuple(BilingualPhrase(c.en, c.zh + "色") for c in COLOURS),
    ),
    (BilingualPhrase("drinks", "种饮料"), BilingualPhrase("a drink", "一种饮料"), DRINKS),
    (BilingualPhrase("jobs", "种职业"), BilingualPhrase("a job", "一种职业"), JOBS),
    (BilingualPhrase("cities", "座城市"), BilingualPhrase("a city", "一座城市"), tuple(city for _, city in CAPITALS)),
)
_SEPARATORS = (  # how it is called, and what it looks like
    (BilingualPhrase("commas", "逗号"), BilingualPhrase(", ", "，")),
    (BilingualPhrase("semicolons", "分号"), BilingualPhrase("; ", "；")),
    (BilingualPhrase("slashes", "斜线"), BilingualPhrase("/", "/")),
    (BilingualPhrase("dashes", "横线"), BilingualPhrase("-", "-")),
)


class _Wish(NamedTuple):
    """A further constraint: how it is asked, and what it is."""

    key: str
    ask: BilingualPhrase
    rules: tuple[dict[str, Any], dict[str, Any]]  # English, Chinese


def instruct(rng: Random, parts: int) -> GeneralTask:
    """An instruction with ``parts`` constraints (1 to 3)."""
    return rng.choice((_list, _list, _list, _formatted, _formatted, _repeat, _sentence, _letter, _json))(rng, parts)


def _task(key: str, parts: int, en: TaskText, zh: TaskText) -> GeneralTask:
    return GeneralTask("instruct", key, forms(en, zh), 2 * parts - 1)


def _counted(words: list[str]) -> str:
    return " ".join(f"{i} {word}" for i, word in enumerate(words, 1))


def _list(rng: Random, parts: int) -> GeneralTask:
    """Several of a kind, with a separator, and wishes about which and in what order."""
    (plural, _, words), count = rng.choice(_CATEGORIES), rng.randrange(2, 5)
    (separator, sign), number = rng.choice(_SEPARATORS), NUMBERS[count - 2]
    chosen = [rng.sample(words, count) for _ in range(3)]
    wishes: list[_Wish] = []
    for kind in rng.sample(("without", "place", "end"), parts - 1):
        wishes.append(_list_wish(rng, kind, words, chosen))
    key = f"list;{plural.en};{count};{separator.en};{','.join(wish.key for wish in wishes)}"
    ending = next((wish.rules[0]["text"] for wish in wishes if wish.key.startswith("end")), "")
    built = []
    for i in (0, 1):
        rules: list[dict[str, Any]] = [
            {"type": "items", "count": count, "separator": sign[i].strip(), "among": [word[i] for word in words]}
        ]
        rules += [wish.rules[i] for wish in wishes]
        asked = [wish.ask[i] for wish in wishes]
        finish = {"": "", "!": "!！"[i], ".": ".。"[i]}[ending]
        listed = [[word[i] for word in those] for those in chosen]
        question = (
            f"Name {number.en} {plural.en} separated by {', '.join([separator.en, *asked])}."
            if i == 0
            else f"说出{number.zh}{plural.zh}，{'，'.join([f'用{separator.zh}隔开', *asked])}。"
        )
        other = [word[i] for word in rng.sample(words, len(words))]
        built.append(
            TaskText(
                question,
                tuple(Reply(sign[i].join(those) + finish, _counted(those)) for those in listed),
                answers(sign[i].join(other[: count - 1]), sign[i].join(other[: count + 1])),
                answers(" ".join(listed[0]) + "." if i == 0 else "和".join(listed[0]) + "。", listed[0][0]),
                curt=(Reply(sign[i].join(listed[0]) + finish, _counted(listed[0])),),
                thought=(("I count: {}.", "我数：{}。")[i],),
                constraints=tuple(rules),
            )
        )
    return _task(key, parts, *built)


def _list_wish(
    rng: Random, kind: str, words: tuple[BilingualPhrase, ...], chosen: list[list[BilingualPhrase]]
) -> _Wish:
    """A wish about a list; the chosen words are changed so that they fulfil it."""
    if kind == "end":
        sign = rng.choice((BilingualPhrase("!", "！"), BilingualPhrase(".", "。")))
        name = (
            BilingualPhrase("an exclamation mark", "感叹号")
            if sign.en == "!"
            else BilingualPhrase("a full stop", "句号")
        )
        rules: list[dict[str, Any]] = [{"type": "ends_with", "text": text} for text in sign]
        return _Wish(
            f"end{sign.en}", BilingualPhrase(f"ending with {name.en}", f"最后写{name.zh}"), (rules[0], rules[1])
        )
    used = chosen[0]
    if kind == "without":  # a word that no list has yet
        spare = rng.choice([word for word in words if word not in used])
        for those in chosen[1:]:
            if spare in those:
                those[:] = used
        rules = [{"type": "excludes", "any": [text]} for text in spare]
        return _Wish(
            f"without {spare.en}", BilingualPhrase(f"without {spare.en}", f"不要{spare.zh}"), (rules[0], rules[1])
        )
    first = used[0]
    for those in chosen[1:]:
        if first in those:
            those.remove(first)
        else:
            those.pop()
        those.insert(0, first)
    rules = [{"type": "starts_with", "text": text} for text in first]
    return _Wish(f"first {first.en}", BilingualPhrase(f"first {first.en}", f"先写{first.zh}"), (rules[0], rules[1]))


def _formatted(rng: Random, parts: int) -> GeneralTask:
    """A fact, in a form that is asked for: one word, in brackets, twice, after a word, before a word, short."""
    fact = plain_fact(rng)
    kinds = (
        rng.sample(("twice", "start", "end", "short"), parts)
        if parts > 1
        else [rng.choice(("only", "brackets", "twice", "start", "end"))]
    )
    begin = rng.choice(
        (BilingualPhrase("Answer:", "答："), BilingualPhrase("Well,", "嗯，"), BilingualPhrase("Yes,", "好，"))
    )
    finish = rng.choice(
        (BilingualPhrase("!", "！"), BilingualPhrase("thanks", "谢谢"), BilingualPhrase("done", "完了"))
    )
    built, other = [], rng.choice(fact.others)
    for i, stop in ((0, "."), (1, "。")):
        right, bad = bare(fact.answer[i]), bare(other[i])
        error = fact.sentence[i].replace(right, bad).replace(right.capitalize(), bad.capitalize())
        asked, rules, good, wrong = _in_form(kinds, right, bad, begin[i], finish[i], i)
        question = fact.question[i]
        question = (
            f"{question[:1].upper()}{question[1:]}? {'. '.join(asked)}."
            if i == 0
            else f"{question}？{'，'.join(asked)}。"
        )
        built.append(
            TaskText(
                question,
                (Reply(good, fact.sentence[i]),),
                (Reply(wrong, error),),
                (Reply(fact.sentence[i], fact.sentence[i]), Reply(f"{right}{stop}", fact.sentence[i]))
                if kinds != ["only"]
                else (Reply(fact.sentence[i], fact.sentence[i]),),
                curt=(Reply(right, fact.sentence[i]),),
                thought=("{}",),
                constraints=rules,
            )
        )
    named = [f"{kind}{begin.en if kind == 'start' else finish.en if kind == 'end' else ''}" for kind in sorted(kinds)]
    return _task(f"format;{fact.key};{','.join(named)}", parts, *built)


def _in_form(
    kinds: list[str], right: str, bad: str, begin: str, finish: str, i: int
) -> tuple[list[str], tuple[dict[str, Any], ...], str, str]:
    """What is asked, the rules, and the right and a wrong answer in the form; ``i`` is 0 for English, 1 for Chinese."""
    asks: list[str] = []
    rules: list[dict[str, Any]] = [{"type": "contains", "any": [right]}, {"type": "excludes", "any": [bad]}]
    texts = [right, bad]
    if "only" in kinds:
        asks.append(("Answer with one word", "只答一个词")[i])
        rules = [{"type": "equals", "any": [right]}]
    if "brackets" in kinds:
        asks.append(("Answer in brackets", "答案放在括号里")[i])
        rules += [{"type": "starts_with", "text": "("}, {"type": "ends_with", "text": ")"}]
        texts = [f"({text})" for text in texts]
    if "twice" in kinds:
        asks.append(
            ("Say only the answer, twice", "只说答案，说两遍")[i]
            if len(kinds) == 1
            else ("Say the answer twice", "答案说两遍")[i]
        )
        rules[0] = {"type": "contains", "any": [right], "count": 2}
        if len(kinds) == 1:
            rules = [{"type": "repeats", "text": right, "count": 2}]
        texts = [f"{text}{(', ', '，')[i]}{text}" for text in texts]
    if "start" in kinds:
        asks.append((f"Start with {begin}", f"用“{begin}”开头")[i])
        rules.append({"type": "starts_with", "text": begin})
        texts = [f"{begin} {text}" if i == 0 else f"{begin}{text}" for text in texts]
    if "end" in kinds:
        mark = finish in "!！"
        name = ("an exclamation mark", "感叹号")[i] if mark else ("the word " + finish, f"“{finish}”")[i]
        asks.append((f"End with {name}", f"用{name}结尾")[i])
        rules.append({"type": "ends_with", "text": finish})
        texts = [text + finish if mark else text + (", ", "，")[i] + finish for text in texts]
    if "short" in kinds:
        asks.append(("Use at most five words", "不超过十二个字")[i])
        rules.append({"type": "words", "max": (5, 12)[i]})
    return asks, tuple(rules), texts[0], texts[1]


_SAID = (
    *(BilingualPhrase(noun.en, noun.zh) for noun in (*ANIMALS, *FRUITS, *THINGS)),
    BilingualPhrase("yes", "是"),
    BilingualPhrase("hello", "你好"),
    BilingualPhrase("thanks", "谢谢"),
)


def _repeat(rng: Random, parts: int) -> GeneralTask:
    """A word, again and again, and nothing else."""
    word, count = rng.choice(_SAID), rng.randrange(2, 6)
    number, kinds = BilingualPhrase(*NUMBERS[count - 2]), sorted(rng.sample(("capitals", "commas", "end"), parts - 1))
    built = []
    for i in (0, 1):
        said = word[i].upper() if "capitals" in kinds and i == 0 else f"“{word[i]}”" if "capitals" in kinds else word[i]
        joiner = (", ", "，")[i] if "commas" in kinds else " "
        finish = "!！"[i] if "end" in kinds else ""
        rules: list[dict[str, Any]] = [{"type": "repeats", "text": word[i], "count": count}]
        wishes = []
        if "capitals" in kinds:
            wishes.append(("in capital letters", "每个词放在引号里")[i])
            rules.append(
                {"type": "case", "value": "upper"} if i == 0 else {"type": "contains", "any": ["“"], "count": count}
            )
        if "commas" in kinds:
            wishes.append(("with commas", "用逗号隔开")[i])
            rules.append({"type": "items", "count": count, "separator": joiner.strip(), "distinct": False})
        if "end" in kinds:
            wishes.append(("and an exclamation mark at the end", "最后写感叹号")[i])
            rules.append({"type": "ends_with", "text": finish})
        question = (
            " ".join([f"Say {word.en} {number.en} times", *wishes]) + "."
            if i == 0
            else "，".join([f"说{number.zh}遍{word.zh}", *wishes]) + "。"
        )
        off = max(1, count + rng.choice((-1, 1)))
        built.append(
            TaskText(
                question,
                (Reply(joiner.join([said] * count) + finish, _counted([word[i]] * count)),),
                answers(joiner.join([said] * off) + finish),
                answers(word[i], (f"{word.en} {number.en} times", f"{number.zh}遍{word.zh}")[i]),
                curt=(Reply(joiner.join([said] * count) + finish),),
                thought=(("I count: {}.", "我数：{}。")[i],),
                constraints=tuple(rules),
            )
        )
    return _task(f"repeat;{word.en};{count};{','.join(kinds)}", parts, *built)


def _sentence(rng: Random, parts: int) -> GeneralTask:
    """A sentence with given words (1), that begins with a given word (2), and ends with a mark (3)."""
    animal, thing = rng.choice(ANIMALS), rng.choice((*FRUITS, *THINGS))
    adjective = rng.choice((*COLOURS, *SIZES))
    verb = rng.choice((BilingualPhrase("sees", "看见"), BilingualPhrase("wants", "想要"), BilingualPhrase("has", "有")))
    start = rng.choice(
        (BilingualPhrase("Today", "今天"), BilingualPhrase("Now", "现在"), BilingualPhrase("Look,", "看，"))
    )
    mark = (
        rng.choice((BilingualPhrase("!", "！"), BilingualPhrase(".", "。")))
        if parts == 3
        else BilingualPhrase(".", "。")
    )
    name = (
        BilingualPhrase("an exclamation mark", "感叹号") if mark.en == "!" else BilingualPhrase("a full stop", "句号")
    )
    other = rng.choice([noun for noun in ANIMALS if noun != animal])
    good, missing_words = (
        BilingualPhrase(
            f"{start.en + ' ' if parts > 1 else ''}the {adjective.en} {who.en} {verb.en} the {thing.en}{mark.en}",
            f"{start.zh if parts > 1 else ''}{adjective.zh}{who.zh}{verb.zh}{thing.zh}{mark.zh}",
        )
        for who in (animal, other)
    )
    built = []
    for i in (0, 1):
        texts = [thing[0] if i == 0 else thing.zh, animal.en if i == 0 else animal.zh, adjective[i]]
        rules: list[dict[str, Any]] = [{"type": "contains", "any": [text]} for text in texts]
        rules += [{"type": "sentences", "count": 1}, {"type": "words", "min": 1 + (3, len("".join(texts)))[i]}]
        asks = [
            f"a sentence with the words {adjective.en}, {animal.en} and {thing.en}",
            f"用“{adjective.zh}”“{animal.zh}”“{thing.zh}”写一句话",
        ]
        wishes = []
        if parts > 1:
            rules.append({"type": "starts_with", "text": start[i]})
            wishes.append((f"Start with {start.en}", f"用“{start.zh}”开头")[i])
        if parts > 2:
            rules.append({"type": "ends_with", "text": mark[i]})
            wishes.append((f"End with {name.en}", f"用{name.zh}结尾")[i])
        question = ". ".join([f"Write {asks[0]}", *wishes]) + "." if i == 0 else "，".join([asks[1], *wishes]) + "。"
        text = good[i][:1].upper() + good[i][1:]
        missing = missing_words[i][:1].upper() + missing_words[i][1:]
        built.append(
            TaskText(
                question,
                answers(text),
                answers(missing),
                answers(("The {} is nice.", "{}很好。")[i].format(animal.en if i == 0 else animal.zh), " ".join(texts)),
                curt=answers(text),
                thought=((f"Words: {', '.join(texts)}.", f"词：{'，'.join(texts)}。")[i],),
                constraints=tuple(rules),
            )
        )
    asked = ";".join((adjective.en, animal.en, thing.en, *(start.en, mark.en)[: parts - 1]))
    return _task(f"sentence;{asked}", parts, *built)


def _letter(rng: Random, parts: int) -> GeneralTask:
    """An English word of a kind without a letter (1), in capitals (2), in brackets (3)."""
    _, one, words = rng.choice(_CATEGORIES)
    letters = [c for c in "aeionrt" if 0 < sum(c not in word.en.lower() for word in words) < len(words)]
    letter = rng.choice(letters)
    fit = [word.en for word in words if letter not in word.en.lower()]
    unfit = [word.en for word in words if letter in word.en.lower()]

    def put(word: str) -> str:
        word = word.upper() if parts > 1 else word
        return f"({word})" if parts > 2 else word

    rules: list[dict[str, Any]] = [
        {"type": "equals", "any": fit if parts < 3 else [f"({word})" for word in fit]},
        {"type": "excludes_letters", "letters": letter},
    ]
    if parts > 1:
        rules.append({"type": "case", "value": "upper"})
    built = []
    for i in (0, 1):
        wishes = [("in capital letters", "用大写字母")[i], ("in brackets", "放在括号里")[i]][: parts - 1]
        question = (
            " ".join([f"Name {one.en} without the letter {letter}", *wishes]) + "."
            if i == 0
            else "，".join([f"用英文说出{one.zh}，不用字母{letter}", *wishes]) + "。"
        )
        good = rng.sample(fit, min(3, len(fit)))
        built.append(
            TaskText(
                question,
                tuple(Reply(put(word), f"{word}={' '.join(word.lower())}") for word in good),
                answers(*(put(word) for word in unfit[:2])),
                answers(f"{good[0]} {good[0]}", unfit[-1]),
                curt=answers(put(good[0])),
                thought=(("{}.", "{}。")[i],),
                constraints=tuple(rules),
                answer_language="en",
            )
        )
    return _task(f"letter;{one.en};{letter};{parts}", parts, *built)


def _json(rng: Random, parts: int) -> GeneralTask:
    """JSON with a name and an age (1), a city (2), a pet (3)."""
    name, age, city, pet = rng.choice(NAMES), rng.randrange(5, 60), rng.choice(CAPITALS)[1], rng.choice(ANIMALS[1:8])
    built = []
    for i in (0, 1):
        pairs: list[tuple[str, Any, str]] = [
            ("name", name[i], ("name", "名字")[i]),
            ("age", age, ("age", "年龄")[i]),
            ("city", city[i], ("city", "城市")[i]),
            ("pet", _named(pet, i), ("pet", "宠物")[i]),
        ][: parts + 1]
        value = {key: value for key, value, _ in pairs}
        false = dict(value) | {"age": age + rng.choice((-1, 1, 10))}
        listed = (", ", "，")[i].join(f"{called}{' ' if i == 0 else ''}{value}" for _, value, called in pairs)
        built.append(
            TaskText(
                f"Write as JSON: {listed}." if i == 0 else f"写成JSON，键用英文：{listed}。",
                answers(json.dumps(value, ensure_ascii=False)),
                answers(json.dumps(false, ensure_ascii=False)),
                answers(listed, "; ".join(f"{key}: {value}" for key, value, _ in pairs)),
                curt=answers(json.dumps(value, ensure_ascii=False)),
                thought=((f"Keys: {', '.join(value)}.", f"键：{', '.join(value)}。")[i],),
                constraints=({"type": "json", "value": value},),
            )
        )
    return _task(f"json;{name.en};{age};{city.en if parts > 1 else ''};{pet.en if parts > 2 else ''}", parts, *built)


def _named(noun: Noun, i: int) -> str:
    return noun.en if i == 0 else noun.zh
