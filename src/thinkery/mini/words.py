"""The miniature world's word problems, in English and Chinese.

A story is a frame with numbers and the steps it asks for; levels 4 and 5 put a hard product into the same stories.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from thinkery.mini.tasks import SECOND_FACTOR, Step, Task, hard_factor

NAMES = {
    "en": ("Tom", "Anna", "Ben", "Lucy", "Sam", "Mia"),
    "zh": ("小明", "小红", "小华", "小丽", "小刚", "小美"),
}
THINGS = {
    "en": ("apples", "books", "pens", "eggs", "cards", "cups"),
    "zh": ("苹果", "书", "笔", "鸡蛋", "卡片", "杯子"),
}


@dataclass(frozen=True, slots=True)
class Story:
    """A frame: its text by language, and how three numbers become steps."""

    text: dict[str, str]
    steps: Callable[[int, int, int], tuple[Step, ...]]


def _and_then(first: Step, op: str, c: int) -> tuple[Step, ...]:
    return (first, Step(first.result, "+" if op == "+" else "-", c))


ONE_STEP = (
    Story(
        {
            "en": "{n} has {a} {t} and buys {b} more. How many {t} does {n} have?",
            "zh": "{n}有{a}个{t}，又买了{b}个。{n}一共有多少个{t}？",
        },
        lambda a, b, c: (Step(a, "+", b),),
    ),
    Story(
        {
            "en": "{n} had {a} {t} and gave away {b}. How many {t} are left?",
            "zh": "{n}有{a}个{t}，送出{b}个。还剩多少个{t}？",
        },
        lambda a, b, c: (Step(max(a, b), "-", min(a, b)),),
    ),
)
PRODUCT = (
    Story(
        {
            "en": "There are {a} boxes with {b} {t} in each. How many {t} are there?",
            "zh": "有{a}箱{t}，每箱{b}个。一共有多少个{t}？",
        },
        lambda a, b, c: (Step(a, "*", b),),
    ),
    Story(
        {
            "en": "A hall is {a} steps long and {b} steps wide. What is its area?",
            "zh": "大厅长{a}步，宽{b}步。面积是多少？",
        },
        lambda a, b, c: (Step(a, "*", b),),
    ),
    Story(
        {
            "en": "A train goes {a} km an hour. How far does it go in {b} hours?",
            "zh": "火车每小时走{a}公里，{b}小时走多少公里？",
        },
        lambda a, b, c: (Step(a, "*", b),),
    ),
)
PRODUCT_AND_SUM = (
    Story(
        {
            "en": "{n} has {a} boxes with {b} {t} in each and finds {c} more. How many {t} does {n} have?",
            "zh": "{n}有{a}箱{t}，每箱{b}个，又找到{c}个。{n}一共有多少个{t}？",
        },
        lambda a, b, c: _and_then(Step(a, "*", b), "+", c),
    ),
    Story(
        {
            "en": "A shop has {a} boxes with {b} {t} in each and sells {c}. How many {t} are left?",
            "zh": "商店有{a}箱{t}，每箱{b}个，卖出{c}个。还剩多少个{t}？",
        },
        lambda a, b, c: _and_then(Step(a, "*", b), "-", c),
    ),
    Story(
        {
            "en": "{n} buys {a} {t} at {b} yuan each and pays {c} yuan for a bag. What does it cost?",
            "zh": "{n}买了{a}个{t}，每个{b}元，再付{c}元买袋子。一共多少元？",
        },
        lambda a, b, c: _and_then(Step(a, "*", b), "+", c),
    ),
)


def word(rng: Random, level: int) -> Task:
    """A word problem: a sum (1), an easy product (2), with a sum (3), a hard product (4), with a sum (5)."""
    stories = {1: ONE_STEP, 2: PRODUCT, 3: PRODUCT_AND_SUM, 4: PRODUCT, 5: PRODUCT_AND_SUM}[level]
    story = rng.choice(stories)
    if level == 1:
        a, b = rng.randrange(2, 100), rng.randrange(2, 100)
    elif level <= 3:
        a, b = rng.randrange(2, 10), rng.randrange(2, 100)
    else:
        a, b = hard_factor(rng), hard_factor(rng, SECOND_FACTOR)
    c = rng.randrange(2, max(3, min(100, a * b)))
    who, thing = rng.randrange(6), rng.randrange(6)
    question = {
        language: text.format(n=NAMES[language][who], t=THINGS[language][thing], a=a, b=b, c=c)
        for language, text in story.text.items()
    }
    return Task("word", level, question, story.steps(a, b, c))
