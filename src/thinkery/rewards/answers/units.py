r"""Units that may follow a number: those of this list, with their factors, and nothing else.

A unit is a product of powers of listed names (``km/h``, ``kg \cdot m/s^2``, ``square inches``). Two values with units
of one dimension are compared in the base unit: 100 cm is 1 m. Names of things that are counted (``apples``, ``个``) are
dimensions of their own. Words that are not listed are no units: ``5 tens``, ``5 lakh`` and ``5 is wrong`` are not 5.
What a reference is measured in, its author says, so there any word counts that changes no value. Left out: degrees
Fahrenheit into Celsius, and values of currencies.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

# name(s) = factor of the base unit. Symbols keep their case, words are compared without it and without a plural's s.
_SYMBOLS = """
length m=1 km=1000 dm=1/10 cm=1/100 mm=1/1000 nm=1/1000000000 μm=1/1000000 in=127/5000 ft=381/1250
length yd=1143/1250 mi=201168/125
mass g=1/1000 kg=1 mg=1/1000000 lb=45359237/100000000 lbs=45359237/100000000 oz=45359237/1600000000
time s=1 sec=1 ms=1/1000 min=60 h=3600 hr=3600 hrs=3600
volume L=1/1000 l=1/1000 mL=1/1000000 ml=1/1000000 cc=1/1000000
force N=1 kN=1000
energy J=1 kJ=1000 eV=1.602176634e-19 cal=4.184 kcal=4184 kWh=3600000
power W=1 kW=1000 MW=1000000
voltage V=1 mV=1/1000 kV=1000
current A=1 mA=1/1000
charge C=1 μC=1/1000000
resistance Ω=1 ohm=1
pressure Pa=1 kPa=1000 atm=101325
frequency Hz=1 kHz=1000 MHz=1000000
temperature K=1
amount mol=1
information bit=1 B=8 KB=8192 MB=8388608
magnetism T=1
speed mph=1397/3125 kmh=5/18 kph=5/18
angle deg=1 rad=radian
dollar USD=1
euro EUR=1
pound GBP=1
"""
_WORDS = """
length meter=1 metre=1 kilometer=1000 kilometre=1000 centimeter=1/100 centimetre=1/100 millimeter=1/1000 inch=127/5000
length millimetre=1/1000 decimeter=1/10 inche=127/5000 foot=381/1250 feet=381/1250 yard=1143/1250 mile=201168/125 met=1
length 米=1 千米=1000 公里=1000 厘米=1/100 毫米=1/1000 分米=1/10 メートル=1 センチメートル=1/100 метр=1 метров=1
mass gram=1/1000 kilogram=1 milligram=1/1000000 ounce=45359237/1600000000 ton=1000 tonne=1000 kilo=1
mass 克=1/1000 千克=1 公斤=1 吨=1000 キログラム=1 グラム=1/1000
time second=1 minute=60 hour=3600 day=86400 week=604800 秒=1 分钟=60 小时=3600 天=86400 日=86400 周=604800 時間=3600
time 分間=60
month month=1 year=12 个月=1 月=1 年=12
volume liter=1/1000 litre=1/1000 milliliter=1/1000000 millilitre=1/1000000 gallon=473176473/125000000000
volume quart=473176473/500000000000
volume 升=1/1000 毫升=1/1000000
force newton=1
energy joule=1 calorie=4.184
power watt=1 kilowatt=1000
voltage volt=1
current ampere=1 amp=1
pressure pascal=1
frequency hertz=1
temperature kelvin=1
amount mole=1
information byte=8
angle degree=1 deg=1 度=1 Grad=1 градус=1
radian radian=1
percent percent=1 pct=1 percentage=1 Prozent=1
dollar dollar=1 buck=1 cent=1/100 penny=1/100 pennie=1/100 dime=1/10 nickel=1/20 quarter=1/4 美元=1
euro euro=1
pound pound=1
yen yen=1 円=1
yuan yuan=1 元=1 角=1/10
peso peso=1
rupee rupee=1
rouble rouble=1 ruble=1 рубль=1 рубля=1 рублей=1
franc franc=1
unit unit=1 单位=1
"""
# What is counted, singular: each a dimension of its own.
_COUNTED = """
adult animal answer apple bag ball banana bead bean bee bike bird block boat book bottle bowl box boy bracelet brick
bucket bus bush button cake calf candle candy candie cap car card cat cell chair chapter chicken child children
chip choice
chocolate circle class classmate coin color combination computer cookie cow crate crayon cube cup cupcake cutlet desk
die dice digit dish dog doll donut door dot dress drink driver duck edge egg element employee envelope error face family
familie fish flower friend fruit fruits function game girl glasse glass goat goal grape group guest handshake hat
head hen
horse house inning integer item jar jelly kid kitten lap leaf leave leg lemon letter line liters link lollipop man
men marble
marker match meal member mug muffin necklace newspaper node note number nut object orange orchid outcome package packet
page painting pan parent part path pattern pea peach pear pen pencil penguin people permutation person pet photo
picture pie piece pig pineapple pizza plane plant plate player point popsicle possibilitie possibility potato
potatoe pound
present prime prize problem puppy puppie question rabbit rectangle rectangles ribbon ring rock role room root rope
rose round row
sandwich sandwiche scarf school seat section seed sheep shell shirt shoe shop side sister solution song soldier
space spoon
square squares stamp star step sticker stone story stop straw strawberrie strawberry student subset sweet table
tail teacher team tennis term
ticket tile toy tourist tree triangle trip truck turn tulip vase vehicle vertex vertice vertices visitor vote
watermelon way window
woman women word worker yo-yo zebra trial event roll flip toss draw game win arrangement intersection region diagonal
个 個 只 本 条 张 件 位 名 人 种 次 支 棵 朵 辆 台 块 枚 颗 双 头 匹 间 页 题 岁 瓶 杯 盒 袋 册 匹 冊 人 匹 個 枚 つ
"""
_POWERS = {"square": 2, "sq": 2, "cubic": 3, "cu": 3, "平方": 2, "立方": 3, "squared": 2, "cubed": 3}
# Words that change a value, or join it to another: never a unit, not even of a reference.
NOT_UNITS = frozenset(
    [
        "hundred",
        "thousand",
        "million",
        "billion",
        "trillion",
        "dozen",
        "half",
        "halve",
        "third",
        "fourth",
        "fifth",
        "tenth",
        "score",
        "point",
        "pi",
        "and",
        "or",
        "not",
        "to",
        "of",
        "times",
        "plus",
        "minus",
        "over",
        "factorial",
        "choose",
        "mod",
        "less",
        "more",
        "than",
        "sqrt",
        "sin",
        "cos",
        "tan",
        "log",
        "ln",
        "exp",
        "frac",
        "oo",
        "inf",
        "infinity",
        "i",
        "ten",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "lakh",
        "crore",
        "gross",
        "is",
        "are",
        "was",
        "were",
        "if",
        "except",
        "but",
        "no",
        "wrong",
        "false",
        "true",
    ]
)
_NOT_CJK = frozenset("十百千万亿兆或和到点分之半加减乘除不非倍约错误吗否无没別打多余")
_DERIVED = {
    "volume": {"length": 3}, "speed": {"length": 1, "time": -1}, "frequency": {"time": -1},
    "power": {"energy": 1, "time": -1}, "pressure": {"force": 1, "length": -2}, "voltage": {"energy": 1, "charge": -1},
    "energy": {"force": 1, "length": 1}, "force": {"mass": 1, "length": 1, "time": -2},
    "current": {"charge": 1, "time": -1},
}  # fmt: skip
_CURRENCIES = {"$": "dollar", "€": "euro", "£": "pound", "¥": "yen"}
_DEGREE = re.compile(r"(?:\^\s*\{?\s*\\circ\s*\}?|\\degree)\s*(?:\\(?:text|mathrm)\s*\{\s*)?([CF]?)\s*\}?")
_BASE = re.compile(r"_\s*\{?\s*(?:\\text\s*\{\s*)?([0-9]{1,2}|[a-z]{3,8})\s*\}{0,2}")
_BASES = {
    name: number
    for number, name in enumerate(
        ["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"], 2
    )
} | {"sixteen": 16}  # fmt: skip
_STYLE = re.compile(r"\\(?:text|mbox|mathrm|textrm|textbf|mathbf|operatorname|textnormal|rm)\s*\{([^{}]*)\}")
_STYLED = re.compile(r"\\(?:text|mbox|mathrm|textrm|textbf|mathbf|operatorname|textnormal|rm)\s*\{")
_PIECE = re.compile(
    r"\s*(?P<sign>\\cdot|\\times|[*·/]|\bper\b)?\s*(?P<name>[^\W\d_]+(?:-[^\W\d_]+)*)\s*(?:\^\s*\{?\s*(?P<power>-?[1-9])\s*\}?)?\.?"
)
_TOUCHING = re.compile(r"(?:cm|mm|km|kg|ft|in|lb|lbs|[^\W\d_]{3,})(?![^\W\d_])")  # 5cm is a length, 5xy a product
_CJK = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]")


@dataclass(frozen=True, slots=True)
class Unit:
    """``name`` in normal form, empty for none; its ``dimension`` with its ``factor`` of the base unit."""

    name: str = ""
    dimension: str = ""
    factor: Fraction = Fraction(1)


NO_UNIT = Unit()
PERCENT = Unit("percent", "percent")
RATIO = Unit("ratio", "ratio")


def _table(text: str) -> dict[str, Unit]:
    units = {}
    for line in text.strip().splitlines():
        dimension, *names = line.split()
        for name, _, factor in (entry.partition("=") for entry in names):
            if factor == "radian":
                units[name] = Unit("radian", "radian")
            else:
                units[name] = Unit(name, dimension, Fraction(factor))
    return units


_BY_SYMBOL = _table(_SYMBOLS)
_BY_WORD = {name.casefold(): unit for name, unit in _table(_WORDS).items()}
_THINGS = frozenset(_COUNTED.split())
_CANONICAL = {(unit.dimension, unit.factor): unit.name for unit in reversed([*_BY_SYMBOL.values(), *_BY_WORD.values()])}


def currency(sign: str) -> Unit:
    """The unit of a currency sign."""
    return Unit(_CURRENCIES[sign], _CURRENCIES[sign])


@lru_cache(maxsize=4096)
def read_unit(text: str, *, any_word: bool = False) -> Unit | None:
    """What follows a number, as a unit; ``NO_UNIT`` if nothing does, None if it is no unit.

    ``any_word``: of a reference, where every word is a unit that changes no value.
    """
    stripped = text.strip()
    if not stripped:
        return NO_UNIT
    if stripped in ("%", r"\%"):
        return PERCENT
    if stripped in ("$", r"\$", "€", "£", "¥"):
        return currency(stripped[-1])
    if degree := _DEGREE.fullmatch(stripped):
        return Unit(f"degree {degree[1]}", f"degree {degree[1]}") if degree[1] else Unit("degree", "angle")
    if base := _BASE.fullmatch(stripped):
        number = base[1] if base[1].isdigit() else _BASES.get(base[1])
        return None if number is None else Unit(f"base {number}", f"base {number}")
    text = text.replace(r"\Omega", "Ω").replace(r"\mu", "μ")
    styled = "Ω" in text or _STYLED.search(text) is not None
    touching = not styled and not text[0].isspace() and not _CJK.match(stripped)
    plain = _STYLE.sub(r" \1 ", text).replace(r"\ ", " ").replace("{", " ").replace("}", " ")
    plain = re.sub(r"\s*\^\s*", "^", plain).strip()
    unit = None if touching and not _TOUCHING.match(plain) else _product(plain, styled=styled)
    if unit is None and any_word and not touching:
        return _any_words(plain, styled=styled)
    return unit


def _any_words(text: str, *, styled: bool) -> Unit | None:
    words = re.findall(r"[^\W\d_]+", text.casefold())
    known = re.fullmatch(r"[^\W\d_]+(?:[ '/-][^\W\d_]+){0,3}\.?", text)
    singular = {word.removesuffix("s") for word in words}
    if not known or NOT_UNITS & (singular | set(words)) or _NOT_CJK & set(text):
        return None
    if len(max(words, key=len)) < (2 if styled else 4):
        return None  # 2 abc is a product
    name = " ".join(_singular(word) for word in words)
    return Unit(name, name)


def _singular(word: str) -> str:
    return word.removesuffix("s") if len(word) > 3 else word


def _product(text: str, *, styled: bool) -> Unit | None:
    """A product of powers of listed units. A single letter is one only in upright type: ``5 m`` may be a product."""
    powers: dict[str, int] = {}
    factor, position, raised, over, first = Fraction(1), 0, 1, 1, True
    while position < len(text):
        match = _PIECE.match(text, position)
        if match is None or (first and match["sign"]):
            return None
        word = match["name"]
        if match["sign"] in ("/", "per"):
            over = -1
        position = match.end()
        if word.casefold() == "per":
            over = -1
            continue
        if word.casefold() in ("squared", "cubed"):
            return None  # 5 squared is 25
        if word.casefold() in ("square", "sq", "cubic", "cu") and position < len(text):
            raised = _POWERS[word.casefold()]
            continue
        if word[:2] in ("平方", "立方") and len(word) > 2:
            raised, word = _POWERS[word[:2]], word[2:]
        unit = _one(word, symbols=styled or len(word) > 1)
        if unit is None:
            return None
        power = int(match["power"] or 1) * raised * over
        if unit.dimension:
            powers[unit.dimension] = powers.get(unit.dimension, 0) + power
            factor *= unit.factor**power
        raised, first = 1, False
    return None if first else _named(powers, factor)


def _one(word: str, *, symbols: bool) -> Unit | None:
    """The unit of one word."""
    if symbols and word in _BY_SYMBOL:
        return _BY_SYMBOL[word]
    folded = word.casefold()
    for name in (folded, folded.removesuffix("s"), folded.removesuffix("es")):
        if name in _BY_WORD:
            return _BY_WORD[name]
    for name in (folded, folded.removesuffix("s"), folded.removesuffix("es")):
        if name in _THINGS:
            return Unit(name, name)
    return None


def _named(powers: dict[str, int], factor: Fraction) -> Unit:
    """A unit by its dimension, in normal form: litres are cubic metres."""
    for derived, base in _DERIVED.items():
        power = powers.pop(derived, 0)
        for name in base:
            powers[name] = powers.get(name, 0) + base[name] * power
    parts = [f"{name}^{power}" if power != 1 else name for name, power in sorted(powers.items()) if power]
    dimension = " ".join(parts)
    if dimension == "percent":
        return PERCENT
    name = _CANONICAL.get((dimension, factor), dimension if factor == 1 else f"{factor} {dimension}")
    return Unit(name, dimension, factor)
