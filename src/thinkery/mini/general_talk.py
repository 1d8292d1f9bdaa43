"""General tasks that no rule can check: small talk, questions about the assistant itself, and how to do a thing.

A good reply to each is known all the same (``expected``, ``good``), so that a preference can be stated.
"""

from __future__ import annotations

from random import Random

from thinkery.mini.general_tables import ANIMALS, CAPITALS, JOBS, NAMES, THINGS, BilingualPhrase
from thinkery.mini.general_task import GeneralTask, TaskText, answers, forms

_THANKED = (
    BilingualPhrase("help", "帮助"),
    BilingualPhrase("answer", "回答"),
    BilingualPhrase("story", "故事"),
    BilingualPhrase("advice", "建议"),
    BilingualPhrase("list", "清单"),
    BilingualPhrase("letter", "信"),
)
_PLACES = (
    BilingualPhrase("school", "学校"),
    BilingualPhrase("work", "公司"),
    BilingualPhrase("the park", "公园"),
    BilingualPhrase("the shop", "商店"),
    BilingualPhrase("the sea", "海边"),
)
_WHO = (
    (BilingualPhrase("I am", "我"), BilingualPhrase("you are", "您")),
    (BilingualPhrase("My friend is", "我朋友"), BilingualPhrase("your friend is", "您朋友")),
    (BilingualPhrase("My mother is", "我妈妈"), BilingualPhrase("your mother is", "您妈妈")),
    (BilingualPhrase("My son is", "我儿子"), BilingualPhrase("your son is", "您儿子")),
)
_BAD_MOODS = (
    BilingualPhrase("sad", "难过"),
    BilingualPhrase("tired", "累"),
    BilingualPhrase("ill", "病了"),
    BilingualPhrase("angry", "生气"),
)
_GOOD_MOODS = (
    BilingualPhrase("happy", "高兴"),
    BilingualPhrase("proud", "自豪"),
    BilingualPhrase("well again", "康复了"),
)
_WHEN = (
    BilingualPhrase("today", "今天"),
    BilingualPhrase("this morning", "今天早上"),
    BilingualPhrase("tonight", "今晚"),
)
_WEATHER = (
    (
        BilingualPhrase("raining", "下雨"),
        BilingualPhrase("Then take an umbrella", "那请带上伞"),
        BilingualPhrase("umbrella", "伞"),
    ),
    (
        BilingualPhrase("snowing", "下雪"),
        BilingualPhrase("Then wear a warm coat", "那请穿暖和些"),
        BilingualPhrase("warm", "暖"),
    ),
    (
        BilingualPhrase("getting hot", "变热"),
        BilingualPhrase("Then drink a lot of water", "那请多喝水"),
        BilingualPhrase("water", "水"),
    ),
    (
        BilingualPhrase("getting dark", "变黑"),
        BilingualPhrase("Then turn on the light", "那请开灯"),
        BilingualPhrase("light", "灯"),
    ),
)


def chat(rng: Random, parts: int) -> GeneralTask:
    """Small talk: a greeting, thanks, a farewell, a mood, the weather, something new."""
    return rng.choice((_hello, _hello, _thanks, _bye, _mood, _mood, _weather, _new_thing))(rng)


def _hello(rng: Random) -> GeneralTask:
    greeting = rng.choice(
        (BilingualPhrase("Hello", "你好"), BilingualPhrase("Hi", "您好"), BilingualPhrase("Good morning", "早上好"))
    )
    hello = (("hello", "hi", "good morning", "welcome"), ("你好", "您好", "早上好", "欢迎"))
    if rng.random() < 0.3:
        return GeneralTask(
            "chat",
            f"hello;{greeting.en}",
            forms(
                TaskText(
                    f"{greeting.en}!",
                    answers("Hello! How can I help you?", "Hi! What can I do for you?"),
                    expected=(hello[0], ("help", "do for you")),
                ),
                TaskText(
                    f"{greeting.zh}！",
                    answers("您好！有什么可以帮您？", "你好！我能为您做什么？"),
                    expected=(hello[1], ("帮", "为您做")),
                ),
            ),
        )
    name, place = rng.choice(NAMES), rng.choice(CAPITALS)[1]
    return GeneralTask(
        "chat",
        f"hello;{name.en};{place.en}",
        forms(
            TaskText(
                f"{greeting.en}, I am {name.en} from {place.en}.",
                answers(f"Hello, {name.en}! How can I help you?", f"Hi, {name.en}! What can I do for you?"),
                expected=(hello[0], (name.en,), ("help", "do for you")),
            ),
            TaskText(
                f"{greeting.zh}，我是{place.zh}的{name.zh}。",
                answers(f"您好，{name.zh}！有什么可以帮您？", f"你好，{name.zh}！我能为您做什么？"),
                expected=(hello[1], (name.zh,), ("帮", "为您做")),
            ),
        ),
    )


def _thanks(rng: Random) -> GeneralTask:
    thing, name = rng.choice(_THANKED), rng.choice(NAMES)
    return GeneralTask(
        "chat",
        f"thanks;{thing.en};{name.en}",
        forms(
            TaskText(
                rng.choice(
                    (f"{name.en} and I thank you for the {thing.en}!", f"{name.en} says thanks for the {thing.en}.")
                ),
                answers(
                    f"You are welcome! I am glad that {name.en} likes the {thing.en}.",
                    f"You are welcome! Please greet {name.en}.",
                ),
                expected=(("welcome",), (name.en,)),
            ),
            TaskText(
                rng.choice((f"{name.zh}和我谢谢你的{thing.zh}！", f"{name.zh}说谢谢你的{thing.zh}。")),
                answers(f"不客气！很高兴{name.zh}喜欢这{thing.zh}。", f"不客气！请代我问候{name.zh}。"),
                expected=(("不客气",), (name.zh,)),
            ),
        ),
    )


def _bye(rng: Random) -> GeneralTask:
    place, when = rng.choice(_PLACES), rng.choice(_WHEN)
    return GeneralTask(
        "chat",
        f"bye;{place.en};{when.en}",
        forms(
            TaskText(
                rng.choice((f"Goodbye, I go to {place.en} {when.en}.", f"Bye! I go to {place.en} {when.en}.")),
                answers(f"Goodbye! Have a nice time at {place.en}.", f"Bye! I wish you a good time at {place.en}."),
                expected=(("goodbye", "bye"), (place.en,)),
            ),
            TaskText(
                rng.choice((f"再见，我{when.zh}去{place.zh}。", f"我{when.zh}去{place.zh}，拜拜！")),
                answers(f"再见！祝您在{place.zh}过得开心。", f"再见！在{place.zh}玩得开心。"),
                expected=(("再见",), (place.zh,)),
            ),
        ),
    )


def _mood(rng: Random) -> GeneralTask:
    (who, whose), when = rng.choice(_WHO), rng.choice(_WHEN)
    bad = rng.random() < 0.6
    mood = rng.choice(_BAD_MOODS if bad else _GOOD_MOODS)
    if bad:
        en = (
            f"I am sorry that {whose.en} {mood.en}. I hope it gets better soon.",
            f"I am sorry that {whose.en} {mood.en}.",
        )
        zh = (f"{whose.zh}{mood.zh}，我很难过。希望很快好起来。", f"很抱歉听到{whose.zh}{mood.zh}。")
        tone: tuple[tuple[str, ...], tuple[str, ...]] = (("sorry", "hope"), ("抱歉", "很难过", "希望"))
        wrong = (answers(f"I am glad that {whose.en} {mood.en}!"), answers(f"{whose.zh}{mood.zh}，太好了！"))
    else:
        en = (f"I am glad that {whose.en} {mood.en}!", f"How nice that {whose.en} {mood.en}!")
        zh = (f"{whose.zh}{mood.zh}，太好了！", f"听到{whose.zh}{mood.zh}，我很开心！")
        tone = (("glad", "nice"), ("太好了", "开心"))
        wrong = (answers(f"I am sorry that {whose.en} {mood.en}."), answers(f"很抱歉听到{whose.zh}{mood.zh}。"))
    return GeneralTask(
        "chat",
        f"mood;{who.en};{mood.en};{when.en}",
        forms(
            TaskText(f"{who.en} {mood.en} {when.en}.", answers(*en), wrong[0], expected=(tone[0], (mood.en,))),
            TaskText(f"{when.zh}{who.zh}{mood.zh}。", answers(*zh), wrong[1], expected=(tone[1], (mood.zh,))),
        ),
    )


def _weather(rng: Random) -> GeneralTask:
    at = rng.randrange(len(_WEATHER))
    (weather, advice, word), city = _WEATHER[at], rng.choice(CAPITALS)[1]
    other = _WEATHER[(at + 1 + rng.randrange(3)) % len(_WEATHER)][1]
    return GeneralTask(
        "chat",
        f"weather;{weather.en};{city.en}",
        forms(
            TaskText(
                rng.choice((f"It is {weather.en} in {city.en}.", f"In {city.en} it is {weather.en} now.")),
                answers(f"{advice.en}. I wish you a nice day in {city.en}.", f"{advice.en}, please."),
                answers(f"{other.en}."),
                expected=((word.en,),),
            ),
            TaskText(
                rng.choice((f"{city.zh}在{weather.zh}。", f"现在{city.zh}在{weather.zh}。")),
                answers(f"{advice.zh}。祝您在{city.zh}过得开心。", f"{advice.zh}吧。"),
                answers(f"{other.zh}。"),
                expected=((word.zh,),),
            ),
        ),
    )


def _new_thing(rng: Random) -> GeneralTask:
    noun, who = rng.choice((*ANIMALS, *THINGS)), rng.choice(NAMES)
    return GeneralTask(
        "chat",
        f"new;{noun.en};{who.en}",
        forms(
            TaskText(
                f"{who.en} has {noun.a()} now!",
                answers(f"How nice! What colour is the {noun.en}?", f"How nice! Does {who.en} like the {noun.en}?"),
                expected=(("nice",), (noun.en,)),
            ),
            TaskText(
                f"{who.zh}现在有一{noun.measure}{noun.zh}了！",
                answers(
                    f"太好了！这{noun.measure}{noun.zh}是什么颜色？",
                    f"太好了！{who.zh}喜欢这{noun.measure}{noun.zh}吗？",
                ),
                expected=(("太好了",), (noun.zh,)),
            ),
        ),
    )


_ABLE = (
    BilingualPhrase("translate", "翻译"),
    BilingualPhrase("write", "写作"),
    BilingualPhrase("count", "数数"),
    BilingualPhrase("answer questions", "回答问题"),
)
_UNABLE = (
    BilingualPhrase("walk", "走路"),
    BilingualPhrase("eat", "吃饭"),
    BilingualPhrase("sleep", "睡觉"),
    BilingualPhrase("drive a car", "开车"),
    BilingualPhrase("see the sky", "看天空"),
    BilingualPhrase("dance", "跳舞"),
)
_BELONGINGS = (
    BilingualPhrase("a body", "身体"),
    BilingualPhrase("a mother", "妈妈"),
    BilingualPhrase("hands", "手"),
    BilingualPhrase("a house", "房子"),
    BilingualPhrase("a dog", "狗"),
    BilingualPhrase("money", "钱"),
)
_I_AM = ("I am Thinkery, an AI assistant.", "我是Thinkery，一个AI助手。")
_LIES = (("I am a man from Paris.", "My name is Tom."), ("我是巴黎人。", "我叫小明。"))


def itself(rng: Random, parts: int) -> GeneralTask:
    """Questions about the assistant: who it is, who made it, what it can do and what it is not."""
    name = rng.choice(NAMES)
    draw = rng.random()
    if draw < 0.3:
        return _who_are_you(rng, name)
    if draw < 0.6:
        able = rng.random() < 0.4
        task = rng.choice(_ABLE if able else _UNABLE)
        return _about(
            f"can;{task.en};{name.en}",
            (f"Can you {task.en}? {name.en} asks.", f"{name.zh}问：你会{task.zh}吗？"),
            (f"Yes, I can {task.en}.", f"会，我会{task.zh}。")
            if able
            else (f"No, I am an AI and can not {task.en}.", f"不会，我是AI，不能{task.zh}。"),
            (("yes",), ("会，",)) if able else (("no", "not"), ("不",)),
            (f"No, I can not {task.en}.", f"不会，我不能{task.zh}。")
            if able
            else (f"Yes, I can {task.en}.", f"会，我会{task.zh}。"),
        )
    if draw < 0.8:
        job = rng.choice(JOBS)
        return _about(
            f"job;{job.en};{name.en}",
            (f"Are you {name.en} the {job.en}?", f"你是{job.zh}{name.zh}吗？"),
            ("No, I am Thinkery, an AI assistant.", "不是，我是Thinkery，一个AI助手。"),
            (("thinkery",), ("thinkery",)),
            (f"Yes, I am {name.en}.", f"是的，我是{name.zh}。"),
        )
    thing = rng.choice(_BELONGINGS)
    return _about(
        f"own;{thing.en};{name.en}",
        (f"{name.en} asks: do you have {thing.en}?", f"{name.zh}问：你有{thing.zh}吗？"),
        (f"No, I am an AI and do not have {thing.en}.", f"没有，我是AI，没有{thing.zh}。"),
        (("no", "not"), ("没有",)),
        (f"Yes, I have {thing.en}.", f"有，我有{thing.zh}。"),
    )


def _about(
    key: str,
    question: tuple[str, str],
    good: tuple[str, str],
    expected: tuple[tuple[str, ...], tuple[str, ...]],
    wrong: tuple[str, str],
) -> GeneralTask:
    """A question about the assistant, each argument in English and Chinese."""
    en, zh = (
        TaskText(
            question[i], answers(good[i]), answers(wrong[i]), expected=(expected[i], ("ai", "thinkery", "can", "会"))
        )
        for i in (0, 1)
    )
    return GeneralTask("self", key, forms(en, zh))


def _who_are_you(rng: Random, name: BilingualPhrase) -> GeneralTask:
    if rng.random() < 0.4:
        made = ("I am Thinkery. The Thinkery team made me.", "我是Thinkery，由Thinkery团队开发。")
        return _about(
            f"maker;{name.en}",
            (f"Who made you? Was it {name.en}?", f"谁开发了你？是{name.zh}吗？"),
            made,
            (("team",), ("团队",)),
            (f"{name.en} made me.", f"是{name.zh}开发的。"),
        )
    lie = rng.randrange(2)
    asks = (
        (f"I am {name.en}. Who are you?", f"我是{name.zh}。你是谁？"),
        (f"I am {name.en}. What is your name?", f"我是{name.zh}。你叫什么名字？"),
    )
    return _about(
        f"who;{name.en}",
        rng.choice(asks),
        _I_AM,
        (("thinkery",), ("thinkery",)),
        (_LIES[0][lie], _LIES[1][lie]),
    )
