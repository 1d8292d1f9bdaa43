"""The words and facts of the miniature world's general tasks, in English and Chinese: small closed tables."""

from __future__ import annotations

from typing import NamedTuple


class Noun(NamedTuple):
    """A thing that can be counted."""

    en: str
    plural: str
    zh: str
    measure: str

    def a(self) -> str:
        """With its article: ``an apple``."""
        return ("an " if self.en[0] in "aeiou" else "a ") + self.en


class BilingualPhrase(NamedTuple):
    """A word in two languages."""

    en: str
    zh: str


ANIMALS = (  # by size
    Noun("ant", "ants", "蚂蚁", "只"),
    Noun("mouse", "mice", "老鼠", "只"),
    Noun("bird", "birds", "鸟", "只"),
    Noun("cat", "cats", "猫", "只"),
    Noun("dog", "dogs", "狗", "只"),
    Noun("pig", "pigs", "猪", "头"),
    Noun("cow", "cows", "牛", "头"),
    Noun("horse", "horses", "马", "匹"),
    Noun("elephant", "elephants", "大象", "头"),
)
FRUITS = (
    Noun("apple", "apples", "苹果", "个"),
    Noun("banana", "bananas", "香蕉", "根"),
    Noun("pear", "pears", "梨", "个"),
    Noun("lemon", "lemons", "柠檬", "个"),
    Noun("peach", "peaches", "桃子", "个"),
    Noun("melon", "melons", "瓜", "个"),
)
THINGS = (
    Noun("book", "books", "书", "本"),
    Noun("cup", "cups", "杯子", "个"),
    Noun("pen", "pens", "笔", "支"),
    Noun("car", "cars", "汽车", "辆"),
    Noun("bike", "bikes", "自行车", "辆"),
    Noun("hat", "hats", "帽子", "顶"),
    Noun("phone", "phones", "手机", "部"),
    Noun("bag", "bags", "包", "个"),
    Noun("boat", "boats", "船", "条"),
)
DRINKS = (
    BilingualPhrase("tea", "茶"),
    BilingualPhrase("milk", "牛奶"),
    BilingualPhrase("water", "水"),
    BilingualPhrase("coffee", "咖啡"),
    BilingualPhrase("juice", "果汁"),
)
COLOURS = (
    BilingualPhrase("red", "红"),
    BilingualPhrase("blue", "蓝"),
    BilingualPhrase("green", "绿"),
    BilingualPhrase("yellow", "黄"),
    BilingualPhrase("black", "黑"),
    BilingualPhrase("white", "白"),
)
SIZES = (BilingualPhrase("big", "大"), BilingualPhrase("small", "小"))
JOBS = (
    BilingualPhrase("doctor", "医生"),
    BilingualPhrase("teacher", "老师"),
    BilingualPhrase("cook", "厨师"),
    BilingualPhrase("driver", "司机"),
    BilingualPhrase("farmer", "农民"),
    BilingualPhrase("nurse", "护士"),
    BilingualPhrase("writer", "作家"),
)
NAMES = (
    BilingualPhrase("Tom", "小明"),
    BilingualPhrase("Anna", "小红"),
    BilingualPhrase("Ben", "小华"),
    BilingualPhrase("Lucy", "小丽"),
    BilingualPhrase("Sam", "小刚"),
    BilingualPhrase("Mia", "小美"),
)
CAPITALS = (
    (BilingualPhrase("China", "中国"), BilingualPhrase("Beijing", "北京")),
    (BilingualPhrase("Japan", "日本"), BilingualPhrase("Tokyo", "东京")),
    (BilingualPhrase("France", "法国"), BilingualPhrase("Paris", "巴黎")),
    (BilingualPhrase("Italy", "意大利"), BilingualPhrase("Rome", "罗马")),
    (BilingualPhrase("Spain", "西班牙"), BilingualPhrase("Madrid", "马德里")),
    (BilingualPhrase("Germany", "德国"), BilingualPhrase("Berlin", "柏林")),
    (BilingualPhrase("Russia", "俄罗斯"), BilingualPhrase("Moscow", "莫斯科")),
    (BilingualPhrase("Egypt", "埃及"), BilingualPhrase("Cairo", "开罗")),
)
OPPOSITES = (
    (BilingualPhrase("big", "大"), BilingualPhrase("small", "小")),
    (BilingualPhrase("hot", "热"), BilingualPhrase("cold", "冷")),
    (BilingualPhrase("old", "旧"), BilingualPhrase("new", "新")),
    (BilingualPhrase("long", "长"), BilingualPhrase("short", "短")),
    (BilingualPhrase("fast", "快"), BilingualPhrase("slow", "慢")),
    (BilingualPhrase("high", "高"), BilingualPhrase("low", "低")),
    (BilingualPhrase("good", "好"), BilingualPhrase("bad", "坏")),
    (BilingualPhrase("light", "亮"), BilingualPhrase("dark", "暗")),
)
COLOUR_OF = (  # what has a colour, and which of COLOURS
    (BilingualPhrase("a banana", "香蕉"), 3),
    (BilingualPhrase("a lemon", "柠檬"), 3),
    (BilingualPhrase("grass", "草"), 2),
    (BilingualPhrase("the sky", "天空"), 1),
    (BilingualPhrase("the sea", "大海"), 1),
    (BilingualPhrase("snow", "雪"), 5),
    (BilingualPhrase("milk", "牛奶"), 5),
    (BilingualPhrase("coal", "煤"), 4),
    (BilingualPhrase("blood", "血"), 0),
    (BilingualPhrase("a tomato", "西红柿"), 0),
)
DAYS = (
    BilingualPhrase("Monday", "星期一"),
    BilingualPhrase("Tuesday", "星期二"),
    BilingualPhrase("Wednesday", "星期三"),
    BilingualPhrase("Thursday", "星期四"),
    BilingualPhrase("Friday", "星期五"),
    BilingualPhrase("Saturday", "星期六"),
    BilingualPhrase("Sunday", "星期日"),
)
NUMBERS = (
    BilingualPhrase("two", "两"),
    BilingualPhrase("three", "三"),
    BilingualPhrase("four", "四"),
    BilingualPhrase("five", "五"),
    BilingualPhrase("six", "六"),
    BilingualPhrase("seven", "七"),
    BilingualPhrase("eight", "八"),
    BilingualPhrase("nine", "九"),
)
SUBJECTS = (
    BilingualPhrase("I", "我"),
    BilingualPhrase("we", "我们"),
    BilingualPhrase("you", "你"),
    BilingualPhrase("they", "他们"),
)
VERBS = (
    BilingualPhrase("have", "有"),
    BilingualPhrase("want", "想要"),
    BilingualPhrase("see", "看见"),
    BilingualPhrase("buy", "买"),
)
