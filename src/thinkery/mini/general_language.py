"""General tasks about language: translation of small phrases both ways, and rewriting of phrases and sentences.

Every answer can be checked: it is one of a few texts (the constraint ``equals``).
"""

from __future__ import annotations

from random import Random

from thinkery.mini.general_tables import (
    ANIMALS,
    COLOURS,
    DRINKS,
    FRUITS,
    NUMBERS,
    SIZES,
    SUBJECTS,
    THINGS,
    VERBS,
    BilingualPhrase,
    Noun,
)
from thinkery.mini.general_task import GeneralTask, Reply, TaskText, answers, forms

_TO_CHINESE = {
    "en": ("Translate into Chinese: {t}", "What is this in Chinese: {t}", "Say in Chinese: {t}"),
    "zh": ("翻译成中文：{t}", "用中文怎么说：{t}", "译成中文：{t}"),
}
_TO_ENGLISH = {
    "en": ("Translate into English: {t}", "What is this in English: {t}", "Say in English: {t}"),
    "zh": ("翻译成英文：{t}", "用英文怎么说：{t}", "译成英文：{t}"),
}


class _Phrase:
    """``three red apples``, as words to be said in either language."""

    def __init__(self, number: BilingualPhrase, adjective: BilingualPhrase | None, noun: Noun) -> None:
        self.number, self.adjective, self.noun = number, adjective, noun

    def en(self) -> str:
        """In English."""
        return " ".join(filter(None, (self.number.en, self.adjective and self.adjective.en, self.noun.plural)))

    def zh(self) -> str:
        """In Chinese."""
        return self.number.zh + self.noun.measure + (self.adjective.zh if self.adjective else "") + self.noun.zh

    def note(self) -> str:
        """Word by word."""
        words = [(self.number.en, self.number.zh + self.noun.measure)]
        if self.adjective:
            words.append((self.adjective.en, self.adjective.zh))
        words.append((self.noun.plural, self.noun.zh))
        return ", ".join(f"{en}={zh}" for en, zh in words)


def _phrase(rng: Random, adjective: bool) -> _Phrase:
    noun = rng.choice((*ANIMALS, *FRUITS, *THINGS))
    return _Phrase(rng.choice(NUMBERS), rng.choice((*COLOURS, *SIZES)) if adjective else None, noun)


def _near(rng: Random, phrase: _Phrase) -> _Phrase:
    """The phrase with one word wrong."""
    draw = rng.random()
    if draw < 0.4:
        return _Phrase(rng.choice([n for n in NUMBERS if n != phrase.number]), phrase.adjective, phrase.noun)
    if draw < 0.7 and phrase.adjective:
        others = [a for a in (*COLOURS, *SIZES) if a != phrase.adjective]
        return _Phrase(phrase.number, rng.choice(others), phrase.noun)
    others_noun = [n for n in (*ANIMALS, *FRUITS, *THINGS) if n != phrase.noun]
    return _Phrase(phrase.number, phrase.adjective, rng.choice(others_noun))


def translate(rng: Random, parts: int) -> GeneralTask:
    """A phrase (1), with an adjective (2), in a sentence (3), from English to Chinese or back."""
    phrase = _phrase(rng, adjective=parts > 1)
    wrong = _near(rng, phrase)
    en, zh, wrong_en, wrong_zh = phrase.en(), phrase.zh(), wrong.en(), wrong.zh()
    note, wrong_note = phrase.note(), wrong.note()
    if parts == 3:
        subject, verb = rng.choice(SUBJECTS), rng.choice(VERBS)
        en, wrong_en = (f"{_capital(subject.en)} {verb.en} {text}." for text in (en, wrong_en))
        zh, wrong_zh = (f"{subject.zh}{verb.zh}{text}。" for text in (zh, wrong_zh))
        note, wrong_note = (f"{subject.en}={subject.zh}, {verb.en}={verb.zh}, {text}" for text in (note, wrong_note))
    chinese = rng.random() < 0.5
    source, target, bad = (en, zh, wrong_zh) if chinese else (zh, en, wrong_en)
    asks = _TO_CHINESE if chinese else _TO_ENGLISH
    built = {
        language: TaskText(
            rng.choice(asks[language]).format(t=source),
            (Reply(target, note),),
            (Reply(bad, wrong_note),),
            (Reply(source, note),),
            curt=answers(target),
            thought=("{}.",) if language == "en" else ("{}。",),
            constraints=({"type": "equals", "any": [target]},),
            answer_language="zh" if chinese else "en",
        )
        for language in ("en", "zh")
    }
    return GeneralTask("translate", f"{'zh' if chinese else 'en'};{en}", built, 2 * parts - 1)


def rewrite(rng: Random, parts: int) -> GeneralTask:
    """A phrase or sentence in other letters, politely, negated, put in order, or with a word changed."""
    return rng.choice((_letters, _polite, _negative, _order, _change))(rng, parts)


def _rewriting(
    key: str,
    level: int,
    question: tuple[str, str],
    good: tuple[tuple[str, ...], tuple[str, ...]],
    wrong: tuple[str, str],
    unchanged: tuple[str, str],
    thought: tuple[str, str],
) -> GeneralTask:
    """A rewriting task, each argument in English and Chinese."""
    en, zh = (
        TaskText(
            question[i],
            answers(*good[i]),
            answers(wrong[i]),
            answers(unchanged[i]),
            curt=answers(good[i][0]),
            thought=(thought[i],),
            constraints=({"type": "equals", "any": list(good[i])},),
        )
        for i in (0, 1)
    )
    return GeneralTask("rewrite", key, forms(en, zh), level)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _letters(rng: Random, parts: int) -> GeneralTask:
    phrase = _phrase(rng, adjective=parts > 1).en()
    upper = rng.random() < 0.7
    given, good = (phrase, phrase.upper()) if upper else (phrase.upper(), phrase)
    asks = (
        ("Write in capital letters: {}", "用大写字母写：{}")
        if upper
        else ("Write in small letters: {}", "用小写字母写：{}")
    )
    built = {
        language: TaskText(
            asks[i].format(given),
            answers(good),
            answers(_capital(phrase)),
            answers(given),
            curt=answers(good),
            thought=(("Capital letters." if upper else "Small letters.", "大写字母。" if upper else "小写字母。")[i],),
            constraints=(
                {"type": "equals", "any": [good]},
                {"type": "case", "value": "upper" if upper else "lower"},
            ),
            answer_language="en",
        )
        for i, language in enumerate(("en", "zh"))
    }
    return GeneralTask("rewrite", f"{'upper' if upper else 'lower'};{phrase}", built, 2 * parts - 1)


_ORDERS = (
    BilingualPhrase("open", "打开"),
    BilingualPhrase("bring", "拿来"),
    BilingualPhrase("wash", "洗"),
    BilingualPhrase("sell", "卖掉"),
    BilingualPhrase("take", "拿走"),
)


def _polite(rng: Random, parts: int) -> GeneralTask:
    verb, noun = rng.choice(_ORDERS), rng.choice((*THINGS, *FRUITS))
    adjective = rng.choice((*COLOURS, *SIZES)) if parts > 1 else BilingualPhrase("", "")
    en = f"{verb.en} the {adjective.en + ' ' if adjective.en else ''}{noun.en}"
    zh = f"{verb.zh}{adjective.zh}{noun.zh}"
    return _rewriting(
        f"polite;{en}",
        2 * parts - 1,
        (f"Make it polite: {_capital(en)}!", f"说得礼貌些：{zh}！"),
        (
            (f"Could you please {en}?", f"Please {en}.", f"{_capital(en)}, please."),
            (f"请您{zh}。", f"请{zh}。", f"麻烦您{zh}。"),
        ),
        (f"{_capital(en)} now!", f"快{zh}！"),
        (f"{_capital(en)}.", f"{zh}。"),
        ("I add please.", "我加上请。"),
    )


def _sentence(rng: Random, parts: int) -> tuple[BilingualPhrase, BilingualPhrase, BilingualPhrase]:
    """Subject, verb and object."""
    subject, verb = rng.choice(SUBJECTS), rng.choice((*VERBS[1:], BilingualPhrase("like", "喜欢")))
    if parts == 1:
        return subject, verb, rng.choice(DRINKS)
    phrase = _phrase(rng, adjective=parts > 2)
    return subject, verb, BilingualPhrase(phrase.en(), phrase.zh())


def _negative(rng: Random, parts: int) -> GeneralTask:
    subject, verb, thing = _sentence(rng, parts)
    who = _capital(subject.en)
    en, zh = f"{who} {verb.en} {thing.en}.", f"{subject.zh}{verb.zh}{thing.zh}。"
    no = "没" if verb.en == "see" else "不"
    return _rewriting(
        f"negative;{en}",
        2 * parts - 1,
        (f"Make it negative: {en}", f"改成否定句：{zh}"),
        (
            (f"{who} do not {verb.en} {thing.en}.", f"{who} don't {verb.en} {thing.en}."),
            (f"{subject.zh}{no}{verb.zh}{thing.zh}。",),
        ),
        (f"{who} not {verb.en} no {thing.en}.", f"不{subject.zh}{verb.zh}{thing.zh}。"),
        (en, zh),
        ("I add do not.", f"我加上{no}。"),
    )


def _order(rng: Random, parts: int) -> GeneralTask:
    subject, verb, thing = _sentence(rng, parts)
    en, zh = f"{_capital(subject.en)} {verb.en} {thing.en}.", f"{subject.zh}{verb.zh}{thing.zh}。"
    words_en = [subject.en, verb.en, *thing.en.split()]
    words_zh = [subject.zh, verb.zh, thing.zh] if parts == 1 else [subject.zh, verb.zh, thing.zh[:2], thing.zh[2:]]
    shuffled = []
    for words in (words_en, words_zh):
        mixed = words[:]
        while mixed == words:
            rng.shuffle(mixed)
        shuffled.append(mixed)
    return _rewriting(
        f"order;{en}",
        2 * parts - 1,
        (f"Put the words in order: {' '.join(shuffled[0])}", f"排成句子：{' '.join(shuffled[1])}"),
        ((en,), (zh,)),
        (f"{_capital(thing.en)} {verb.en} {subject.en}.", f"{thing.zh}{verb.zh}{subject.zh}。"),
        (" ".join(shuffled[0]), "".join(shuffled[1])),
        (f"Who: {subject.en}. What: {thing.en}.", f"谁：{subject.zh}。什么：{thing.zh}。"),
    )


def _change(rng: Random, parts: int) -> GeneralTask:
    subject, verb, thing = _sentence(rng, parts)
    new = rng.choice([other for other in SUBJECTS if other != subject])
    en, zh = (
        (f"{_capital(who)} {verb.en} {thing.en}." for who in (subject.en, new.en)),
        (f"{who}{verb.zh}{thing.zh}。" for who in (subject.zh, new.zh)),
    )
    (old_en, new_en), (old_zh, new_zh) = en, zh
    return _rewriting(
        f"change;{old_en};{new.en}",
        2 * parts - 1,
        (f"Change {subject.en} to {new.en}: {old_en}", f"把{subject.zh}改成{new.zh}：{old_zh}"),
        ((new_en,), (new_zh,)),
        (f"{_capital(new.en)} {verb.en} {subject.en}.", f"{new.zh}{verb.zh}{subject.zh}。"),
        (old_en, old_zh),
        (f"{subject.en} becomes {new.en}.", f"{subject.zh}改成{new.zh}。"),
    )
