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


class Pair(NamedTuple):
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
    Pair("tea", "茶"),
    Pair("milk", "牛奶"),
    Pair("water", "水"),
    Pair("coffee", "咖啡"),
    Pair("juice", "果汁"),
)
COLOURS = (
    Pair("red", "红"),
    Pair("blue", "蓝"),
    Pair("green", "绿"),
    Pair("yellow", "黄"),
    Pair("black", "黑"),
    Pair("white", "白"),
)
SIZES = (Pair("big", "大"), Pair("small", "小"))
JOBS = (
    Pair("doctor", "医生"),
    Pair("teacher", "老师"),
    Pair("cook", "厨师"),
    Pair("driver", "司机"),
    Pair("farmer", "农民"),
    Pair("nurse", "护士"),
    Pair("writer", "作家"),
)
NAMES = (
    Pair("Tom", "小明"),
    Pair("Anna", "小红"),
    Pair("Ben", "小华"),
    Pair("Lucy", "小丽"),
    Pair("Sam", "小刚"),
    Pair("Mia", "小美"),
)
CAPITALS = (
    (Pair("China", "中国"), Pair("Beijing", "北京")),
    (Pair("Japan", "日本"), Pair("Tokyo", "东京")),
    (Pair("France", "法国"), Pair("Paris", "巴黎")),
    (Pair("Italy", "意大利"), Pair("Rome", "罗马")),
    (Pair("Spain", "西班牙"), Pair("Madrid", "马德里")),
    (Pair("Germany", "德国"), Pair("Berlin", "柏林")),
    (Pair("Russia", "俄罗斯"), Pair("Moscow", "莫斯科")),
    (Pair("Egypt", "埃及"), Pair("Cairo", "开罗")),
)
OPPOSITES = (
    (Pair("big", "大"), Pair("small", "小")),
    (Pair("hot", "热"), Pair("cold", "冷")),
    (Pair("old", "旧"), Pair("new", "新")),
    (Pair("long", "长"), Pair("short", "短")),
    (Pair("fast", "快"), Pair("slow", "慢")),
    (Pair("high", "高"), Pair("low", "低")),
    (Pair("good", "好"), Pair("bad", "坏")),
    (Pair("light", "亮"), Pair("dark", "暗")),
)
COLOUR_OF = (  # what has a colour, and which of COLOURS
    (Pair("a banana", "香蕉"), 3),
    (Pair("a lemon", "柠檬"), 3),
    (Pair("grass", "草"), 2),
    (Pair("the sky", "天空"), 1),
    (Pair("the sea", "大海"), 1),
    (Pair("snow", "雪"), 5),
    (Pair("milk", "牛奶"), 5),
    (Pair("coal", "煤"), 4),
    (Pair("blood", "血"), 0),
    (Pair("a tomato", "西红柿"), 0),
)
DAYS = (
    Pair("Monday", "星期一"),
    Pair("Tuesday", "星期二"),
    Pair("Wednesday", "星期三"),
    Pair("Thursday", "星期四"),
    Pair("Friday", "星期五"),
    Pair("Saturday", "星期六"),
    Pair("Sunday", "星期日"),
)
NUMBERS = (
    Pair("two", "两"),
    Pair("three", "三"),
    Pair("four", "四"),
    Pair("five", "五"),
    Pair("six", "六"),
    Pair("seven", "七"),
    Pair("eight", "八"),
    Pair("nine", "九"),
)
SUBJECTS = (Pair("I", "我"), Pair("we", "我们"), Pair("you", "你"), Pair("they", "他们"))
VERBS = (Pair("have", "有"), Pair("want", "想要"), Pair("see", "看见"), Pair("buy", "买"))
